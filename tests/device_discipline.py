"""One training step of a model with every tensor on a device that is not the CPU, on a machine that has no such device.

The model is moved to the meta device as a user would move it to a GPU, the data too, and the step runs under
FakeTensorMode, which computes shapes and devices without values. Whatever `.to(device)` does not move - a tensor made
in `forward` without `device=`, a plain attribute that is no buffer - meets the others and is an error, as on a GPU.
What a GPU accepts passes: a CPU scalar beside a tensor, `x[index]` with an index made on the CPU. Values cannot be
looked at (`.item()`, `.tolist()`): where a model does so on purpose, give it a parameter that picks the path to test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv


def on_device(data: Any, device: str = "meta") -> Any:
    """`data` (a tensor, or tuples, lists and dicts of tensors) on `device`."""
    if isinstance(data, Tensor):
        return data.to(device)
    if isinstance(data, Mapping):
        return {key: on_device(value, device) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(on_device(value, device) for value in data))
    if isinstance(data, list | tuple):
        return type(data)(on_device(value, device) for value in data)
    return data


def training_step(
    model: nn.Module,
    data: Any,
    loss: Callable[[nn.Module, Any], Tensor | tuple[Tensor, Tensor]],
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> None:
    """Run one step of training off the CPU; raises RuntimeError at the first operation that mixes devices.

    `model` is built on the CPU, `data` is a batch on the CPU and `loss` is what `training.train` would be given. The
    model is left on the meta device, without values.
    """
    model.to("meta")
    data = on_device(data)
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
        given = loss(model, data)
        value = given[0] / given[1] if isinstance(given, tuple) else given
        if value.device.type != "meta":
            raise RuntimeError(f"the loss is on {value.device.type!r}, not on the model's device")
        value.backward()
        weights = [p for p in model.parameters() if p.requires_grad]
        for weight in weights:
            if weight.grad is not None and weight.grad.device.type != "meta":
                raise RuntimeError(f"a gradient is on {weight.grad.device.type!r}, not on the model's device")
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer(weights, lr=1e-3, weight_decay=0.0).step()

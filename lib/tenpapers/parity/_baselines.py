"""What a reader would try first: a ReLU network with the hinge loss, trained online by Adam or by Lion."""

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor, nn

from tenpapers import check

from . import _check
from ._data import sample
from ._train import DivergenceError


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Test accuracy along the way: `samples` seen and `accuracy` on fresh inputs, both of shape (evaluations,)."""

    samples: Tensor
    accuracy: Tensor

    def samples_to(self, level: float) -> float:
        """Samples seen at the first evaluation with at least that accuracy; infinity when there is none."""
        reached = (self.accuracy >= level).nonzero()
        return float(self.samples[reached[0, 0]]) if len(reached) else math.inf


class Lion(torch.optim.Optimizer):
    """Lion (Chen et al. 2023): a signed step along an interpolated momentum, decay outside the sign."""

    def __init__(self, params, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0) -> None:  # type: ignore[no-untyped-def]
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[no-untyped-def, override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            first, second = group["betas"]
            for w in group["params"]:
                if w.grad is None:
                    continue
                momentum = self.state[w].setdefault("momentum", torch.zeros_like(w))
                w.mul_(1 - group["lr"] * group["weight_decay"])
                w.sub_(torch.sign(torch.lerp(w.grad, momentum, first)), alpha=group["lr"])
                momentum.lerp_(w.grad, 1 - second)


def train_relu(
    d: int,
    k: int,
    width: int,
    batch: int,
    steps: int,
    lr: float,
    optimizer: Literal["adam", "lion"],
    seed: int = 0,
    weight_decay: float = 0.01,
    every: int = 100,
    inputs: int = 4096,
    stop_at: float = 1.0,
    device: str | torch.device = "cpu",
) -> Baseline:
    """A ReLU network of one hidden layer on the parity of coordinates 0..k-1: hinge loss, `batch` fresh samples a step.

    Evaluated on `inputs` fresh samples every `every` steps; stops once the accuracy reaches `stop_at`.
    Raises ValueError for a bad argument, DivergenceError when the loss is no longer finite.
    """
    d = check.integer("d", d, 1)
    k = _check.degree(k, d)
    sizes = (("width", width), ("batch", batch), ("steps", steps), ("every", every), ("inputs", inputs))
    width, batch, steps, every, inputs = (check.integer(name, value, 1) for name, value in sizes)
    lr = check.real("lr", lr, above=0.0)
    if optimizer not in ("adam", "lion"):
        raise ValueError(f"optimizer must be 'adam' or 'lion', got {optimizer!r}")
    weight_decay = check.real("weight_decay", weight_decay, minimum=0.0)
    stop_at, seed = check.real("stop_at", stop_at), _check.seed(seed)
    device = _check.device(device)
    generator = torch.Generator(device).manual_seed(seed)
    support = tuple(range(k))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(d, width), nn.ReLU(), nn.Linear(width, 1)).to(device)
    chosen = torch.optim.AdamW if optimizer == "adam" else Lion
    update = chosen(net.parameters(), lr=lr, weight_decay=weight_decay)
    X_test, y_test = sample(inputs, d, support, generator)
    seen, right = [], []
    for step in range(1, steps + 1):
        X, y = sample(batch, d, support, generator)
        loss = (1 - y * net(X)[:, 0]).clamp_min(0).mean()
        if not bool(torch.isfinite(loss)):
            raise DivergenceError(step, f"the loss is {loss.item()}")
        update.zero_grad()
        loss.backward()
        update.step()
        if step % every == 0 or step == steps:
            with torch.no_grad():
                right.append(float((torch.sign(net(X_test)[:, 0]) == y_test).double().mean()))
            seen.append(step * batch)
            if right[-1] >= stop_at:
                break
    return Baseline(torch.tensor(seen, dtype=torch.float64), torch.tensor(right, dtype=torch.float64))

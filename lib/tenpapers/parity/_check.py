"""Arguments that a reader may get wrong: one sentence with the name, the value and what is accepted."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tenpapers import check

FLOATS = (torch.float32, torch.float64)


def degree(k: Any, d: int) -> int:
    """The degree k of the parity and of the activation, 1 <= k <= d."""
    try:
        return check.integer("k", k, 1, d)
    except ValueError:
        raise ValueError(f"k must lie between 1 and d = {d}, got {k!r}") from None


def factorial(k: int) -> float:
    """k! as a float; ValueError where no float holds it."""
    if k > 170:
        raise ValueError(f"k must be at most 170, the last whose factorial a float holds, got {k}")
    return float(math.factorial(k))


def seed(value: Any) -> int:
    """A seed of a torch.Generator: 0 to 2^64 - 1."""
    return check.integer("seed", value, 0, 2**64 - 1)


def device(value: Any) -> torch.device:
    """`value` as a device that PyTorch has here, "meta" included; an empty tensor there is the proof."""
    try:
        found = torch.device(value)
        torch.empty(0, device=found)
    # no such name; built without it; no text; a backend that is not loaded
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as fault:
        raise ValueError(f"device must be one that PyTorch has here, such as 'cpu', got {value!r}") from fault
    return found


def support(value: Any, d: int) -> tuple[int, ...]:
    """The support as distinct coordinates in 0..d-1, at least one, in the order given."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"support must be a sequence of coordinates in 0..{d - 1}, got {value!r}")
    coordinates = tuple(check.integer(f"support[{i}]", j, 0, d - 1) for i, j in enumerate(value))
    if not coordinates:
        raise ValueError("support must name at least one coordinate, got none")
    if len(set(coordinates)) < len(coordinates):
        raise ValueError(f"support must name distinct coordinates, got {coordinates}")
    return coordinates


def tensor(name: str, value: Any, ndim: int) -> Tensor:
    """`value`, a dense finite float32 or float64 tensor of `ndim` dimensions, none of them empty; detached."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch tensor of float32 or float64, got {type(value).__name__}")
    if value.dtype not in FLOATS:
        raise TypeError(f"{name} must be float32 or float64 (the power k magnifies rounding), got {value.dtype}")
    if value.ndim != ndim or value.numel() == 0:
        raise ValueError(f"{name} must have {ndim} dimensions, none of them empty, got shape {tuple(value.shape)}")
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got the layout {value.layout}")
    value = value.detach()
    if not finite(value):
        raise ValueError(f"{name} must hold finite numbers only, got {int((~torch.isfinite(value)).sum())} others")
    return value


def finite(value: Tensor) -> bool:
    """Whether every entry is finite: least and largest are (NaN spreads to both), in one pass without a copy."""
    least, largest = value.aminmax()
    return bool(torch.isfinite(least) & torch.isfinite(largest))


def alike(**tensors: Tensor) -> None:
    """Every named tensor has the same precision and lives on the same device."""
    if len({(t.dtype, t.device.type, t.device.index or 0) for t in tensors.values()}) > 1:
        places = ", ".join(f"{name} is {t.dtype} on {t.device}" for name, t in tensors.items())
        raise ValueError(f"all tensors must share one precision and one device: {places}")


def signs(name: str, value: Tensor) -> None:
    """Every entry is -1 or +1."""
    if not bool((value.abs() == 1).all()):
        raise ValueError(f"{name} must hold signs, -1 or +1, only")


def orthogonal(name: str, value: Any, d: int) -> Tensor:
    """`value`, which must be an orthogonal matrix of shape (d, d)."""
    R = tensor(name, value, 2)
    if R.shape != (d, d) or not torch.allclose(R @ R.T, torch.eye(d, dtype=R.dtype, device=R.device), atol=1e-5):
        raise ValueError(f"{name} must be an orthogonal matrix of shape ({d}, {d}), got shape {tuple(R.shape)}")
    return R


def network(W: Any, a: Any) -> tuple[Tensor, Tensor]:
    """W of shape (m, d) and a of shape (m,), alike."""
    W, a = tensor("W", W, 2), tensor("a", a, 1)
    alike(W=W, a=a)
    if a.shape[0] != W.shape[0]:
        raise ValueError(f"a must hold one sign per neuron: W has {W.shape[0]} rows, a has {a.shape[0]} entries")
    return W, a


def inputs(X: Any, W: Tensor) -> Tensor:
    """X of shape (batch, d), alike W."""
    X = tensor("X", X, 2)
    alike(X=X, W=W)
    if X.shape[1] != W.shape[1]:
        raise ValueError(f"X must have d = {W.shape[1]} columns, as W has, got {X.shape[1]}")
    return X


def labels(y: Any, X: Tensor) -> Tensor:
    """y of shape (batch,), alike X."""
    y = tensor("y", y, 1)
    alike(y=y, X=X)
    if y.shape[0] != X.shape[0]:
        raise ValueError(f"y must hold one label per row: X has {X.shape[0]} rows, y has {y.shape[0]} entries")
    return y


def precision(dtype: Any) -> torch.dtype:
    """`dtype`, which must be float32 or float64."""
    if dtype not in FLOATS:
        raise TypeError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    return dtype

"""Arguments that a reader may get wrong: one sentence with the name, the value and what is accepted."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def integer(name: str, value: Any, minimum: int) -> int:
    """`value` as an int that is at least `minimum` (NumPy integers and 0-d integer tensors are accepted)."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer of at least {minimum}, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    if number < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {number}")
    return number


def integers(name: str, values: Sequence[Any], minimum: int) -> list[int]:
    """A non-empty sequence of such integers."""
    numbers = [integer(f"{name}[{k}]", value, minimum) for k, value in enumerate(values)]
    if not numbers:
        raise ValueError(f"{name} must hold at least one integer, got an empty sequence")
    return numbers


def real(
    name: str, value: Any, *, above: float = -math.inf, below: float = math.inf, minimum: float = -math.inf
) -> float:
    """`value` as a finite float with above < value < below and value >= minimum."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a real number, got {value!r}") from None
    if not (math.isfinite(number) and above < number < below and number >= minimum):
        bounds = [f"at least {minimum:g}"] if minimum > -math.inf else []
        bounds += [f"above {above:g}"] if above > -math.inf else []
        bounds += [f"below {below:g}"] if below < math.inf else []
        raise ValueError(f"{name} must be a finite number{' ' if bounds else ''}{' and '.join(bounds)}, got {value!r}")
    return number


def vector(name: str, value: Any, *, positive: bool = False) -> Tensor:
    """`value` as a float64 vector of finite, non-negative (or positive) entries on its own device."""
    if not isinstance(value, Tensor) or value.is_complex():
        raise TypeError(f"{name} must be a real torch tensor of shape (n,), got {type(value).__name__}")
    if value.ndim != 1 or value.numel() == 0:
        raise ValueError(f"{name} must be a vector with at least one entry, got shape {tuple(value.shape)}")
    value = value.to(torch.float64)
    if not bool(torch.isfinite(value).all()):
        where = int((~torch.isfinite(value)).nonzero()[0])
        raise ValueError(f"{name} must hold finite numbers only, got {name}[{where}] = {value[where].item()}")
    wrong = value <= 0 if positive else value < 0
    if bool(wrong.any()):
        where = int(wrong.nonzero()[0])
        kind = "positive" if positive else "non-negative"
        raise ValueError(f"{name} must hold {kind} numbers only, got {name}[{where}] = {value[where].item()}")
    return value


def same_device(**devices: torch.device) -> None:
    """Every named tensor or generator lives on one device."""
    if len({(d.type, d.index or 0) for d in devices.values()}) > 1:
        places = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"all inputs must live on one device, got {places}")


def random(generator: Any) -> torch.Generator:
    """`generator`, which must be a torch.Generator."""
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    return generator

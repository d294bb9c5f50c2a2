"""Arguments that a reader may get wrong: one sentence with the name, the value and what is accepted."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

LARGEST = 10**18  # sizes beyond this are refused: 64-bit integers end at 9.2 * 10^18


def integer(name: str, value: Any, minimum: int, maximum: int = LARGEST) -> int:
    """`value` as an int from `minimum` to `maximum` (NumPy integers and 0-d integer tensors are accepted)."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer of at least {minimum}, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    if number < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {_written(number)}")
    if number > maximum:
        raise ValueError(f"{name} must be an integer of at most {_written(maximum)}, got {_written(number)}")
    return number


def _written(number: int) -> str:
    """An integer in digits; as a power of ten from 16 digits on (Python refuses to print thousands of them)."""
    if abs(number) < 10**15:
        return str(number)
    power = math.log10(abs(number))
    nearest = round(power)
    sign = "-" if number < 0 else ""
    return f"{sign}10^{nearest}" if abs(number) == 10**nearest else f"about {sign}10^{power:.2f}"


def integers(name: str, values: Sequence[Any], minimum: int) -> list[int]:
    """A non-empty sequence of such integers."""
    if isinstance(values, str) or not hasattr(values, "__iter__") or getattr(values, "ndim", 1) == 0:
        raise TypeError(f"{name} must be a sequence of integers, got {values!r}")
    numbers = [integer(f"{name}[{k}]", value, minimum) for k, value in enumerate(values)]
    if not numbers:
        raise ValueError(f"{name} must hold at least one integer, got an empty sequence")
    return numbers


def real(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    minimum: float = -math.inf,
    maximum: float = math.inf,
) -> float:
    """`value` as a finite float: above < value < below, minimum <= value <= maximum; no text, truth or complex."""
    array = isinstance(value, Tensor | np.ndarray | np.generic)
    kind = str(value.dtype).removeprefix("torch.") if array else ""
    if isinstance(value, bool | str | bytes | bytearray) or (array and not kind.startswith(("float", "int", "uint"))):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be a finite number, got an integer beyond the range of a float") from None
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a real number, got {value!r}") from None
    if not (math.isfinite(number) and above < number < below and minimum <= number <= maximum):
        bounds = [f"of at least {minimum:g}"] if minimum > -math.inf else []
        bounds += [f"above {above:g}"] if above > -math.inf else []
        bounds += [f"below {below:g}"] if below < math.inf else []
        bounds += [f"at most {maximum:g}"] if maximum < math.inf else []
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


def matrix(name: str, value: Any) -> Tensor:
    """`value` as a float64 matrix of finite entries on its own device."""
    if not isinstance(value, Tensor) or value.is_complex():
        kind = f"a {value.dtype} tensor" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a real torch tensor of shape (M, d), got {kind}")
    if value.ndim != 2:
        raise ValueError(f"{name} must be a tensor of shape (M, d), got shape {tuple(value.shape)}")
    value = value.to(torch.float64)
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} must hold finite numbers only, got NaN or infinity")
    return value


def flag(name: str, value: Any) -> bool:
    """`value`, which must be True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def apart(first: float, second: float) -> tuple[str, str]:
    """Both numbers with six digits, or with as many as tell them apart."""
    for digits in range(6, 18):
        written = f"{first:.{digits}g}", f"{second:.{digits}g}"
        if written[0] != written[1]:
            return written
    return f"{first:.6g}", f"{second:.6g}"


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

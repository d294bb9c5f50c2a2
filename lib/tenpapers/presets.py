"""Scales, validated overrides and devices: what a notebook may be asked to run with.

A preset is a frozen dataclass, one instance per scale. Every field has a type and, through `field`, an accepted range;
`resolve` picks the instance of a scale and applies overrides. Everything is refused before anything is computed, in one
sentence that names the field, the value and what would be accepted.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
import yaml

SCALES = ("smoke", "quick", "full")

Preset = TypeVar("Preset")


def nearest(name: object, names: Iterable[str]) -> str:
    """The valid names, with the one nearest to `name` first when there is one: the end of an error's sentence."""
    names = [str(n) for n in names]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    listed = ", ".join(names) if names else "none"
    return f"did you mean {close[0]!r}? Valid: {listed}" if close else f"valid: {listed}"


def field(
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[Any] | None = None,
    ascending: bool = False,
    doc: str = "",
) -> Any:
    """A field of a preset with its accepted range.

    `minimum` and `maximum` are inclusive, `above` and `below` exclusive; in a tuple field they hold for every entry,
    and `ascending` asks that each entry is above the one before.
    `doc` says what the field is, with its unit.
    """
    accepted = {"minimum": minimum, "maximum": maximum, "above": above, "below": below, "choices": choices}
    return dataclasses.field(metadata={"accepted": accepted, "ascending": ascending, "doc": doc})


def resolve(table: Mapping[str, Preset], scale: str, overrides: Mapping[str, Any] | str | None = None) -> Preset:
    """The preset of `scale` with `overrides` applied and every field checked.

    `overrides` maps field names to values; text is read as YAML, so that `papermill -p overrides '{M: [16]}'` works.
    Raises ValueError for an unknown scale or field and for a value of the wrong type or outside its range.
    """
    if scale not in SCALES:
        raise ValueError(f"scale is {scale!r}; {nearest(scale, SCALES)}.")
    if scale not in table:
        raise ValueError(f"scale {scale!r} has no preset here; {nearest(scale, table)}.")
    preset: Any = table[scale]
    overrides = parse_overrides(overrides)
    fields = {f.name: f for f in dataclasses.fields(preset)}
    types = typing.get_type_hints(type(preset))
    for name in overrides:
        if name not in fields:
            raise ValueError(f"overrides has the unknown field {name!r}; {nearest(name, fields)}.")
    values = {name: getattr(preset, name) for name in fields} | overrides
    checked = {name: _checked(name, values[name], types[name], fields[name].metadata) for name in fields}
    return dataclasses.replace(preset, **checked)


def parse_overrides(overrides: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """Overrides as a dictionary, from a mapping or from YAML text; ValueError when it is neither."""
    if isinstance(overrides, str):
        try:
            overrides = yaml.safe_load(overrides) if overrides.strip() else {}
        except yaml.YAMLError:
            raise ValueError(f"overrides is {overrides!r}, which is not YAML; write {{field: value}}.") from None
    if overrides is None:
        return {}
    if not isinstance(overrides, Mapping):
        raise ValueError(f"overrides is {overrides!r}; it must map field names to values, like {{'M': [16, 32]}}.")
    return dict(overrides)


def _checked(name: str, value: Any, kind: Any, metadata: Mapping[str, Any]) -> Any:
    """`value` as the field's type, or a ValueError of one sentence."""
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise ValueError(f"{name} is {value!r}; it must be a list.")
        entry = typing.get_args(kind)[0]
        items = tuple(_checked(f"an entry of {name}", v, entry, metadata) for v in value)
        if not items:
            raise ValueError(f"{name} is empty; it must have at least one entry.")
        if metadata.get("ascending") and any(after <= before for before, after in itertools.pairwise(items)):
            raise ValueError(f"{name} is {list(items)}; each of its entries must be above the one before.")
        return items
    wanted = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}[kind]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{name} is {value!r}; it must be {wanted}.")
    accepted = metadata.get("accepted", {})
    choices = accepted.get("choices")
    if choices is not None and value not in choices:
        raise ValueError(f"{name} is {value!r}; {nearest(value, choices)}.")
    tests = {
        "minimum": ("at least", lambda limit: value >= limit),
        "maximum": ("at most", lambda limit: value <= limit),
        "above": ("above", lambda limit: value > limit),
        "below": ("below", lambda limit: value < limit),
    }
    limits = {k: v for k, v in accepted.items() if k in tests and v is not None}
    if not all(tests[k][1](limit) for k, limit in limits.items()):
        words = " and ".join(f"{tests[k][0]} {limit:g}" for k, limit in limits.items())
        raise ValueError(f"{name} is {value!r}; it must be {words}.")
    return value


def device(name: str = "auto") -> torch.device:
    """The device of that name: "auto" is a CUDA GPU where there is one, else the CPU.

    Raises ValueError for an unknown name, and for "cuda" on a machine without a GPU that this torch can use.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = str(name).partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ValueError(f"device is {name!r}; {nearest(name, ('auto', 'cpu', 'cuda', 'cuda:0'))}.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but this torch sees no CUDA GPU; use 'auto' or 'cpu'.")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise ValueError(f"device is {name!r}, but there are only {torch.cuda.device_count()} GPUs.")
    return torch.device(name)

"""Finished pieces of a long computation, kept so that a killed run goes on where it stopped.

A piece is a small file of JSON with a checksum in front: numbers, strings, lists, dictionaries, NumPy arrays and
tensors (as lists that give back every bit). A damaged piece is named, passed over and computed again. Nothing is
unpickled.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenpapers.ledger._files import LedgerError, digest, write_text


def encode(value: Any) -> Any:
    """`value` as plain JSON, arrays and tensors marked as such; LedgerError for anything else."""
    if isinstance(value, torch.Tensor):
        array = value.detach().cpu()
        return {
            "__tensor__": str(array.dtype).removeprefix("torch."),
            "shape": list(array.shape),
            "data": array.flatten().tolist(),
        }
    if isinstance(value, np.ndarray):
        return {"__array__": str(value.dtype), "shape": list(value.shape), "data": value.ravel().tolist()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: encode(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [encode(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise LedgerError(
        f"A piece of run.map is of type {type(value).__name__}; it must be made of numbers, strings, lists, "
        "dictionaries with string keys, arrays and tensors."
    )


def decode(value: Any) -> Any:
    """The inverse of `encode`, up to tuples (which become lists) and devices (tensors come back on the CPU)."""
    if isinstance(value, dict):
        if "__tensor__" in value:
            return torch.tensor(value["data"], dtype=getattr(torch, value["__tensor__"])).reshape(value["shape"])
        if "__array__" in value:
            return np.array(value["data"], dtype=value["__array__"]).reshape(value["shape"])
        return {k: decode(v) for k, v in value.items()}
    if isinstance(value, list):
        return [decode(v) for v in value]
    return value


def save(path: Path, item: Any, value: Any) -> None:
    """Write a piece atomically."""
    text = json.dumps({"item": encode(item), "value": encode(value)})
    write_text(path, digest(text) + "\n" + text)


def load(path: Path, item: Any) -> Any | None:
    """The piece's value in a list of one, or None when there is none, or none that can be used (with a warning)."""
    if not path.is_file():
        return None
    check, _, text = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    if digest(text) != check:
        warnings.warn(f"The checkpoint {path} is damaged; it is passed over and computed again.", stacklevel=3)
        return None
    content = json.loads(text)
    return [decode(content["value"])] if content["item"] == encode(item) else None

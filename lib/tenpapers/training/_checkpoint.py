"""Checkpoints: one safetensors file each, written atomically, with its own checksum in its name. Nothing is pickled.

A file is `step-<step>.<digest>.safetensors`: the tensors of model and optimizer; as JSON in the header the rest
(history, numbers of the optimizer, the fields that say which run this is); and in the name the first 16 hexadecimal
digits of the SHA-256 of the whole content, so that a truncated or altered file never passes for a good one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

_NAME = re.compile(r"step-(\d+)\.([0-9a-f]{16})\.safetensors")
_TEMPORARY = ".writing-"  # begins the name of a file that is not finished


class CheckpointError(ValueError):
    """A checkpoint folder or a checkpoint cannot be used; the message is one sentence for the reader."""


@dataclasses.dataclass
class Store:
    """The checkpoints of one run.

    `folder` holds them; `keep` is how many of the newest stay; `identity` maps the fields that decide the result to
    JSON values: a checkpoint whose identity differs is refused. `writer` is True in the one process that writes.
    """

    folder: Path
    keep: int
    identity: Mapping[str, Any]
    writer: bool = True
    last: int | None = None  # step of the newest good checkpoint
    _damaged: set[Path] = dataclasses.field(default_factory=set)

    def open(self) -> None:
        """Make the folder and clear what an interrupted write left; CheckpointError when it cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(f"{_TEMPORARY}*"):
                leftover.unlink(missing_ok=True)
            probe = self.folder / f"{_TEMPORARY}probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint folder {self.folder} cannot be written ({error.strerror}); choose another."
            ) from None

    def files(self) -> list[tuple[int, Path]]:
        """(step, path) of every checkpoint in the folder, oldest first."""
        found = [(m, p) for p in self.folder.iterdir() if (m := _NAME.fullmatch(p.name))]
        return sorted((int(m[1]), p) for m, p in found)

    def load(self) -> Any | None:
        """The state of the newest good checkpoint, or None when there is none.

        A damaged one is named in a warning and passed over in favour of the one before. One that was made with other
        settings, parameters or shapes raises CheckpointError, which names the field.
        """
        for step, path in reversed(self.files()):
            try:
                content = path.read_bytes()
                if hashlib.sha256(content).hexdigest()[:16] != path.name.split(".")[1]:
                    raise ValueError("its checksum does not match")
                header_length = int.from_bytes(content[:8], "little")
                described = json.loads(content[8 : 8 + header_length])["__metadata__"]
                identity, skeleton = (json.loads(described[key]) for key in ("identity", "state"))
            except (OSError, ValueError, KeyError) as error:
                if isinstance(error, OSError):  # perhaps for a moment: nothing to delete
                    reason = error.strerror
                else:
                    reason = str(error)
                    self._damaged.add(path)
                if self.writer:
                    warnings.warn(
                        f"The checkpoint {path} is damaged ({reason}) and passed over for the one before.",
                        stacklevel=2,
                    )
                continue
            self._refuse_other(path, identity)
            self.last = step
            return decode(skeleton, safetensors.torch.load(content))
        return None

    def _refuse_other(self, path: Path, identity: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(self.identity))
        for name in [*wanted, *(n for n in identity if n not in wanted)]:
            was, now = identity.get(name), wanted.get(name)
            if was != now:
                raise CheckpointError(
                    f"The checkpoint {path} was made with {name} = {_shown(was)}, and this run has {_shown(now)}; "
                    "use another folder, or delete this one to start again."
                )

    def save(self, step: int, state: Any) -> None:
        """Write the checkpoint of `step`: to a temporary name, flushed to disk, renamed; then drop the oldest ones.

        When the write fails (a full disk), a warning says so, the earlier checkpoints stay and training goes on: the
        work of hours is worth more than one checkpoint, and another is tried later. Needs room for keep + 1 of them.
        """
        tensors: dict[str, torch.Tensor] = {}
        described = {"state": json.dumps(encode(state, tensors)), "identity": json.dumps(self.identity)}
        content = safetensors.torch.save(tensors, described)
        path = self.folder / f"step-{step:010d}.{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        temporary = self.folder / f"{_TEMPORARY}{path.name}"
        try:
            _write(temporary, content)
            os.replace(temporary, path)
            _sync_folder(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            kept = "no earlier one exists" if self.last is None else f"that of step {self.last} is kept"
            warnings.warn(
                f"The checkpoint of step {step} could not be written to {self.folder} ({error.strerror}); {kept}, "
                "and training goes on.",
                stacklevel=2,
            )
            return
        self.last = step
        self._damaged.discard(path)
        good = [p for s, p in self.files() if p not in self._damaged and s <= step]
        for old in [*good[: -self.keep], *self._damaged]:
            with contextlib.suppress(OSError):
                old.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush the folder itself, without which a rename may be lost in a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _shown(value: Any) -> str:
    return "nothing of that name" if value is None else repr(value)


def encode(tree: Any, tensors: dict[str, torch.Tensor], place: str = "") -> Any:
    """`tree` (dicts, lists, tuples, tensors, numbers, text, None) as JSON; its tensors go into `tensors`, by place."""
    if isinstance(tree, torch.Tensor):
        # A copy each: tied weights share memory, which the file format refuses.
        tensors[place] = tree.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": place}
    if isinstance(tree, Mapping):
        return {"dict": [[key, encode(value, tensors, f"{place}/{key}")] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [encode(value, tensors, f"{place}/{i}") for i, value in enumerate(tree)]}
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(
        f"The state {place} is of type {type(tree).__name__}; a checkpoint holds tensors, numbers, text, lists and "
        "dictionaries alone."
    )


def decode(skeleton: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The tree that `encode` was given, tensors on the CPU."""
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: decode(value, tensors) for key, value in content}
    values = [decode(value, tensors) for value in content]
    return values if kind == "list" else tuple(values)

"""Files of the book: where its root is, atomic writes, and reads that name a damaged file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml


class LedgerError(ValueError):
    """Something is wrong with a file, a claim or a run; the message is one sentence for the reader."""


def find_root(start: str | Path | None = None) -> Path | None:
    """The root of the book: the nearest folder at or above `start` (default: the working folder) with a `_toc.yml`.

    Inside `_build` the copies that the pipeline assembles are passed over, so that the root is the checkout's.
    """
    here = Path.cwd() if start is None else Path(start).resolve()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file() and folder.parent.name != "_build":
            return folder
    return None


def book_root(start: str | Path | None = None) -> Path:
    """Like `find_root`, but a LedgerError where there is no book."""
    root = find_root(start)
    if root is None:
        place = Path.cwd() if start is None else start
        raise LedgerError(f"{place} is not inside the book: no folder at or above it holds _toc.yml.")
    return root


def results_root(root: Path | None) -> Path:
    """Where runs are kept: `_build/results` of the book, or `tenpapers-results` here when there is no book around."""
    return Path.cwd() / "tenpapers-results" if root is None else root / "_build" / "results"


def make_folder(folder: Path) -> Path:
    """`folder`, made if it is missing; LedgerError when that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a folder that exists may still refuse files
            pass
    except OSError as error:
        raise LedgerError(f"The folder {folder} cannot be written ({error.strerror}).") from None
    return folder


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary sibling, flushed to disk, then renamed."""
    handle, temporary = -1, ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise LedgerError(f"{path} could not be written ({error.strerror}); what it held before is kept.") from None


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of indented JSON."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; LedgerError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LedgerError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LedgerError(f"{path} is damaged: it is not valid JSON ({error}).") from None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; LedgerError when it is missing or damaged."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LedgerError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        words = " ".join(str(error).split())
        raise LedgerError(f"{path} is damaged: it is not valid YAML ({words}).") from None


def digest(content: bytes | str) -> str:
    """SHA-256 as hexadecimal digits."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()

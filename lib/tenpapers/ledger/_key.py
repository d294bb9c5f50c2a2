"""The key of a run: what decides, alone, whether a notebook runs again.

A key covers the notebook's code cells, its parameters, the source of every library module that those cells import
(transitively), the data files that the notebook declares, and the lock file.
"""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tenpapers import presets
from tenpapers.ledger._files import LedgerError, digest, find_root, read_json

PACKAGE = Path(__file__).resolve().parent.parent  # the folder of tenpapers


@dataclasses.dataclass(frozen=True)
class Key:
    """`digest` identifies the inputs of a run; `components` has one hash per input, by name."""

    digest: str
    components: dict[str, str]


def parameters(scale: str, seed: int, device: str = "auto", overrides: Any = None) -> dict[str, Any]:
    """The parameters of a notebook in their one canonical form."""
    return {"scale": scale, "seed": seed, "device": device, "overrides": presets.parse_overrides(overrides)}


def key(notebook: str | Path, parameters: Mapping[str, Any]) -> Key:
    """The key of running `notebook` (a path) with `parameters` (scale, seed, device, overrides)."""
    notebook = Path(notebook)
    content = _notebook(notebook)
    cells = code_cells(content)
    root = find_root(notebook.resolve().parent)
    components = {
        "cells": digest("\0".join(cells)),
        "parameters": digest(json.dumps(dict(parameters), sort_keys=True, default=list)),
    }
    for name, path in library_modules(cells).items():
        components[name] = digest(path.read_bytes())
    for name in declared_data(content):
        if root is not None and not (parameters["scale"] == "full" and name.startswith("data/results/")):
            components |= _data(root, name, notebook)
    lock = None if root is None else root / "requirements.lock"
    if lock is not None and lock.is_file():
        components["requirements.lock"] = digest(lock.read_bytes())
    return combined(components)


def combined(components: Mapping[str, str]) -> Key:
    """The key of given components."""
    return Key(digest(json.dumps(dict(components), sort_keys=True)), dict(components))


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Which inputs differ between two keys' components, in words."""
    words = {"cells": "the notebook's code cells", "parameters": "the parameters"}
    names = sorted(set(old) | set(new), key=lambda name: (name not in words, name))
    return [
        words.get(name, name) + ("" if name in old and name in new else " (new)" if name in new else " (gone)")
        for name in names
        if old.get(name) != new.get(name)
    ]


def code_cells(notebook: Mapping[str, Any]) -> list[str]:
    """Sources of the code cells, without papermill's injected parameters and without the Colab cell."""
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    tagged = [(set(c["metadata"].get("tags", ())), "".join(c["source"])) for c in cells]
    return [source for tags, source in tagged if not tags & {"injected-parameters", "colab"}]


def declared_data(notebook: Mapping[str, Any]) -> list[str]:
    """The data files and folders that a notebook declares in its metadata, relative to the book's root."""
    return list(notebook["metadata"].get("tenpapers", {}).get("data", []))


def library_modules(cells: Iterable[str]) -> dict[str, Path]:
    """Every module of `tenpapers` that the code imports, transitively: name (lib/tenpapers/...) -> file."""
    found: dict[str, Path] = {}
    waiting: list[str] = []
    for source in cells:
        waiting += _imported(_parsed(source), package="")
    while waiting:
        module = waiting.pop()
        path = _module_file(module)
        if path is None or (name := f"lib/tenpapers/{path.relative_to(PACKAGE).as_posix()}") in found:
            continue
        found[name] = path
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        waiting += _imported(ast.parse(path.read_text(encoding="utf-8")), package)
    return dict(sorted(found.items()))


def _parsed(source: str) -> ast.Module:
    """A cell's syntax tree; lines of IPython magic are passed over, and a cell that is no Python counts as empty."""
    plain = "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    try:
        return ast.parse(plain)
    except SyntaxError:
        return ast.parse("")


def _imported(tree: ast.Module, package: str) -> list[str]:
    """Names of all modules under tenpapers that a syntax tree may import, parents included."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    ours = [name for name in names if name.split(".")[0] == "tenpapers"]
    return [".".join(name.split(".")[:i]) for name in ours for i in range(1, name.count(".") + 2)]


def _module_file(module: str) -> Path | None:
    """The source file of a module of tenpapers, or None when the name is no module."""
    place = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (place / "__init__.py", place.with_name(place.name + ".py")):
        if path.is_file():
            return path
    return None


def _data(root: Path, name: str, notebook: Path) -> dict[str, str]:
    """Hashes of a declared file, or of every file below a declared folder."""
    path = root / name
    if path.is_file():
        return {name: digest(path.read_bytes())}
    if Path(name).suffix and not path.exists():
        raise LedgerError(f"{notebook} declares the data file {name}, which does not exist.")
    return {f.relative_to(root).as_posix(): digest(f.read_bytes()) for f in sorted(path.rglob("*")) if f.is_file()}


def _notebook(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise LedgerError(f"{path} is damaged: it is not a notebook (it has no list of cells).")
    return content

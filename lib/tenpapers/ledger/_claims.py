"""Claims: the sentences that a chapter must make good, read from its claims.yaml."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenpapers.ledger._files import LedgerError, read_yaml
from tenpapers.presets import SCALES, nearest

KINDS = ("identity", "inequality", "exponent", "ordering", "number")


@dataclasses.dataclass(frozen=True)
class Claim:
    """One sentence that can be false.

    `checked_in` names the chapter's notebooks that check it; `scales` the scales at which it must hold; `expect` what a
    reader should see at each scale, in words; `paper` the paper's value and whether it is "verified" or "recalled".
    """

    id: str
    statement: str
    source: str
    kind: str
    checked_in: tuple[str, ...]
    scales: tuple[str, ...]
    expect: dict[str, str]
    paper: dict[str, str] | None = None


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A chapter's claims, in order, and what to expect of each of its notebooks at each scale."""

    slug: str
    claims: tuple[Claim, ...]
    notebooks: dict[str, dict[str, dict[str, Any]]]


def chapters(root: Path) -> list[str]:
    """Slugs of the chapters that are written: folders of `chapters/` with a claims.yaml."""
    return sorted(path.parent.name for path in (root / "chapters").glob("*/claims.yaml"))


def load_claims(root: Path, slug: str) -> Chapter:
    """The claims of a chapter; LedgerError of one sentence for an unknown chapter and for a damaged file."""
    path = root / "chapters" / slug / "claims.yaml"
    if not path.is_file():
        raise LedgerError(f"There is no chapter {slug!r} here; {nearest(slug, chapters(root))}.")
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("claims"), list):
        raise LedgerError(f"{path} is damaged: it must hold a list named 'claims'.")
    claims = tuple(_claim(path, i, entry) for i, entry in enumerate(content["claims"], 1))
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise LedgerError(f"{path} has two claims with the id {claim.id!r}; every id must be its own.")
        seen.add(claim.id)
    return Chapter(slug, claims, content.get("notebooks") or {})


def _claim(path: Path, position: int, entry: Any) -> Claim:
    """One entry of claims.yaml, checked."""
    if not isinstance(entry, Mapping):
        raise LedgerError(f"{path}: claim {position} is not a mapping of fields.")
    name = f"claim {entry.get('id', position)}"
    fields = {f.name: f for f in dataclasses.fields(Claim)}
    for field in entry:
        if field not in fields:
            raise LedgerError(f"{path}: {name} has the unknown field {field!r}; {nearest(field, fields)}.")
    for field in ("id", "statement", "source", "kind", "checked_in", "scales", "expect"):
        if not entry.get(field):
            raise LedgerError(f"{path}: {name} has no {field}.")
    if entry["kind"] not in KINDS:
        raise LedgerError(f"{path}: {name} has the kind {entry['kind']!r}; {nearest(entry['kind'], KINDS)}.")
    for field, kind in (("checked_in", list), ("scales", list), ("expect", dict)):
        if not isinstance(entry[field], kind):
            raise LedgerError(f"{path}: {name} has {field} {entry[field]!r}; it must be a {kind.__name__}.")
    for scale in (*entry["scales"], *entry["expect"]):
        if scale not in SCALES:
            raise LedgerError(f"{path}: {name} names the scale {scale!r}; {nearest(scale, SCALES)}.")
    paper = entry.get("paper")
    if paper is not None and (not isinstance(paper, Mapping) or paper.get("status") not in ("verified", "recalled")):
        raise LedgerError(f"{path}: {name} has a paper value without the status 'verified' or 'recalled'.")
    return Claim(
        id=str(entry["id"]),
        statement=str(entry["statement"]),
        source=str(entry["source"]),
        kind=entry["kind"],
        checked_in=tuple(map(str, entry["checked_in"])),
        scales=tuple(entry["scales"]),
        expect={scale: str(words) for scale, words in entry["expect"].items()},
        paper=None if paper is None else {k: str(v) for k, v in paper.items()},
    )

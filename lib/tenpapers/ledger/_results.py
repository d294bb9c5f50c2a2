"""Reading what runs left: verdicts and values by scale, the report, the archive and adoption from elsewhere."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from tenpapers.ledger._claims import Claim, chapters, load_claims
from tenpapers.ledger._files import LedgerError, digest, make_folder, read_json, results_root
from tenpapers.ledger._key import changed, key
from tenpapers.presets import SCALES, nearest


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is known of a claim at a scale.

    `status`: "holds", "fails", "not required" (checked, does not hold, need not at this scale), "not checked" (the
    notebook ran but no cell checked it), or "not run". `checks` are the recorded checks, as written by the run.
    """

    status: str
    checks: tuple[dict[str, Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run's folder and what it holds."""

    folder: Path
    provenance: dict[str, Any]
    verdicts: list[dict[str, Any]]
    values: dict[str, Any]


def finished(folder: Path) -> FinishedRun | None:
    """The finished run in a folder, or None when there is none; LedgerError when it is damaged."""
    if not (folder / "provenance.json").is_file():
        return None
    provenance, verdicts, values = (read_json(folder / f"{name}.json") for name in ("provenance", "verdicts", "values"))
    if not isinstance(provenance, dict) or "key" not in provenance or not isinstance(verdicts, list):
        raise LedgerError(f"{folder}/provenance.json is damaged: it holds no key.")
    return FinishedRun(folder, provenance, verdicts, values)


def runs(root: Path, slug: str, scale: str) -> list[FinishedRun]:
    """The finished runs of a chapter at a scale; at full scale the archived ones."""
    archived = root / "data" / "results" / slug
    place = archived if scale == "full" else results_root(root) / slug / scale
    folders = sorted(p for p in place.glob("*") if p.is_dir() and not p.name.startswith("."))
    return [run for folder in folders if (run := finished(folder)) is not None]


def verdicts(root: Path, slug: str, scale: str) -> dict[str, Verdict]:
    """The verdict of every claim of a chapter at a scale (smoke and quick: the default runs; full: the archive)."""
    found = runs(root, slug, scale)
    if scale != "full":
        found = [run for run in found if run.folder.name == run.provenance["notebook"]]
    checks = [check for run in found for check in run.verdicts]
    result = {}
    for claim in load_claims(root, slug).claims:
        asked = [run for run in found if claim.id not in run.provenance.get("left_out", {})]
        result[claim.id] = _verdict(claim, scale, {run.provenance["notebook"] for run in asked}, checks)
    return result


def _verdict(claim: Claim, scale: str, ran: set[str], checks: list[dict[str, Any]]) -> Verdict:
    mine = tuple(check for check in checks if check["id"] == claim.id)
    if not mine:
        return Verdict("not checked" if ran.issuperset(claim.checked_in) else "not run")
    if all(check["holds"] for check in mine):
        return Verdict("holds" if ran.issuperset(claim.checked_in) or scale == "full" else "not run", mine)
    return Verdict("fails" if scale in claim.scales else "not required", mine)


def report(root: Path, scale: str) -> tuple[str, bool]:
    """How many claims hold at a scale, chapter by chapter, in words; and whether all that must hold do."""
    if scale not in SCALES:
        raise LedgerError(f"scale is {scale!r}; {nearest(scale, SCALES)}.")
    lines, good = [], True
    for slug in chapters(root):
        claims = {c.id: c for c in load_claims(root, slug).claims}
        found = verdicts(root, slug, scale)
        required = {id: v for id, v in found.items() if scale in claims[id].scales}
        holding = [id for id, v in required.items() if v.status == "holds"]
        lines.append(f"{slug}: {len(holding)} of {len(required)} claims hold at {scale}.")
        for id, verdict in required.items():
            if verdict.status != "holds":
                good = False
                lines.append(f"  {id} {verdict.status}: {claims[id].statement}")
    return "\n".join(lines), good


def archive(folder: Path, root: Path, name: str | None = None, replace: bool = False) -> Path:
    """Copy a finished full-scale run's tables, verdicts, values and provenance to data/results/<slug>/<name>.

    Refuses (LedgerError) a run without provenance, a smoke or quick run, one made from a tree with uncommitted changes
    or outside git, tables that are not the ones the run wrote, and a name that is taken unless `replace`.
    """
    run = finished(folder)
    if run is None:
        raise LedgerError(f"{folder} has no provenance.json, so it is no finished run and cannot be archived.")
    scale = run.provenance["parameters"]["scale"]
    if scale != "full":
        raise LedgerError(f"{folder} is a {scale} run; only full runs are archived.")
    if run.provenance.get("commit") is None or not run.provenance.get("clean"):
        raise LedgerError(f"{folder} was made from a tree with uncommitted changes; commit, run again, then archive.")
    _check_tables(run)
    target = root / "data" / "results" / run.provenance["chapter"] / (name or folder.name)
    if target.exists() and not replace:
        raise LedgerError(f"{target} exists; pass --replace to put this run in its place, or --name to keep both.")
    draft = target.with_name(f".{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    make_folder(draft)
    for path in (*folder.glob("*.json"), *(folder / "tables").glob("*.csv")):
        shutil.copyfile(path, draft / path.name)
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return target


def adopt(folder: Path, root: Path) -> Path:
    """Take in a finished run that was made elsewhere, under the same key; LedgerError when its key is not today's."""
    run = finished(folder)
    if run is None:
        raise LedgerError(f"{folder} has no provenance.json, so it is no finished run and cannot be adopted.")
    given, slug = run.provenance["parameters"], run.provenance["chapter"]
    today = key(root / "chapters" / slug / f"{run.provenance['notebook']}.ipynb", given)
    if today.digest != run.provenance["key"]["digest"]:
        differing = ", ".join(changed(run.provenance["key"]["components"], today.components))
        raise LedgerError(f"{folder} was made from other inputs than today's tree: {differing}.")
    _check_tables(run)
    target = results_root(root) / slug / given["scale"] / run.provenance["run"]
    if target.resolve() == folder.resolve():
        return target
    make_folder(target.parent)
    draft = target.with_name(f".{target.name}.adopted")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(folder, draft)
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    return target


def _check_tables(run: FinishedRun) -> None:
    for name, wanted in run.provenance["tables"].items():
        path = run.folder / "tables" / name
        if not path.is_file() or digest(path.read_bytes()) != wanted:
            raise LedgerError(f"{path} is not the table that the run wrote (it is missing or was changed).")

"""One run of one notebook: its settings, its named random streams, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import HTML, Image, display
from matplotlib.figure import Figure
from tqdm import tqdm

from tenpapers import plots, presets
from tenpapers.ledger import _pieces
from tenpapers.ledger._claims import Chapter, load_claims
from tenpapers.ledger._files import (
    LedgerError,
    digest,
    find_root,
    make_folder,
    results_root,
    write_bytes,
    write_json,
)
from tenpapers.ledger._key import Key, combined, declared_data, key, library_modules, parameters
from tenpapers.ledger._key import _notebook as read_notebook

INPUTS = (
    "lib",
    "chapters",
    "data",
    "requirements.lock",
)  # what a run's commit must hold for the run to be repeatable
REPORTED = ("item", "setting", "metric", "value", "source", "verified")  # columns of data/reported/<slug>.csv
VERSIONS = ("torch", "numpy", "scipy", "pandas", "tenpapers")


def run_name(notebook: str, seed: int = 0, device: str = "auto", overrides: Mapping[str, Any] | None = None) -> str:
    """The folder name of a run: the notebook's name, its seed unless 0, and a mark of its other parameters."""
    name = notebook if seed == 0 else f"{notebook}-seed{seed}"
    if device == "auto" and not overrides:
        return name
    return f"{name}-{digest(json.dumps([device, dict(overrides or {})], sort_keys=True, default=list))[:8]}"


def start(
    slug: str,
    notebook: str,
    table: Mapping[str, Any],
    *,
    scale: str,
    seed: int,
    device: str,
    overrides: Mapping[str, Any] | str,
) -> Run:
    """Begin a run: check every parameter, the chapter and the results folder before anything is computed.

    `table` holds the presets by scale. Raises ValueError (LedgerError for files) of one sentence for whatever is wrong.
    """
    overrides = presets.parse_overrides(overrides)
    settings = presets.resolve(table, scale, overrides)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; it must be a whole number, 0 or above.")
    hardware = presets.device(device)
    root = find_root()
    chapter = None if root is None else load_claims(root, slug)
    path = None if root is None else root / "chapters" / slug / f"{notebook}.ipynb"
    if path is not None and not path.is_file():
        raise LedgerError(f"{path} does not exist, so a run of it cannot be recorded.")
    given = parameters(scale, seed, device, overrides)
    if path is not None and root is not None:
        _check_data(root, path, scale)
        identity = key(path, given)
    else:  # away from the book there is no notebook file: the library's sources and the parameters remain
        modules = library_modules([f"import tenpapers.ledger, tenpapers.{slug}"])
        identity = combined(
            {name: digest(file.read_bytes()) for name, file in modules.items()} | {"parameters": str(given)}
        )
    folder = results_root(root) / slug / scale / run_name(notebook, seed, device, overrides)
    make_folder(folder.parent)
    plots.use()
    return Run(slug, notebook, scale, seed, given, settings, hardware, root, chapter, path, identity, folder)


class Run:
    """A run under way. Made by `start`; `settings`, `scale`, `seed`, `device` and `folder` are for reading.

    Everything is written to a hidden sibling of `folder` and takes its place at `finish()`: a run that fails or is
    killed never destroys an earlier finished one.
    """

    def __init__(
        self,
        slug: str,
        notebook: str,
        scale: str,
        seed: int,
        given: dict[str, Any],
        settings: Any,
        device: torch.device,
        root: Path | None,
        chapter: Chapter | None,
        path: Path | None,
        identity: Key,
        folder: Path,
    ) -> None:
        self.slug, self.notebook, self.scale, self.seed = slug, notebook, scale, seed
        self.settings, self.device, self.folder = settings, device, folder
        self._given, self._root, self._chapter, self._path, self._key = given, root, chapter, path, identity
        self._commit, self._clean = _commit(root)
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._verdicts: list[dict[str, Any]] = []
        self._values: dict[str, Any] = {}
        self._left_out: dict[str, str] = {}
        self._resumed = 0
        self._checkpoints = folder.parents[3] / "checkpoints" / slug / scale / folder.name / identity.digest[:16]
        _sweep(folder)
        self._draft = folder.with_name(f".{folder.name}.{platform.node()}.{os.getpid()}")
        shutil.rmtree(self._draft, ignore_errors=True)
        for name in ("tables", "figures"):
            make_folder(self._draft / name)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def generator(self, *names: Any, device: str | torch.device = "cpu") -> torch.Generator:
        """A random generator of its own for `names`: a function of the run's seed and the names alone."""
        words = json.dumps([self.seed, *names], default=str)
        return torch.Generator(device).manual_seed(int(digest(words)[:15], 16))

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Keep a tidy table as tables/<name>.csv and give it back."""
        write_bytes(self._draft / "tables" / f"{name}.csv", frame.to_csv(index=False).encode())
        return frame

    def value(self, name: str, value: float | int | str) -> Any:
        """Keep a number for the prose: glued for this notebook's text, stored for the other pages. Gives it back."""
        plain = _plain(value)
        self._values[name] = plain
        try:
            from myst_nb import glue
        except ImportError:  # only the book's build needs the glue
            return plain
        glue(name, plain, display=False)
        return plain

    def figure(self, name: str, figure: Figure) -> None:
        """Keep a figure as figures/<name>.png and show it."""
        path = self._draft / "figures" / f"{name}.png"
        figure.savefig(path)
        plt.close(figure)
        display(Image(data=path.read_bytes(), format="png"))

    def claim(
        self,
        id: str,
        measured: Any,
        *,
        expected: float | None = None,
        tolerance: float | None = None,
        at_most: float | None = None,
        at_least: float | None = None,
        holds: bool | None = None,
        spread: float | None = None,
        note: str = "",
    ) -> bool:
        """Record one check of a claim, show its verdict and give it back.

        Exactly one kind of test: `expected` with `tolerance` (|measured - expected| <= tolerance), `at_most` and/or
        `at_least`, or `holds` (a truth the caller computed). NaN never holds. A claim holds when all of its checks do.
        """
        kinds = [expected is not None, at_most is not None or at_least is not None, holds is not None]
        if sum(kinds) != 1 or (expected is None) != (tolerance is None):
            raise LedgerError(
                f"claim {id}: give expected with tolerance, or at_most/at_least, or holds; one of the three."
            )
        if self._chapter is not None:
            known = {c.id: c for c in self._chapter.claims}
            if id not in known:
                raise LedgerError(f"claim {id!r} is not in {self.slug}'s claims.yaml; {presets.nearest(id, known)}.")
            if self.notebook not in known[id].checked_in:
                raise LedgerError(f"claim {id} is checked in {self.notebook}, which claims.yaml does not list for it.")
        measured = _plain(measured)
        if expected is not None and tolerance is not None:
            truth, wanted = abs(measured - expected) <= tolerance, f"{expected:.4g} ± {tolerance:.2g}"
        elif holds is not None:
            truth, wanted = bool(holds), "true"
        else:
            truth = (at_most is None or measured <= at_most) and (at_least is None or measured >= at_least)
            low = "" if at_least is None else f"≥ {at_least:.4g}"
            high = "" if at_most is None else f"≤ {at_most:.4g}"
            wanted = " and ".join(filter(None, (low, high)))
        verdict = {
            "id": id,
            "holds": bool(truth),
            "measured": measured,
            "spread": None if spread is None else _plain(spread),
            "expected": wanted,
            "note": note,
            "notebook": self.notebook,
        }
        self._verdicts.append(verdict)
        display(HTML(verdict_html(verdict, self._required(id))))
        return bool(truth)

    def leave_out(self, ids: Iterable[str], reason: str) -> None:
        """Say that this run does not check these claims, and why: `finish` then does not ask for them.

        For a run whose overrides select a part of the notebook; LedgerError in a run of the preset itself, which
        checks everything.
        """
        ids = list(ids)
        if ids and not self._given["overrides"]:
            raise LedgerError(f"A run without overrides checks every claim; it cannot leave out {', '.join(ids)}.")
        known = [] if self._chapter is None else [c.id for c in self._chapter.claims]
        for id in ids:
            if self._chapter is not None and id not in known:
                raise LedgerError(f"claim {id!r} is not in {self.slug}'s claims.yaml; {presets.nearest(id, known)}.")
            self._left_out[id] = reason
        if ids:
            display(HTML(f"<p>Not checked in this run: {html.escape(', '.join(ids))} ({html.escape(reason)}).</p>"))

    def map(self, name: str, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """`[function(item) for item in items]` with a progress bar, each finished piece kept until `finish()`.

        A killed run that is started again with the same inputs takes up the finished pieces and computes the rest.
        `function` must draw its randomness from `run.generator(name, ...)` with the item's own names, so that the
        result does not depend on where it was interrupted. Items and results are made of numbers, strings, lists,
        dictionaries, arrays and tensors.
        """
        folder = self.checkpoints(name)
        results: list[Any] = []
        for position, item in enumerate(tqdm(list(items), desc=name, leave=False, mininterval=1.0)):
            path = folder / f"{position:06d}.json"
            piece = _pieces.load(path, item)
            if piece is None:
                value = function(item)
                _pieces.save(path, item, value)
                piece = [_pieces.decode(_pieces.encode(value))]
            else:
                self._resumed += 1
            results += piece
        return results

    def checkpoints(self, name: str) -> Path:
        """A folder of this run's own for the checkpoints of a training (`training.train(folder=...)`).

        It belongs to the run's key: a run of other inputs does not see it. `finish()` removes it.
        """
        return make_folder(self._checkpoints / name)

    def reported(self) -> pd.DataFrame:
        """The numbers that the paper reports: data/reported/<slug>.csv, which the notebook must declare."""
        return self._read(f"data/reported/{self.slug}.csv")

    def paper(self, item: str, metric: str) -> float:
        """One number that the paper reports; LedgerError when its table has no such row, or no number there."""
        frame = self.reported()
        found = frame.loc[(frame["item"] == item) & (frame["metric"] == metric), "value"]
        place = f"data/reported/{self.slug}.csv"
        if len(found) != 1:
            raise LedgerError(f"{place} has {len(found)} rows for {metric} of {item}; it must have one.")
        try:
            return float(found.iloc[0])
        except ValueError:
            raise LedgerError(f"{place} gives {found.iloc[0]!r} for {metric} of {item}, which is no number.") from None

    def archived(self, table: str) -> pd.DataFrame | None:
        """A table of all archived full-scale runs, with the column `run`; None when there is none.

        At full scale always None: an archive is made of full runs, so it is no input of theirs.
        """
        place = f"data/results/{self.slug}"
        if self._root is None or self.scale == "full":
            return None
        self._declared(place)
        found = sorted((self._root / place).glob(f"*/{table}.csv"))
        frames = [_read_csv(path).assign(run=path.parent.name) for path in found]
        return pd.concat(frames, ignore_index=True) if frames else None

    def finish(self) -> None:
        """Write verdicts, values and provenance, put the run in its place and show what held.

        Raises LedgerError when a claim that must hold here was never checked.
        """
        checked = {verdict["id"] for verdict in self._verdicts}
        claims = [] if self._chapter is None else self._chapter.claims
        wanted = [c.id for c in claims if self.notebook in c.checked_in and self.scale in c.scales]
        missing = [id for id in wanted if id not in checked and id not in self._left_out]
        if missing:
            raise LedgerError(f"The run cannot finish: no cell checked {', '.join(missing)}.")
        write_json(self._draft / "verdicts.json", self._verdicts)
        write_json(self._draft / "values.json", self._values)
        write_json(self._draft / "provenance.json", self._provenance())
        before = self.folder.with_name(f".{self.folder.name}.before.{os.getpid()}")
        if self.folder.exists():
            kept = self.folder / "notebook.ipynb"
            if kept.is_file():  # the pipeline replaces it when it has the new one whole
                shutil.copy2(kept, self._draft / "notebook.ipynb")
            self.folder.rename(before)
        self._draft.rename(self.folder)
        shutil.rmtree(before, ignore_errors=True)
        shutil.rmtree(self._checkpoints.parent, ignore_errors=True)  # also those of earlier inputs
        held = sum(all(v["holds"] for v in self._verdicts if v["id"] == id) for id in checked)
        display(
            HTML(f"<p><strong>{held} of {len(checked)} claims checked here hold at scale {self.scale}.</strong></p>")
        )

    def _required(self, id: str) -> bool:
        """Whether the claim must hold at this scale (true when nothing is known of it)."""
        claims = [] if self._chapter is None else [c for c in self._chapter.claims if c.id == id]
        return not claims or self.scale in claims[0].scales

    def _declared(self, name: str) -> None:
        if self._path is not None and name not in declared_data(read_notebook(self._path)):
            raise LedgerError(f"{self._path} reads {name} without declaring it in its metadata (tenpapers.data).")

    def _read(self, name: str) -> pd.DataFrame:
        if self._root is None:
            raise LedgerError(f"{name} is part of the book; run the notebook inside the book's folder.")
        self._declared(name)
        return _read_csv(self._root / name)

    def _provenance(self) -> dict[str, Any]:
        tables = sorted((self._draft / "tables").glob("*.csv"))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
        cuda = self.device.type == "cuda"
        return {
            "chapter": self.slug,
            "notebook": self.notebook,
            "run": self.folder.name,
            "parameters": self._given,
            "settings": dataclasses.asdict(self.settings),
            "key": {"digest": self._key.digest, "components": self._key.components},
            "commit": self._commit,
            "clean": self._clean,
            "started": self._started.isoformat(timespec="seconds"),
            "wall_seconds": round(time.monotonic() - self._clock, 2),
            "peak_memory_gb": round(memory, 3),
            "device": self.device.type,
            "hardware": torch.cuda.get_device_name(self.device)
            if cuda
            else f"CPU, {os.cpu_count()} cores, {platform.machine()}",
            "peak_gpu_memory_gb": round(torch.cuda.max_memory_allocated(self.device) / 1e9, 3) if cuda else None,
            "job": {k: os.environ[k] for k in ("SLURM_JOB_ID", "SLURMD_NODENAME") if k in os.environ},
            "resumed_pieces": self._resumed,
            "left_out": self._left_out,
            "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in VERSIONS},
            "tables": {path.name: digest(path.read_bytes()) for path in tables},
        }


def verdict_html(verdict: Mapping[str, Any], required: bool) -> str:
    """One check's verdict as a line of HTML: words first, colour second."""
    word = "holds" if verdict["holds"] else "does not hold" if required else "does not hold (nor must it at this scale)"
    mark, style = ("✓", "holds") if verdict["holds"] else ("✗", "fails")
    text = f"measured {number(verdict['measured'])}"
    if verdict["spread"] is not None:
        text += f" ± {number(verdict['spread'])}"
    if verdict["expected"] != "true":
        text += f"; expected {verdict['expected']}"
    if verdict["note"]:
        text += f" — {verdict['note']}"
    return f'<p class="verdict verdict-{style}"><strong>{mark} {verdict["id"]} {word}</strong>: {html.escape(text)}</p>'


def number(value: Any) -> str:
    """A measured value for the eye: four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """A plain Python number, truth or string from whatever library's scalar."""
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, bool | int | float | str):
        raise LedgerError(f"A measured value is of type {type(value).__name__}; give a number, a truth or a string.")
    return value


def _check_data(root: Path, notebook: Path, scale: str) -> None:
    """Read every table that a notebook declares, so that a damaged one is named before anything is computed."""
    for name in declared_data(read_notebook(notebook)):
        if scale == "full" and name.startswith("data/results"):
            continue
        place = root / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.csv")):
            frame = _read_csv(path) if path.suffix == ".csv" else None
            if frame is None or path.parent != root / "data" / "reported":
                continue
            lacking = [column for column in REPORTED if column not in frame]
            if lacking:
                raise LedgerError(f"{path} is damaged: it lacks the column {lacking[0]!r}.")
            odd = sorted({str(mark) for mark in frame["verified"]} - {"verified", "recalled"})
            if odd or frame.isna()[["item", "metric", "value"]].any(axis=None):
                what = f"marks a number {odd[0]!r}" if odd else "has a row without item, metric or value"
                raise LedgerError(f"{path} is damaged: it {what}; every number is 'verified' or 'recalled'.")


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise LedgerError(f"{path} does not exist.") from None
    except (ValueError, OSError) as error:
        raise LedgerError(f"{path} is damaged: it is not a table ({error}).") from None


def _commit(root: Path | None) -> tuple[str | None, bool | None]:
    """The commit of the book, and whether what a run depends on was committed; (None, None) outside git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    if root is None:
        return None, None
    try:
        return git("rev-parse", "HEAD"), not git("status", "--porcelain", "--", *INPUTS)
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _sweep(folder: Path) -> None:
    """Remove what runs of this name left behind when their processes on this machine were killed."""
    for left in folder.parent.glob(f".{folder.name}.{platform.node()}.*"):
        pid = left.name.rpartition(".")[2]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

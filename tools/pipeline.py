"""What is to be run and whether it is done: what the Snakefile, the executor and the renderer share.

A job is one notebook with one set of parameters. Its key (see `tenpapers.ledger.key`) decides, alone, whether it runs
again: it is done when `_build/results/<chapter>/<scale>/<run>/` holds a provenance and an executed notebook with that
key, wherever they were made. Snakemake sees this as a marker file, `_build/done/...`, which `Job.settle` puts down or
takes away; it never sees a results folder, so it can never delete one.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tenpapers import ledger, presets

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path("_build")  # every path below is relative to ROOT, so that a folder with any name works
SOURCES = (
    "*.md",
    "*.bib",
    "_config.yml",
    "_toc.yml",
    "requirements.lock",
    "tools/book_extension.py",
    "tools/render.py",
)
RUN_FIELDS = ("name", "notebook", "figure", "grid", "overrides", "resources")
RESOURCES = {"gpus": 0, "cpus": 2, "memory_gb": 8, "hours": 4}  # what a run of runs.yaml gets unless it says otherwise


class Refused(ValueError):
    """The book or the request is wrong; the message is one sentence for the reader."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of one notebook: where it comes from, with which parameters and resources, and under which key."""

    slug: str
    notebook: str
    parameters: dict[str, Any]
    resources: dict[str, float]
    key: ledger.Key

    @property
    def run(self) -> str:
        """The name of the run's folder."""
        return ledger.run_name(self.notebook, *(self.parameters[name] for name in ("seed", "device", "overrides")))

    @property
    def path(self) -> Path:
        """`<scale>/<chapter>/<run>`: the part that all of the job's files in _build share."""
        return Path(self.parameters["scale"], self.slug, self.run)

    @property
    def source(self) -> Path:
        """The notebook as it was written."""
        return Path("chapters", self.slug, f"{self.notebook}.ipynb")

    @property
    def results(self) -> Path:
        """The folder that the ledger writes."""
        return BUILD / "results" / self.slug / self.parameters["scale"] / self.run

    @property
    def card(self) -> Path:
        """The file that says what to run: written by `settle`, read by tools/execute.py, and Snakemake's input."""
        return BUILD / "keys" / f"{self.path}.json"

    @property
    def marker(self) -> Path:
        """There when the job is done, and Snakemake's output."""
        return BUILD / "done" / str(self.path)

    def why(self) -> str:
        """Why the job must run, in words; empty when it is done."""
        found = ledger.finished(ROOT / self.results)
        if found is None:
            return "it was never run"
        changed = ledger.changed(found.provenance["key"]["components"], self.key.components)
        if changed:
            return f"changed since it last ran: {', '.join(changed)}"
        executed = ROOT / self.results / "notebook.ipynb"
        if not executed.is_file():
            return "its executed notebook is missing"
        if ledger.read_json(executed)["metadata"].get("tenpapers", {}).get("key") != self.key.digest:
            return "its executed notebook is of an earlier run"
        return ""

    def settle(self) -> bool:
        """Write the card if it differs, and put down or take away the marker; gives whether the job is done."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "key"}
        write_if_changed(self.card, json.dumps(content | {"key": dataclasses.asdict(self.key)}, indent=1))
        done = not self.why()
        settle_marker(self.marker, self.key.digest if done else None)
        return done


def load(card: Path) -> Job:
    """The job that a card describes."""
    content = ledger.read_json(card)
    return Job(**(content | {"key": ledger.Key(**content["key"])}))


def write_if_changed(path: Path, text: str) -> None:
    """Write a file of the build folder, atomically, unless it holds just that already."""
    target = ROOT / path
    try:
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        raise Refused(f"{path} cannot be written ({error.strerror}); the book is built in {BUILD}.") from None


def settle_marker(marker: Path, content: str | None) -> None:
    """Make a marker hold `content`, or be absent when that is None."""
    if content is not None:
        write_if_changed(marker, content + "\n")
    else:
        (ROOT / marker).unlink(missing_ok=True)


def job(slug: str, notebook: str, resources: Mapping[str, float] | None = None, **parameters: Any) -> Job:
    """The job of a notebook with the given parameters (scale; seed, device and overrides where they differ)."""
    given = ledger.parameters(**({"scale": "quick", "seed": 0} | parameters))
    key = ledger.key(ROOT / "chapters" / slug / f"{notebook}.ipynb", given)
    return Job(slug, notebook, given, dict(RESOURCES | dict(resources or {})), key)


def pages() -> list[str]:
    """The book's pages in order, as _toc.yml lists them (without file extensions)."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for entry in node:
                walk(entry)
        elif isinstance(node, dict):
            for name in ("root", "file"):
                if name in node:
                    found.append(str(node[name]))
            for name in ("parts", "chapters", "sections", "entries", "subtrees"):
                walk(node.get(name, []))

    walk(ledger.read_yaml(ROOT / "_toc.yml"))
    return found


def page_file(page: str) -> Path:
    """The file of a page that _toc.yml lists, relative to the book."""
    for end in (".md", ".ipynb"):
        if (ROOT / f"{page}{end}").is_file():
            return Path(f"{page}{end}")
    raise Refused(f"_toc.yml lists {page}, and there is no {page}.md or {page}.ipynb.")


def chapters() -> list[str]:
    """Slugs of the chapters that the book lists, in order."""
    parts = [Path(page).parts for page in pages()]
    return list(dict.fromkeys(part[1] for part in parts if len(part) > 2 and part[0] == "chapters"))


def check_library() -> None:
    """Refuse to work with another copy of the library than this book's: keys would be of code that does not run."""
    used = Path(ledger.__file__).resolve().parents[2]
    if used != ROOT / "lib":
        raise Refused(
            f"tenpapers is imported from {used}, not from this book; run 'pip install -e ./lib' in its folder."
        )


def book_jobs() -> list[Job]:
    """One job per notebook of the book, at the quick scale; a damaged claims.yaml is refused here, before any runs."""
    files = [page_file(page) for page in pages()]
    for slug in chapters():
        ledger.load_claims(ROOT, slug)
    return [job(path.parent.name, path.stem) for path in files if path.suffix == ".ipynb"]


def full_jobs(slug: str, run: str = "", scale: str = "full") -> list[Job]:
    """The runs of a chapter's runs.yaml (all, or the one named `run`) at a scale, their grids expanded.

    What a run asks for in runs.yaml is for the full scale; a rehearsal at another one takes what a run gets by default.
    """
    if slug not in chapters():
        raise Refused(f"There is no chapter {slug!r}; {presets.nearest(slug, chapters())}." if slug else NO_CHAPTER)
    if scale not in presets.SCALES:
        raise Refused(f"scale is {scale!r}; {presets.nearest(scale, presets.SCALES)}.")
    ledger.load_claims(ROOT, slug)
    plans = list(read_runs(slug))
    names = [plan["name"] for plan in plans]
    if run and run not in names:
        raise Refused(f"{slug} has no run named {run!r}; {presets.nearest(run, names)}.")
    jobs: dict[Path, Job] = {}
    for plan in plans:
        if run not in ("", plan["name"]):
            continue
        grid = plan.get("grid") or {}
        for values in itertools.product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            seed = chosen.pop("seed", 0)
            overrides = dict(plan.get("overrides") or {}) | chosen
            needs = plan.get("resources") if scale == "full" else None
            one = job(slug, plan["notebook"], needs, scale=scale, seed=seed, overrides=overrides)
            jobs.setdefault(one.path, one)
    return list(jobs.values())


NO_CHAPTER = "Name the chapter: make full CHAPTER=<chapter>, or snakemake full --config chapter=<chapter>."


def read_runs(slug: str) -> Iterator[dict[str, Any]]:
    """The entries of a chapter's runs.yaml, checked; Refused or LedgerError, one sentence each, for a damaged one."""
    place = Path("chapters", slug, "runs.yaml")
    content = ledger.read_yaml(ROOT / place)
    if not isinstance(content, dict) or not isinstance(content.get("runs"), list):
        raise Refused(f"{place} is damaged: it must hold a list named 'runs'.")
    seen: set[str] = set()
    for position, plan in enumerate(content["runs"], 1):
        if not isinstance(plan, dict) or not isinstance(plan.get("name"), str):
            raise Refused(f"{place} is damaged: run {position} has no name.")
        name = plan["name"]
        if name in seen:
            raise Refused(f"{place} has two runs named {name!r}; every name must be its own.")
        seen.add(name)
        for field in plan:
            if field not in RUN_FIELDS:
                raise Refused(
                    f"{place}: run {name!r} has the unknown field {field!r}; {presets.nearest(field, RUN_FIELDS)}."
                )
        notebook = plan.get("notebook")
        if not (ROOT / "chapters" / slug / f"{notebook}.ipynb").is_file():
            valid = [path.stem for path in sorted((ROOT / "chapters" / slug).glob("*.ipynb"))]
            raise Refused(f"{place}: run {name!r} has the notebook {notebook!r}; {presets.nearest(notebook, valid)}.")
        for field in ("grid", "overrides", "resources"):
            if not isinstance(plan.get(field) or {}, dict):
                raise Refused(f"{place}: run {name!r} has {field} {plan[field]!r}; it must map names to values.")
        for field, values in (plan.get("grid") or {}).items():
            if not isinstance(values, list) or not values:
                raise Refused(f"{place}: run {name!r} has {field} {values!r} in its grid; it must be a list of values.")
        for field, value in (plan.get("resources") or {}).items():
            if field not in RESOURCES:
                raise Refused(f"{place}: run {name!r} asks for {field!r}; {presets.nearest(field, RESOURCES)}.")
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise Refused(f"{place}: run {name!r} asks for {field} {value!r}; it must be a number, 0 or above.")
        yield plan


def book_digest() -> str:
    """A hash of all that the pages are made of: texts, settings, notebooks, and the results that they show."""
    files = {path for pattern in SOURCES for path in ROOT.glob(pattern)}
    for folder in ("chapters", "_static", "images", "data"):
        files |= {
            path for path in (ROOT / folder).rglob("*") if path.is_file() and ".ipynb_checkpoints" not in path.parts
        }
    for path in (ROOT / BUILD / "results").glob("*/*/*/**/*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(ROOT / BUILD).parts):
            files.add(path)
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


BOOK_MARKER = BUILD / "done" / "book"


def settle_book() -> None:
    """Take the book's marker away unless the rendered book is of just what is here now."""
    marker = ROOT / BOOK_MARKER
    rendered = (ROOT / BUILD / "html" / "index.html").is_file()
    if not (rendered and marker.is_file() and marker.read_text(encoding="utf-8").strip() == book_digest()):
        marker.unlink(missing_ok=True)


def lock(name: str) -> IO[str]:
    """Hold the lock `name` while this process lives (a killed one holds nothing); Refused when it is held."""
    path = ROOT / BUILD / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a", encoding="utf-8")
    except OSError as error:
        raise Refused(f"{path.parent} cannot be written ({error.strerror}); the book is built in {BUILD}.") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused("Another process is building here; wait until it has ended, or end it.") from None
    return handle


def say(message: str) -> None:
    """A line for whoever watches."""
    print(message, file=sys.stderr, flush=True)

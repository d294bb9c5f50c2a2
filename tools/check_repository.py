"""Does the repository keep its own rules? `python tools/check_repository.py` prints what is amiss, one line each.

Every rule is a function that gives sentences; none means that all is well. The tests and the pre-commit hook run it.
"""

from __future__ import annotations

import ast
import csv
import importlib.util
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pipeline
from tenpapers import ledger, presets

PARTS = {
    "What architectures can hold": ("copying", "parrots"),
    "What gradient descent learns": ("parity", "relu", "scaling"),
    "What generative models do beyond their data": ("transcendence", "superposed", "pine"),
    "Learning in games": ("markov_games", "marlhf"),
}
AROUND = ("Before you start", "Evidence")  # parts that hold no chapter
NOTEBOOKS = ("derivation", "experiments")
LARGEST = 1_500_000  # bytes
LONGEST = 40  # lines of a code cell
REPORTED = ["item", "setting", "metric", "value", "source", "verified"]
HOSTS = (  # the only addresses that files may name: papers, licenses, Colab, schemas, this machine
    "arxiv.org",
    "doi.org",
    "openreview.net",
    "creativecommons.org",
    "spdx.org",
    "colab.research.google.com",
    "localhost",
    "127.0.0.1",
)
BUILT = {"_build", "__pycache__", ".venv", ".git", ".snakemake", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
TEXTS = (".md", ".ipynb", ".py", ".yml", ".yaml", ".toml", ".txt", ".lock", ".cff", ".bib", ".css", ".js", ".sh", "")

Cell = dict[str, Any]


# What is there


def files() -> list[Path]:
    """Files that git keeps or would keep; without git, all but what is built."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=pipeline.ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = [Path(name) for name in listed.stdout.split("\0") if name]
    else:
        found = [path.relative_to(pipeline.ROOT) for path in pipeline.ROOT.rglob("*")]
        found = [path for path in found if not BUILT.intersection(path.parts)]
    return sorted(path for path in set(found) if (pipeline.ROOT / path).is_file())


def folders() -> list[str]:
    """Slugs of the folders under chapters/ that hold a file."""
    return sorted({path.parts[1] for path in files() if path.parts[0] == "chapters" and len(path.parts) > 2})


def notebooks() -> Iterator[tuple[Path, list[Cell]]]:
    """Every notebook with its cells; one that is no notebook has none (`sound_notebooks` says so)."""
    for path in files():
        if path.suffix == ".ipynb":
            yield path, cells_of(path)


def cells_of(path: Path) -> list[Cell]:
    try:
        content = ledger.read_json(pipeline.ROOT / path)
    except ledger.LedgerError:
        return []
    cells = content.get("cells", []) if isinstance(content, dict) else []
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def code_of(cells: list[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


def prose_of(cells: list[Cell]) -> str:
    return "\n\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")


def tags_of(cell: Cell) -> list[str]:
    return list(cell["metadata"].get("tags", []))


def calls(source: str, *name: str) -> list[ast.Call]:
    """Calls of `run.claim` and the like, `name` being ("run", "claim")."""
    plain = "\n".join("pass" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    try:
        tree = ast.parse(plain)
    except SyntaxError:
        return []
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in found if ast.unparse(call.func) == ".".join(name)]


def first_words(call: ast.Call) -> str | None:
    """A call's first argument when it is a string written out."""
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def recorded(cells: list[Cell], method: str) -> set[str | None]:
    """Names that a notebook gives to `run.<method>`; None among them for a name that is computed."""
    return {first_words(call) for cell in code_of(cells) for call in calls(cell["source"], "run", method)}


def claims_of(slug: str) -> tuple[ledger.Claim, ...]:
    """A chapter's claims; none when its file is damaged (`sound_claims` says so)."""
    try:
        return ledger.load_claims(pipeline.ROOT, slug).claims
    except ledger.LedgerError:
        return ()


# Rules


def no_large_files() -> Iterator[str]:
    for path in files():
        size = (pipeline.ROOT / path).stat().st_size
        if size > LARGEST:
            yield f"{path} has {size / 1e6:.1f} MB; a file of the repository has at most {LARGEST / 1e6:g} MB."


def no_unknown_addresses() -> Iterator[str]:
    """A page must read without a network, and no address is invented: few hosts may be named, and the book's own."""
    own = book_address()
    for path in files():
        if path.suffix not in TEXTS:
            continue
        text = (pipeline.ROOT / path).read_text(encoding="utf-8", errors="replace")
        for host, rest in re.findall(r"(?:https?|ssh|git)://([\w.\-@:]+)(/[\w.\-/]*)?", text):
            bare = host.rpartition("@")[2].split(":")[0].removeprefix("www.").rstrip(".")
            if bare not in HOSTS and not (own and f"{host}{rest}".startswith(own)):
                yield f"{path} names the address {host}{rest}; allowed are {', '.join(HOSTS)}."


def book_address() -> str:
    """The repository's address as _config.yml sets it, without its scheme; empty while there is none."""
    path = pipeline.ROOT / "_config.yml"
    setting = (ledger.read_yaml(path) or {}).get("repository") if path.is_file() else None
    return str((setting or {}).get("url") or "").rpartition("://")[2].removesuffix(".git").rstrip("/")


def sound_notebooks() -> Iterator[str]:
    for path, cells in notebooks():
        if not cells:
            yield f"{path} is damaged: it is not a notebook with cells."
            continue
        content = json.loads((pipeline.ROOT / path).read_text(encoding="utf-8"))
        if content.get("metadata", {}).get("kernelspec", {}).get("name") != "python3":
            yield f"{path} has no kernelspec python3."
        for position, cell in enumerate(cells, 1):
            place = f"{path}, cell {position}"
            if not cell.get("id"):
                yield f"{place} has no id."
            if cell["cell_type"] != "code":
                continue
            if cell.get("outputs") or cell.get("execution_count") is not None:
                yield f"{place} holds outputs or an execution count; clear them before a commit."
            lines = len(cell["source"].splitlines())
            if lines > LONGEST:
                yield f"{place} has {lines} lines; longer than {LONGEST} belongs in the library."
            if "injected-parameters" in tags_of(cell):
                yield f"{place} was put there by papermill; remove it."
            if calls(cell["source"], "run", "figure") and not alternative(cell):
                yield f"{place} draws a figure without alternative text (metadata mystnb.image.alt)."


def alternative(cell: Cell) -> str:
    return str(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")).strip()


def same_skeleton() -> Iterator[str]:
    """Every notebook of a chapter opens with the same Colab and parameter cells and ends with run.finish()."""
    models: dict[str, tuple[Path, str]] = {}
    for path, cells in notebooks():
        if path.parts[0] != "chapters" or not cells:
            continue
        for tag in ("colab", "parameters"):
            tagged = [cell for cell in code_of(cells) if tag in tags_of(cell)]
            if len(tagged) != 1:
                yield f"{path} has {len(tagged)} cells tagged {tag!r}; it must have one."
                continue
            source = tagged[0]["source"].replace(path.parts[1], "<slug>")
            model = models.setdefault(tag, (path, source))
            if source != model[1]:
                yield f"{path}: its cell tagged {tag!r} differs from that of {model[0]}."
        code = [cell for cell in code_of(cells) if cell["source"].strip()]
        if not code or not calls(code[-1]["source"], "run", "finish"):
            yield f"{path} does not end with run.finish()."


def sound_claims() -> Iterator[str]:
    """claims.yaml reads, its notebooks exist, and it says what to expect wherever a claim must hold."""
    for slug in ledger.chapters(pipeline.ROOT):
        place = f"chapters/{slug}/claims.yaml"
        try:
            chapter = ledger.load_claims(pipeline.ROOT, slug)
        except ledger.LedgerError as error:
            yield str(error).replace(f"{pipeline.ROOT}/", "")
            continue
        there = {path.stem for path in files() if path.parent == Path("chapters", slug) and path.suffix == ".ipynb"}
        for claim in chapter.claims:
            for name in sorted(set(claim.checked_in) - there):
                yield f"{place}: {claim.id} is checked in {name}, and there is no {name}.ipynb."
            for scale in sorted(set(claim.scales) - set(claim.expect)):
                yield f"{place}: {claim.id} must hold at {scale} and does not say what to expect there."
        for name, scale in itertools.product(sorted(there), presets.SCALES):
            stated = (chapter.notebooks.get(name) or {}).get(scale) or {}
            missing = [field for field in ("minutes", "memory_gb", "device") if field not in stated]
            if missing:
                yield f"{place}: notebooks has no {', '.join(missing)} of {name} at {scale}."


def claims_and_checks_agree() -> Iterator[str]:
    """Every claim is checked by a cell of each notebook that it names, and every check names such a claim."""
    for slug in ledger.chapters(pipeline.ROOT):
        claims = {claim.id: claim for claim in claims_of(slug)}
        pages = {path.stem: (path, cells) for path, cells in notebooks() if path.parent == Path("chapters", slug)}
        for claim in claims.values():
            for name in claim.checked_in:
                if name in pages and claim.id not in recorded(pages[name][1], "claim"):
                    yield f'{pages[name][0]} never calls run.claim("{claim.id}", ...), which claims.yaml says it does.'
            label, first = f"({slug}-{claim.id.lower()})=", claim.checked_in[0]
            if first in pages and label not in prose_of(pages[first][1]).split():
                yield f"{pages[first][0]} has no label {label} above the section that checks {claim.id}."
        for name, (path, cells) in pages.items():
            for id in sorted(recorded(cells, "claim"), key=str):
                if id is None:
                    yield f"{path} computes the id of a claim; write it out, so that it can be found."
                elif id not in claims:
                    yield f"{path} checks the claim {id!r}, which is not in claims.yaml."
                elif name not in claims[id].checked_in:
                    yield f"{path} checks {id}, and claims.yaml does not list {name} for it."


def numbers_come_from_runs() -> Iterator[str]:
    """A number glued into prose, and a picture shown on a page, is one that a cell of the named notebook keeps."""
    kept = {
        f"{path.parts[1]}/{path.stem}": {method: recorded(cells, method) for method in ("value", "figure")}
        for path, cells in notebooks()
        if path.parts[0] == "chapters"
    }
    for path in files():
        if path.suffix not in (".md", ".ipynb") or path.name in ("README.md", "CONTRIBUTING.md"):
            continue
        prose = prose_of(cells_of(path)) if path.suffix == ".ipynb" else (pipeline.ROOT / path).read_text("utf-8")
        asked = [("value", *found) for found in re.findall(r"\{value\}`([\w-]+/[\w-]+)/([\w.\-]+)[:`]", prose)]
        asked += [("figure", *found) for found in re.findall(r"\{result-figure\} ([\w-]+/[\w-]+)/([\w.\-]+)", prose)]
        if path.suffix == ".ipynb" and path.parts[0] == "chapters":
            own = f"{path.parts[1]}/{path.stem}"
            asked += [("value", own, name) for name in re.findall(r"\{glue:\w+\}`([\w.\-]+)[:`]", prose)]
        for method, notebook, name in asked:
            names = kept.get(notebook, {}).get(method, set())
            if name not in names and None not in names:
                yield f"{path} shows {notebook}/{name}, and no cell of that notebook calls run.{method}({name!r}, ...)."


def pages_and_chapters_agree() -> Iterator[str]:
    """_toc.yml, the folders and the library hold the same chapters, each under its part, each complete."""
    content = ledger.read_yaml(pipeline.ROOT / "_toc.yml")
    listed: list[str] = []
    for part in content.get("parts", []):
        caption, pages = part.get("caption"), [entry.get("file") for entry in part.get("chapters", [])]
        if caption in AROUND:
            continue
        if caption not in PARTS:
            yield f"_toc.yml has the part {caption!r}; {presets.nearest(caption, PARTS)}."
            continue
        for entry, page in zip(part["chapters"], pages, strict=True):
            slug = str(page).split("/")[1] if str(page).startswith("chapters/") else str(page)
            if slug not in PARTS[caption]:
                yield f"_toc.yml lists {page} under {caption!r}, which holds {', '.join(PARTS[caption])}."
                continue
            listed.append(slug)
            wanted = [f"chapters/{slug}/{name}" for name in ("index", *NOTEBOOKS)]
            if [page, *(section.get("file") for section in entry.get("sections", []))] != wanted:
                yield f"_toc.yml must list {slug} as {wanted[0]} with the sections {' and '.join(wanted[1:])}."
    for slug in folders():
        if slug not in listed:
            yield f"chapters/{slug} is not listed in _toc.yml."
    there = set(files())
    for slug in listed:
        chapter = [f"chapters/{slug}/{name}" for name in ("index.md", "claims.yaml", "runs.yaml")]
        chapter += [f"chapters/{slug}/{name}.ipynb" for name in NOTEBOOKS]
        library = [f"lib/tenpapers/{slug}/__init__.py", f"lib/tenpapers/{slug}/presets.py", f"tests/test_{slug}.py"]
        for name in [*chapter, *library, f"data/reported/{slug}.csv"]:
            if Path(name) not in there:
                yield f"The chapter {slug} has no {name}."
        index = Path("chapters", slug, "index.md")
        text = (pipeline.ROOT / index).read_text("utf-8") if index in there else ""
        for directive in ("claims", "expectations"):
            if text and f"{{{directive}}} {slug}" not in text:
                yield f"{index} does not show its {{{directive}}}."
        for page in ("intro.md", "notation.md"):
            if Path(page) in there and f"chapters/{slug}/index" not in (pipeline.ROOT / page).read_text("utf-8"):
                yield f"{page} does not lead to chapters/{slug}/index."
    for page in pipeline.pages():
        if not {Path(f"{page}.md"), Path(f"{page}.ipynb")} & there:
            yield f"_toc.yml lists {page}, and there is no {page}.md or {page}.ipynb."


def sound_runs() -> Iterator[str]:
    """runs.yaml reads, states its costs, and every run of its grids is one that the notebook's preset accepts."""
    for slug in folders():
        place = f"chapters/{slug}/runs.yaml"
        if not (pipeline.ROOT / place).is_file():
            continue
        try:
            plans = list(pipeline.read_runs(slug))
        except ValueError as error:
            yield str(error).replace(f"{pipeline.ROOT}/", "")
            continue
        for plan in plans:
            missing = [field for field in ("gpus", "memory_gb", "hours") if field not in (plan.get("resources") or {})]
            if missing:
                yield f"{place}: run {plan['name']!r} does not state its {', '.join(missing)}."
            if not plan.get("figure"):
                yield f"{place}: run {plan['name']!r} does not say what figure or table it feeds."
            yield from refused(place, slug, plan)


def refused(place: str, slug: str, plan: dict[str, Any]) -> Iterator[str]:
    """Which runs of a grid the preset of their notebook would refuse."""
    try:
        table = preset_of(slug, plan["notebook"])
    except LookupError as error:
        yield f"{place}: run {plan['name']!r} cannot be checked: {error.args[0]}"
        return
    grid = plan.get("grid") or {}
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        seed = chosen.pop("seed", 0)
        try:
            presets.resolve(table, "full", {**(plan.get("overrides") or {}), **chosen})
        except ValueError as error:
            yield f"{place}: run {plan['name']!r} would be refused: {error}"
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            yield f"{place}: run {plan['name']!r} has the seed {seed!r}; it must be a whole number, 0 or above."


def preset_of(slug: str, notebook: str) -> Any:
    """The table of presets that a notebook hands to ledger.start, from lib/tenpapers/<slug>/presets.py."""
    path = Path("chapters", slug, f"{notebook}.ipynb")
    starts = [call for cell in code_of(cells_of(path)) for call in calls(cell["source"], "ledger", "start")]
    if len(starts) != 1 or len(starts[0].args) != 3 or not isinstance(starts[0].args[2], ast.Name):
        raise LookupError(f"{path} does not call ledger.start(slug, notebook, TABLE, ...) once.")
    name = starts[0].args[2].id
    source = pipeline.ROOT / "lib" / "tenpapers" / slug / "presets.py"
    spec = importlib.util.spec_from_file_location(f"presets_of_{slug}", source) if source.is_file() else None
    if spec is None or spec.loader is None:
        raise LookupError(f"there is no lib/tenpapers/{slug}/presets.py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise LookupError(f"lib/tenpapers/{slug}/presets.py has no {name}.")
    return getattr(module, name)


def sound_reported_numbers() -> Iterator[str]:
    for path in files():
        if path.parent != Path("data/reported") or path.suffix != ".csv":
            continue
        with (pipeline.ROOT / path).open(encoding="utf-8", newline="") as text:
            rows = list(csv.reader(text))
        if not rows or rows[0] != REPORTED:
            yield f"{path} must have the columns {', '.join(REPORTED)}."
            continue
        for line, row in enumerate(rows[1:], 2):
            if len(row) != len(REPORTED):
                yield f"{path}, line {line} has {len(row)} entries; it must have {len(REPORTED)}."
            elif row[-1] not in ("verified", "recalled"):
                yield f"{path}, line {line} is marked {row[-1]!r}; it must be 'verified' or 'recalled'."


RULES: tuple[Callable[[], Iterator[str]], ...] = (
    no_large_files,
    no_unknown_addresses,
    sound_notebooks,
    same_skeleton,
    sound_claims,
    claims_and_checks_agree,
    numbers_come_from_runs,
    pages_and_chapters_agree,
    sound_runs,
    sound_reported_numbers,
)


def problems() -> list[str]:
    """Everything that is amiss, in sentences."""
    return [sentence for rule in RULES for sentence in rule()]


def main() -> int:
    found = problems()
    print("\n".join(found) if found else "The repository keeps its rules.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""The repository keeps its rules, and each rule notices a planted mistake."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import check_repository
import nbformat
import pipeline
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PRESETS = '''"""Presets."""

import dataclasses

from tenpapers import presets


@dataclasses.dataclass(frozen=True)
class Settings:
    n: int = presets.field(minimum=1)


EXPERIMENTS = {"smoke": Settings(2), "quick": Settings(3), "full": Settings(5)}
'''
INDEX = """# ReLU

```{claims} relu
```

```{expectations} relu
```

{value}`relu/derivation/x:.1f`
"""
PARAMETERS = 'scale = "quick"\nseed = 0\ndevice = "auto"\noverrides = {}'


def notebook(name: str, claim: str) -> nbformat.NotebookNode:
    """A notebook that keeps every rule."""
    start = (
        f'run = ledger.start("relu", "{name}", EXPERIMENTS, scale=scale, seed=seed, device=device, overrides=overrides)'
    )
    cells = [
        new_markdown_cell(f"# {name}"),
        new_code_cell('LIBRARY = "relu"', metadata={"tags": ["colab", "hide-cell"]}),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_code_cell(f"from tenpapers import ledger\n{start}"),
        new_markdown_cell(f"(relu-{claim.lower()})=\n## The claim\n\nIt is {{glue:text}}`x:.2f`."),
        new_code_cell(f'run.value("x", 1.0)\nrun.claim("{claim}", 1, expected=1, tolerance=0)'),
        new_code_cell('run.figure("headline", fig)', metadata={"mystnb": {"image": {"alt": "A curve."}}}),
        new_code_cell("run.finish()"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def claim(id: str, place: str) -> dict[str, Any]:
    words = {"statement": "One is one.", "source": "Eq. (1)", "kind": "identity", "checked_in": [place]}
    return {
        "id": id,
        **words,
        "scales": ["smoke", "quick", "full"],
        "expect": dict.fromkeys(("smoke", "quick", "full"), "1"),
    }


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small book that keeps every rule, with the checks looking at it."""
    chapter = tmp_path / "chapters" / "relu"
    library = tmp_path / "lib" / "tenpapers" / "relu"
    for folder in (chapter, library, tmp_path / "tests", tmp_path / "data/reported"):
        folder.mkdir(parents=True)
    for name, id in (("derivation", "C1"), ("experiments", "C2")):
        nbformat.write(notebook(name, id), chapter / f"{name}.ipynb")
    cost = {scale: {"minutes": 1, "memory_gb": 1, "device": "CPU"} for scale in ("smoke", "quick", "full")}
    claims = {
        "claims": [claim("C1", "derivation"), claim("C2", "experiments")],
        "notebooks": {"derivation": cost, "experiments": cost},
    }
    resources = {"gpus": 0, "memory_gb": 1, "hours": 1}
    grid = {"seed": [0, 1], "n": [4, 5]}
    runs = {"runs": [{"name": "all", "notebook": "experiments", "figure": "1", "grid": grid, "resources": resources}]}
    sections = [{"file": f"chapters/relu/{name}"} for name in ("derivation", "experiments")]
    part = {
        "caption": "What gradient descent learns",
        "chapters": [{"file": "chapters/relu/index", "sections": sections}],
    }
    toc = {
        "format": "jb-book",
        "root": "intro",
        "parts": [part, {"caption": "Evidence", "chapters": [{"file": "notation"}]}],
    }
    texts = {
        "chapters/relu/claims.yaml": yaml.safe_dump(claims),
        "chapters/relu/runs.yaml": yaml.safe_dump(runs),
        "chapters/relu/index.md": INDEX,
        "lib/tenpapers/relu/__init__.py": '"""ReLU."""\n',
        "lib/tenpapers/relu/presets.py": PRESETS,
        "tests/test_relu.py": "",
        "data/reported/relu.csv": "item,setting,metric,value,source,verified\nFig. 1,n=2,risk,1,Figure 1,verified\n",
        "intro.md": "# Book\n\n[A chapter](chapters/relu/index)\n\n```{result-figure} relu/experiments/headline\n```\n",
        "notation.md": "# Notation\n\n[](chapters/relu/index)\n",
        "_toc.yml": yaml.safe_dump(toc),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    return tmp_path


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a notebook or a YAML file in place."""
    text = path.read_text(encoding="utf-8")
    content = json.loads(text) if path.suffix == ".ipynb" else yaml.safe_load(text)
    change(content)
    path.write_text(json.dumps(content) if path.suffix == ".ipynb" else yaml.safe_dump(content), encoding="utf-8")


def derivation(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    """A mistake in the cells of the derivation."""
    return lambda book: edit(book / "chapters/relu/derivation.ipynb", lambda content: change(content["cells"]))


def claims(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda book: edit(book / "chapters/relu/claims.yaml", change)


def runs(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda book: edit(book / "chapters/relu/runs.yaml", lambda content: change(content["runs"][0]))


def toc(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda book: edit(book / "_toc.yml", lambda content: change(content["parts"]))


def text(name: str, old: str, new: str) -> Callable[[Path], object]:
    """A mistake in a text: `old` becomes `new`."""

    def plant(book: Path) -> None:
        before = (book / name).read_text(encoding="utf-8")
        assert old in before
        (book / name).write_text(before.replace(old, new, 1), encoding="utf-8")

    return plant


def source(position: int, words: str | list[str]) -> Callable[[Path], None]:
    return derivation(lambda cells: cells[position].update(source=words))


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a large file": (lambda book: (book / "big.bin").write_bytes(bytes(1_600_000)), "big.bin has 1.6 MB"),
    "an address": (
        lambda book: (book / "intro.md").write_text("# Book\n\nSee ht" + "tps://invented.example/book\n"),
        "intro.md names the address invented.example/book",
    ),
    "an address that looks allowed": (
        text("lib/tenpapers/relu/__init__.py", "ReLU.", "ht" + "tps://arxiv.org.invented.example"),
        "names the address arxiv.org.invented.example",
    ),
    "no notebook": (
        lambda book: (book / "chapters/relu/derivation.ipynb").write_text("{"),
        "derivation.ipynb is damaged",
    ),
    "another kernel": (
        lambda book: edit(book / "chapters/relu/derivation.ipynb", lambda nb: nb["metadata"].pop("kernelspec")),
        "no kernelspec python3",
    ),
    "a cell without an id": (derivation(lambda cells: cells[0].pop("id")), "cell 1 has no id"),
    "an output": (
        derivation(lambda cells: cells[2].update(outputs=[{"output_type": "stream", "name": "stdout", "text": "1"}])),
        "cell 3 holds outputs",
    ),
    "an execution count": (derivation(lambda cells: cells[2].update(execution_count=1)), "cell 3 holds outputs"),
    "a long cell": (source(6, "1\n" * 41), "cell 7 has 41 lines"),
    "an injected cell": (
        derivation(
            lambda cells: cells.insert(3, new_code_cell("seed = 3", metadata={"tags": ["injected-parameters"]}))
        ),
        "put there by papermill",
    ),
    "a figure without words": (derivation(lambda cells: cells[6].update(metadata={})), "without alternative text"),
    "no parameters": (derivation(lambda cells: cells[2].update(metadata={})), "0 cells tagged 'parameters'"),
    "other parameters": (source(2, "scale = 1"), "tagged 'parameters' differs from"),
    "another Colab cell": (source(1, "install"), "tagged 'colab' differs from"),
    "no end": (source(7, "pass"), "does not end with run.finish()"),
    "a damaged claims.yaml": (
        lambda book: (book / "chapters/relu/claims.yaml").write_text("claims: ["),
        "chapters/relu/claims.yaml is damaged",
    ),
    "an id twice": (claims(lambda all: all["claims"][1].update(id="C1")), "two claims with the id 'C1'"),
    "an unknown notebook": (
        claims(lambda all: all["claims"][0].update(checked_in=["proofs"])),
        "there is no proofs.ipynb",
    ),
    "no expectation": (
        claims(lambda all: all["claims"][0]["expect"].pop("full")),
        "C1 must hold at full and does not say",
    ),
    "no cost": (
        claims(lambda all: all["notebooks"]["derivation"]["quick"].pop("minutes")),
        "no minutes of derivation at quick",
    ),
    "an unchecked claim": (source(5, 'run.value("x", 1)'), 'never calls run.claim("C1", ...)'),
    "an unlabelled claim": (source(4, "## The claim\n\n{glue:text}`x:.2f`"), "has no label (relu-c1)="),
    "a check of nothing": (
        source(6, 'run.claim("C9", 1, holds=True)'),
        "checks the claim 'C9', which is not in claims.yaml",
    ),
    "a check in the wrong place": (
        source(6, 'run.claim("C2", 1, holds=True)'),
        "claims.yaml does not list derivation for it",
    ),
    "a computed id": (source(6, 'run.claim(f"C{1}", 1, holds=True)'), "computes the id of a claim"),
    "a number from nowhere": (source(4, "(relu-c1)=\n## The claim\n\n{glue:text}`y:.2f`"), "shows relu/derivation/y"),
    "a value from nowhere": (text("chapters/relu/index.md", "/x:.1f", "/z:.1f"), "shows relu/derivation/z"),
    "a picture from nowhere": (text("intro.md", "/headline", "/other"), "calls run.figure('other', ...)"),
    "an unknown part": (toc(lambda parts: parts[0].update(caption="What descent learns")), "_toc.yml has the part"),
    "a wrong part": (
        toc(lambda parts: parts[0].update(caption="Learning in games")),
        "lists chapters/relu/index under",
    ),
    "a missing section": (toc(lambda parts: parts[0]["chapters"][0]["sections"].pop()), "must list relu as"),
    "an unlisted chapter": (toc(lambda parts: parts.pop(0)), "chapters/relu is not listed"),
    "an unwritten page": (
        toc(lambda parts: parts[1]["chapters"].append({"file": "more"})),
        "lists more, and there is no",
    ),
    "an incomplete chapter": (lambda book: (book / "tests/test_relu.py").unlink(), "has no tests/test_relu.py"),
    "a page without claims": (text("chapters/relu/index.md", "{claims} relu", "{note}"), "does not show its {claims}"),
    "an introduction without it": (text("intro.md", "chapters/relu/index", "notation"), "intro.md does not lead to"),
    "a damaged runs.yaml": (
        lambda book: (book / "chapters/relu/runs.yaml").write_text("runs: 3"),
        "chapters/relu/runs.yaml is damaged",
    ),
    "an unknown field": (runs(lambda run: run["grid"].update(m=[1])), "overrides has the unknown field 'm'"),
    "a value out of range": (runs(lambda run: run["grid"].update(n=[0])), "n is 0; it must be at least 1"),
    "a wrong seed": (runs(lambda run: run["grid"].update(seed=[-1])), "has the seed -1"),
    "an unstated cost": (runs(lambda run: run["resources"].pop("hours")), "does not state its hours"),
    "a run for nothing": (runs(lambda run: run.pop("figure")), "does not say what figure"),
    "a missing column": (text("data/reported/relu.csv", ",verified\n", "\n"), "must have the columns"),
    "an unmarked number": (
        text("data/reported/relu.csv", "Figure 1,verified", "Figure 1,yes"),
        "line 2 is marked 'yes'",
    ),
    "a torn line": (text("data/reported/relu.csv", "risk,1,", "risk,"), "line 2 has 5 entries"),
}


def test_the_repository_keeps_its_rules() -> None:
    assert check_repository.problems() == []


def test_a_sound_book_has_no_problems(book: Path) -> None:
    assert check_repository.problems() == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_named(book: Path, mistake: str) -> None:
    plant, expected = MISTAKES[mistake]
    plant(book)
    found = check_repository.problems()
    assert any(expected in sentence for sentence in found), found


def test_every_rule_has_a_planted_mistake(book: Path) -> None:
    """No rule is without a test: each is what notices at least one of the mistakes above."""
    noticing = set()
    kept = {path: path.read_bytes() for path in book.rglob("*") if path.is_file()}
    for plant, expected in MISTAKES.values():
        plant(book)
        noticing |= {rule for rule in check_repository.RULES if any(expected in sentence for sentence in rule())}
        for path in [path for path in book.rglob("*") if path.is_file() and path not in kept]:
            path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)
    assert noticing == set(check_repository.RULES)


def test_the_book_may_name_its_own_address(book: Path) -> None:
    address = "ht" + "tps://git.example/someone/book"
    (book / "intro.md").write_text((book / "intro.md").read_text() + f"\n{address}/issues\n")
    assert any("names the address git.example/someone/book" in sentence for sentence in check_repository.problems())
    (book / "_config.yml").write_text(f"repository:\n  url: {address}\n")
    assert check_repository.problems() == []


def test_ignored_files_are_not_looked_at(book: Path) -> None:
    subprocess.run(["git", "init", "-q", str(book)], check=True)
    (book / ".gitignore").write_text("big.bin\n")
    (book / "big.bin").write_bytes(bytes(1_600_000))
    assert check_repository.problems() == []


def test_the_program_prints_what_is_amiss(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_repository.main() == 0
    (book / "tests/test_relu.py").unlink()
    assert check_repository.main() == 1
    assert "has no tests/test_relu.py" in capsys.readouterr().out

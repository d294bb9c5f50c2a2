"""The book's own directives, on small books with made-up results: what a reader sees for each kind of verdict."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

ROOT = Path(__file__).resolve().parent.parent
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000 1f15c489"
    "0000000d49444154789c63f8ffffff7f0009fb03fd05432c8c0000000049454e44ae426082".replace(" ", "")
)
CLAIMS = {
    "claims": [
        {
            "id": "C1",
            "statement": "Doubling $x$ gives $2x$.",
            "source": "Theorem 1",
            "kind": "identity",
            "checked_in": ["derivation"],
            "scales": ["smoke", "quick", "full"],
            "expect": {"smoke": "<= 1e-10", "quick": "<= 1e-10", "full": "<= 1e-8"},
        },
        {
            "id": "C2",
            "statement": "The exponent is one.",
            "source": "Figure 1",
            "kind": "exponent",
            "checked_in": ["experiments"],
            "scales": ["quick", "full"],
            "expect": {"smoke": "about 1", "quick": "1 within 0.05", "full": "1 within 0.02"},
            "paper": {"value": "1.07", "status": "recalled"},
        },
    ],
    "notebooks": {
        "derivation": {"quick": {"minutes": 0.5, "memory_gb": 1, "device": "2 CPU cores"}},
        "experiments": {"full": {"minutes": 300, "memory_gb": 40, "device": "1 GPU"}},
    },
}
RUNS = {
    "runs": [
        {
            "name": "large",
            "notebook": "experiments",
            "figure": "Figure 1",
            "grid": {"seed": [0, 1, 2]},
            "resources": {"gpus": 2, "memory_gb": 32, "hours": 4},
        }
    ]
}
PAGES = {
    "index": "# The book\n\n```{toctree}\nplain\nscoreboard\nfull\nchapters/relu/index\n```\n",
    "plain": "# A page without results\n\nWords.\n",
    "scoreboard": "# Scoreboard\n\n```{scoreboard}\n```\n",
    "full": "# Full scale\n\n```{full-runs}\n```\n",
    "chapters/relu/index": "# ReLU networks\n\n```{claims} relu\n```\n\n```{expectations} relu\n```\n",
    "chapters/relu/notes": ":::{note}\n:::\n\n(relu-c1)=\n# Where C1 is checked\n\n(relu-c2)=\n## Where C2 is\n",
}


def check(id: str, holds: bool, measured: float | bool, spread: float | None = None, note: str = "") -> dict[str, Any]:
    given = {"id": id, "holds": holds, "measured": measured, "spread": spread, "note": note}
    return given | {"expected": "≤ 1e-10", "notebook": "experiments"}


def leave(
    root: Path,
    scale: str,
    notebook: str,
    checks: list[dict[str, Any]],
    values: dict[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Leave a finished run's folder, as the ledger does; at full scale in the archive."""
    name = notebook if seed == 0 else f"{notebook}-seed{seed}"
    folder = root / "data/results/relu" / name if scale == "full" else root / f"_build/results/relu/{scale}/{name}"
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    (folder / "figures" / "headline.png").write_bytes(PIXEL)
    provenance = {
        "chapter": "relu",
        "notebook": notebook,
        "run": name,
        "parameters": {"scale": scale, "seed": seed, "device": "auto", "overrides": {}},
        "key": {"digest": "0", "components": {}},
        "wall_seconds": 42.0,
        "peak_memory_gb": 0.8,
        "hardware": "a machine",
    }
    for file, content in (("provenance", provenance), ("verdicts", checks), ("values", values or {})):
        (folder / f"{file}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A book of one chapter without results."""
    for name, text in PAGES.items():
        path = tmp_path / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (tmp_path / "chapters/relu/claims.yaml").write_text(yaml.safe_dump(CLAIMS))
    (tmp_path / "chapters/relu/runs.yaml").write_text(yaml.safe_dump(RUNS))
    return tmp_path


class Built:
    """A rendered book: its pages as text, and what Sphinx warned of."""

    def __init__(self, source: Path, out: Path, **settings: Any) -> None:
        self.out, warnings = out, io.StringIO()
        extensions = ["myst_parser", "sphinx_thebe", "book_extension"]
        given = {"extensions": extensions, "myst_enable_extensions": ["dollarmath"], "exclude_patterns": ["_build"]}
        with patch_docutils(), docutils_namespace():
            app = Sphinx(
                source, None, out, out / ".doctrees", "html", given | settings, io.StringIO(), warnings, verbosity=0
            )
            app.build()
        self.warnings = "\n".join(line for line in warnings.getvalue().splitlines() if "toctree" not in line)

    def html(self, page: str) -> str:
        return (self.out / f"{page}.html").read_text(encoding="utf-8")

    def text(self, page: str) -> str:
        """A page's words, tags and line breaks taken out."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.html(page).split("<body", 1)[1])).split())


def build(root: Path, **settings: Any) -> Built:
    return Built(root, root / "_build" / "html", **settings)


def page(root: Path, text: str) -> None:
    (root / "plain.md").write_text(f"# A page\n\n{text}\n", encoding="utf-8")


def test_without_results_everything_is_said_to_be_not_run(root: Path) -> None:
    page(root, "{value}`relu/experiments/x:.2f`\n\n```{result-figure} relu/experiments/headline\n:alt: A curve.\n```")
    book = build(root)
    assert book.warnings == ""
    assert "smoke: not run quick: not run full: not run" in book.text("chapters/relu/index")
    assert "smoke: not run; quick: not run; full (archived): not run." in book.text("scoreboard")
    assert "not run" in book.text("plain")
    assert "Not run yet: this picture is drawn by relu/experiments" in book.text("plain")
    assert "<img" not in book.html("plain")


def test_verdicts_are_words_with_what_was_measured(root: Path) -> None:
    leave(root, "smoke", "experiments", [check("C2", False, 0.7, 0.2)])
    leave(root, "quick", "derivation", [check("C1", True, 3.25e-13, note="worst of 40")])
    leave(root, "quick", "experiments", [check("C2", False, 0.871, 0.012, "exponent in M"), check("C2", True, 1.01)])
    book = build(root)
    assert book.warnings == ""
    text = book.text("chapters/relu/index")
    assert "C1 . Doubling" in text
    assert "worst of 40: 3.25e-13" in text
    assert "≤ 1e-10" in text
    assert "exponent in M: 0.871 ± 0.012" in text
    assert "smoke: not required quick: ✗ fails full: not run" in text
    assert "1.07 (recalled, not verified)" in text
    assert 'class="book-verdict fails"' in book.html("chapters/relu/index")
    score = book.text("scoreboard")
    assert "ReLU networks" in score
    assert "smoke: not run; quick: 1 of 2 hold, 1 fails; full (archived): not run." in score
    assert "not required ✗ fails exponent in M: 0.871 ± 0.012 and 1 more check" in score


def test_archived_runs_are_the_full_scale(root: Path) -> None:
    leave(root, "full", "experiments", [check("C2", True, 1.01, 0.004)])
    book = build(root)
    assert "full (archived): 1 of 2 hold, 1 not run." in book.text("scoreboard")
    assert "smoke: not run quick: not run full: ✓ holds 1 within 0.02 1.01 ± 0.004 at full scale 1.07" in book.text(
        "chapters/relu/index"
    )


def test_of_many_checks_the_failing_ones_come_first(root: Path) -> None:
    many = [check("C1", True, 0.1, note=f"case {k}") for k in range(9)]
    leave(root, "quick", "derivation", many)
    book = build(root)
    assert "case 2: 0.1 and 6 more checks" in book.text("chapters/relu/index")
    assert "✓ holds case 0: 0.1 and 8 more checks" in book.text("scoreboard")
    leave(root, "quick", "derivation", [*many, check("C1", False, 7.5, note="the tenth")])
    assert "✗ fails the tenth: 7.5 and 9 more checks" in build(root).text("scoreboard")


def test_claims_lead_to_their_checks(root: Path) -> None:
    book = build(root)
    assert 'href="notes.html#relu-c1"' in book.html("chapters/relu/index")
    assert 'href="chapters/relu/notes.html#relu-c2"' in book.html("scoreboard")
    (root / "chapters/relu/notes.md").write_text("(relu-c1)=\n# Only C1\n")
    shutil.rmtree(book.out)
    assert "relu-c2" in build(root).warnings


def test_expectations_stand_beside_what_happened(root: Path) -> None:
    leave(root, "quick", "derivation", [])
    text = build(root).text("chapters/relu/index")
    assert "30 s, 1 GB, 2 CPU cores here: 42 s, 0.8 GB, a machine" in text
    assert "5 h, 40 GB, 1 GPU" in text
    assert "smoke: about 1 (need not hold) quick: 1 within 0.05 full: 1 within 0.02" in text


def test_costs_of_full_runs(root: Path) -> None:
    assert "3 runs, each 4 h, 2 GPU, 32 GB 24 GPU-hours in all not yet" in build(root).text("full")
    leave(root, "full", "experiments", [], seed=1)
    text = build(root).text("full")
    assert "make full CHAPTER=relu RUN=large" in text
    assert "1 of 3" in text


def test_numbers_come_from_the_quick_run(root: Path) -> None:
    page(root, "It is {value}`relu/experiments/x:.2f`.")
    leave(root, "smoke", "experiments", [], {"x": 2.0})
    assert "It is 2.00 (smoke run)." in build(root).text("plain")
    leave(root, "quick", "experiments", [], {"x": 1.23456})
    assert "It is 1.23." in build(root).text("plain")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("{value}`relu/experiments/y:.2f`", "relu/experiments has no value 'y'; did you mean 'yes'? Valid: x, yes."),
        ("{value}`relu/experiments/x:q`", "format code 'q'"),
        ("{value}`relu/x`", "must read <chapter>/<notebook>/<name>"),
        ("```{result-figure} relu/experiments/headline\n```", "give :alt:"),
        ("```{result-figure} headline\n:alt: A curve.\n```", "must read <chapter>/<notebook>/<name>"),
        (
            "```{result-figure} relu/experiments/headline\n:alt: A curve.\n:link: nowhere\n```",
            "links to 'nowhere', which is no page of the book",
        ),
        ("```{claims} rellu\n```", "There is no chapter 'rellu' here; did you mean 'relu'? Valid: relu."),
    ],
)
def test_a_mistake_on_a_page_is_a_warning_that_names_it(root: Path, words: str, expected: str) -> None:
    leave(root, "quick", "experiments", [], {"x": 1.0, "yes": 2.0})
    page(root, words)
    assert expected in build(root).warnings


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chapters/relu/claims.yaml", "claims.yaml is damaged"),
        ("chapters/relu/runs.yaml", "runs.yaml is damaged"),
        ("_build/results/relu/quick/experiments/verdicts.json", "verdicts.json is damaged"),
    ],
)
def test_a_damaged_file_is_named(root: Path, name: str, expected: str) -> None:
    leave(root, "quick", "experiments", [])
    (root / name).write_text("{[")
    assert expected in build(root).warnings


def test_pictures_are_copied_with_their_words_and_lead_to_their_page(root: Path) -> None:
    leave(root, "quick", "experiments", [])
    options = ":alt: A falling curve.\n:link: chapters/relu/index"
    page(root, f"```{{result-figure}} relu/experiments/headline\n{options}\n\nIt *falls*.\n```")
    book = build(root)
    assert book.warnings == ""
    assert 'alt="A falling curve."' in book.html("plain")
    assert re.search(r'<a [^>]*href="chapters/relu/index.html"[^>]*><img', book.html("plain"))
    assert "It falls ." in book.text("plain")
    assert (book.out / "_images/headline.png").read_bytes() == PIXEL


def test_new_results_rebuild_the_pages_that_show_them_and_no_others(root: Path) -> None:
    leave(root, "quick", "experiments", [check("C2", True, 1.0)])
    build(root)
    assert rebuilt(root, lambda: None) == set()
    changed = rebuilt(root, lambda: leave(root, "quick", "experiments", [check("C2", False, 9.0)]))
    assert changed == {"scoreboard", "full", "chapters/relu/index", "index"}  # the last lists the others
    assert "✗ fails" in (root / "_build/html/scoreboard.html").read_text()


def rebuilt(root: Path, change: Callable[[], object]) -> set[str]:
    """Pages that a build writes again after a change."""
    pages = {page: root / f"_build/html/{page}.html" for page in PAGES}
    before = {page: path.stat().st_mtime_ns for page, path in pages.items()}
    change()
    build(root)
    return {page for page, path in pages.items() if path.stat().st_mtime_ns != before[page]}


def test_the_assembled_copy_shows_the_results_of_the_checkout(root: Path) -> None:
    leave(root, "quick", "derivation", [check("C1", True, 0.5)])
    copy = root / "_build" / "book"
    for name in (*(f"{page}.md" for page in PAGES), "_toc.yml"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, copy / name)
    assert "✓ holds" in Built(copy, root / "_build" / "html").text("scoreboard")


def test_a_root_can_be_given(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    leave(root, "quick", "derivation", [check("C1", True, 0.5)])
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "index.md").write_text("# Book\n\n{value}`relu/derivation/x`\n\n```{full-runs}\n```\n")
    book = Built(elsewhere, elsewhere / "_build", book_root=str(root))
    assert "relu: large" in book.text("index")


# The book's own settings, with Jupyter Book as a user would call it


def plain_book(folder: Path, url: str = "") -> Path:
    """A small book with this book's own settings and a notebook to execute."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["repository"]["url"] = url
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    (folder / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters: [{file: experiments}]\n")
    (folder / "intro.md").write_text(
        "# A book\n\n$x$ and {cite}`one`\n\n```{scoreboard}\n```\n\n```{bibliography}\n```\n"
    )
    (folder / "README.md").write_text("# Not a page\n")
    (folder / "references.bib").write_text("@misc{one, author={One, A.}, title={One}, year={2024}}\n")
    for name in ("tools/book_extension.py", "_static/book.css"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    theorem = ":::{prf:theorem} One\n:label: thm-one\nOne.\n:::\n\n{prf:ref}`thm-one`\n\n:::{exercise}\nTwo?\n:::"
    cells = [new_markdown_cell(f"# Experiments\n\n{theorem}"), new_code_cell("print(6 * 7)")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "experiments.ipynb")
    return folder


def jupyter_book(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from jupyter_book.cli.main import main; main()"
    words = ["build", ".", "-W", "--keep-going"]
    own = {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter"))}
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_plain_jupyter_book_executes_and_renders(tmp_path: Path) -> None:
    folder = tmp_path / "a book"
    folder.mkdir()
    ended = jupyter_book(plain_book(folder))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    html = folder / "_build/html"
    page = (html / "experiments.html").read_text()
    assert "<span></span>42" in page
    assert "Theorem 1" in page
    assert "Exercise 1" in page
    assert not (html / "README.html").exists()
    for path in html.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r'(?:src|href)="(?:https?:)?//', text), path
        assert "colab" not in text.lower(), path
        assert "binder" not in text.lower(), path
    assert (html / "_static/mathjax/tex-chtml.js").is_file()


def test_the_address_of_the_repository_turns_the_launch_buttons_on(tmp_path: Path) -> None:
    ended = jupyter_book(plain_book(tmp_path, url="ht" + "tps://github.com/someone/book"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    page = (tmp_path / "_build/html/experiments.html").read_text()
    assert "colab.research.google.com/github/someone/book/blob/main/experiments.ipynb" in page
    assert "colab.research.google.com" not in (tmp_path / "_build/html/intro.html").read_text()

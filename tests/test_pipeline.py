"""The pipeline on a miniature book: what runs again and why, failures, adoption, kills, and refused requests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import miniature
import nbformat
import pytest

WHAT_RUNS = """
import json, sys
from collections.abc import Callable
from pathlib import Path
sys.path.insert(0, "tools")
import pipeline
def waiting():
    return {job.slug: job.why() for job in pipeline.book_jobs() if not job.settle()}
found = {"nothing": waiting()}
for name in sys.argv[1:]:
    path = Path(name)
    before = path.read_bytes()
    end = b"" if path.suffix == ".ipynb" else b"\\n"
    path.write_bytes(before + b" " + end)
    found[name] = waiting()
    path.write_bytes(before)
found["all put back"] = waiting()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature book that was built, in a folder with a space in its name."""
    root = miniature.make_book(tmp_path_factory.mktemp("pipeline") / "a book")
    ended = miniature.snakemake(root)
    assert ended.returncode == 0, ended.stderr
    assert "alpha/experiments at quick: executing, because it was never run" in ended.stderr
    return root


@pytest.fixture
def book(built: Path, tmp_path: Path) -> Path:
    """A copy of the built book that a test may change."""
    return shutil.copytree(built, tmp_path / "a copy")


DONE = {slug: f"_build/done/quick/{slug}/experiments" for slug in ("alpha", "beta")}  # to execute without rendering


def executed(ended: subprocess.CompletedProcess[str]) -> set[str]:
    """The chapters that a call executed."""
    return {line.split("/")[0] for line in ended.stderr.splitlines() if "at quick: executing, because" in line}


def replace(path: Path, old: str, new: str) -> None:
    """Change a file's text, which must hold `old`."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def values(root: Path, slug: str) -> str:
    """A chapter's table as it stands."""
    return (root / f"_build/results/{slug}/quick/experiments/tables/values.csv").read_text()


def test_a_second_run_does_nothing(built: Path) -> None:
    page = built / "_build/html/chapters/alpha/experiments.html"
    before = page.stat().st_mtime_ns
    ended = miniature.snakemake(built)
    assert ended.returncode == 0
    assert "Nothing to be done" in ended.stderr
    assert page.stat().st_mtime_ns == before
    assert "sum" in page.read_text()


def test_results_and_executed_notebook_hold_the_key(built: Path) -> None:
    folder = built / "_build/results/alpha/quick/experiments"
    key = json.loads((folder / "provenance.json").read_text())["key"]["digest"]
    assert nbformat.read(folder / "notebook.ipynb", as_version=4).metadata["tenpapers"]["key"] == key


def test_what_runs_again(book: Path) -> None:
    """The key alone decides: which chapters wait after a change of one file, and which file they name."""
    users = {
        "lib/tenpapers/alpha/__init__.py": {"alpha"},
        "lib/tenpapers/beta/__init__.py": {"beta"},
        "lib/tenpapers/common.py": {"alpha"},
        "lib/tenpapers/presets.py": {"alpha", "beta"},
        "data/reported/alpha.csv": {"alpha"},
        "requirements.lock": {"alpha", "beta"},
        "intro.md": set(),
        "chapters/alpha/index.md": set(),
        "chapters/alpha/claims.yaml": set(),
        "chapters/alpha/runs.yaml": set(),
        "tools/execute.py": set(),
        "_config.yml": set(),
    }
    ended = subprocess.run(
        [sys.executable, "-c", WHAT_RUNS, *users],
        cwd=book,
        env=miniature.environment(book),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ended.stdout)
    assert found.pop("nothing") == {}
    assert found.pop("all put back") == {}
    assert {name: set(waiting) for name, waiting in found.items()} == users
    for name, waiting in found.items():
        assert all(why == f"changed since it last ran: {name}" for why in waiting.values())


def test_a_changed_module_executes_its_chapter_and_says_so(book: Path) -> None:
    replace(book / "lib/tenpapers/beta/__init__.py", "return 2 * x", "return x + x")
    ended = miniature.snakemake(book)
    assert ended.returncode == 0
    assert executed(ended) == {"beta"}
    assert "because changed since it last ran: lib/tenpapers/beta/__init__.py" in ended.stderr
    assert "Nothing to be done" in miniature.snakemake(book).stderr


def test_changed_text_executes_nothing_and_is_shown(book: Path) -> None:
    replace(book / "chapters/alpha/index.md", "A page.", "A page with other words.")
    notebook = nbformat.read(book / "chapters/beta/experiments.ipynb", as_version=4)
    notebook.cells[0].source += "\n\nMore about it."
    nbformat.write(notebook, book / "chapters/beta/experiments.ipynb")
    ended = miniature.snakemake(book)
    assert ended.returncode == 0
    assert executed(ended) == set()
    assert "A page with other words." in (book / "_build/html/chapters/alpha/index.html").read_text()
    page = (book / "_build/html/chapters/beta/experiments.html").read_text()
    assert "More about it." in page
    assert "C1" in page, "the outputs stay"


def test_a_failing_notebook_harms_nothing_else(book: Path) -> None:
    before = values(book, "alpha")
    replace(book / "lib/tenpapers/alpha/__init__.py", "return common.twice(x)", "raise ArithmeticError('no sum today')")
    replace(book / "lib/tenpapers/beta/__init__.py", "return 2 * x", "return x + x")
    ended = miniature.snakemake(book)
    assert ended.returncode != 0
    assert executed(ended) == {"alpha", "beta"}
    assert "beta/experiments at quick: done" in ended.stderr
    (sentence,) = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert "chapters/alpha/experiments.ipynb failed at the quick scale in cell 5" in sentence
    assert "no sum today" in sentence
    copy = book / "_build/failed/quick/alpha/experiments.ipynb"
    assert str(copy.relative_to(book)) in sentence
    assert "ArithmeticError" in copy.read_text()
    assert values(book, "alpha") == before


def test_a_failing_claim_is_rendered_and_reported(book: Path) -> None:
    """`make book` itself: exit status, the report, and the book with the failing claim in it."""
    shutil.copyfile(miniature.ROOT / "Makefile", book / "Makefile")
    for name in ("requirements.txt", "lib/pyproject.toml"):
        shutil.copyfile(miniature.ROOT / name, book / name)
    python = book / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (book / ".venv/installed").touch()

    def make() -> subprocess.CompletedProcess[str]:
        env = miniature.environment(book)
        return subprocess.run(["make", "book"], cwd=book, env=env, capture_output=True, text=True, check=False)

    good = make()
    assert good.returncode == 0, good.stderr
    assert "alpha: 1 of 1 claims hold at quick." in good.stdout
    assert "Open the book: _build/html/index.html" in good.stdout
    replace(book / "lib/tenpapers/common.py", "return 2 * x", "return 2 * x + 1")
    bad = make()
    assert bad.returncode != 0
    assert "alpha: 0 of 1 claims hold at quick." in bad.stdout
    assert "C1 fails: Doubling doubles." in bad.stdout
    assert "beta: 1 of 1 claims hold at quick." in bad.stdout
    assert "C1 does not hold" in (book / "_build/html/chapters/alpha/experiments.html").read_text()


def test_a_result_from_elsewhere_counts(book: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "from a cluster"
    shutil.move(book / "_build/results/alpha/quick/experiments", elsewhere)
    words = [sys.executable, "-m", "tenpapers.ledger", "adopt", str(elsewhere)]
    env = miniature.environment(book)
    subprocess.run(words, cwd=book, env=env, check=True, capture_output=True)
    (book / DONE["alpha"]).unlink()
    ended = miniature.snakemake(book, *DONE.values())
    assert ended.returncode == 0
    assert executed(ended) == set()


def test_a_lost_result_is_made_again(book: Path) -> None:
    before = values(book, "alpha")
    shutil.rmtree(book / "_build/results/alpha")
    assert executed(miniature.snakemake(book, *DONE.values())) == {"alpha"}
    assert values(book, "alpha") == before


def test_plain_papermill_runs_a_notebook(book: Path) -> None:
    """As someone does who knows papermill, from the book's folder: the same results, under the same key."""
    before = values(book, "beta")
    shutil.rmtree(book / "_build/results/beta")
    words = ["-m", "papermill", "chapters/beta/experiments.ipynb", "out.ipynb", "-p", "scale", "quick"]
    env = miniature.environment(book)
    ended = subprocess.run([sys.executable, *words], cwd=book, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert values(book, "beta") == before
    again = miniature.snakemake(book, DONE["beta"])
    assert "executing, because its executed notebook is missing" in again.stderr
    assert values(book, "beta") == before


def test_a_foreign_kernel_does_not_win(book: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    shutil.rmtree(book / "_build/results/beta")
    foreign = str(tmp_path / "jupyter")
    ended = miniature.snakemake(
        book, DONE["beta"], JUPYTER_PATH=foreign, JUPYTER_DATA_DIR=foreign, JUPYTER_PREFER_ENV_PATH="0"
    )
    assert ended.returncode == 0, ended.stderr
    assert executed(ended) == {"beta"}


def test_killed_and_started_again(book: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of a notebook; the next call goes on from the finished pieces to the same book."""
    for slug in ("alpha", "beta"):
        replace(book / f"lib/tenpapers/{slug}/__init__.py", "Settings(3, 0.0)", "Settings(6, 0.5)")
    log = tmp_path / "pieces.log"
    env = miniature.environment(book, PIECES_LOG=str(log))
    with (tmp_path / "killed.log").open("w") as output:
        words = [sys.executable, "-m", "snakemake", *DONE.values()]
        process = subprocess.Popen(words, cwd=book, env=env, stderr=output)
        wait_for(lambda: log.is_file() and len(log.read_text().splitlines()) >= 4)
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_for(lambda: not working_in(book))
    begun = len(log.read_text().splitlines())
    assert begun < 12, "the kill came in the middle"
    again = miniature.snakemake(book, *DONE.values(), PIECES_LOG=str(log))
    assert again.returncode == 0, again.stderr
    pieces = log.read_text().splitlines()
    assert len(pieces) <= 12 + 2, "each notebook computes at most the one piece again that was under way"
    for slug in ("alpha", "beta"):
        place = book / f"_build/results/{slug}/quick/experiments/provenance.json"
        assert json.loads(place.read_text())["resumed_pieces"] > 0
    broken = {slug: values(book, slug) for slug in ("alpha", "beta")}
    shutil.rmtree(book / "_build/results")
    whole = miniature.snakemake(book, *DONE.values())
    assert whole.returncode == 0
    assert {slug: values(book, slug) for slug in ("alpha", "beta")} == broken


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until something is so; an error when it takes too long."""
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError("what the test waits for did not happen")


def working_in(root: Path) -> list[int]:
    """Processes whose working folder is in the book."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(root):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_two_at_once_are_refused(book: Path) -> None:
    import fcntl

    with (book / "_build/locks/book").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        ended = miniature.snakemake(book)
    assert ended.returncode != 0
    assert "Another process is building here; wait until it has ended, or end it." in ended.stderr


def test_the_grid_of_a_chapter(book: Path) -> None:
    words = ["full", "--config", "chapter=alpha", "run=grid", "scale=smoke"]
    ended = miniature.snakemake(book, *words)
    assert ended.returncode == 0, ended.stderr
    assert "alpha/experiments-seed1 at smoke: executing" in ended.stderr
    tables = [
        book / f"_build/results/alpha/smoke/{run}/tables/values.csv" for run in ("experiments", "experiments-seed1")
    ]
    assert len({table.read_text() for table in tables}) == 2, "another seed, other numbers"
    again = miniature.snakemake(book, *words)
    assert "Nothing to be done" in again.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["chapter=alpa"], "There is no chapter 'alpa'; did you mean 'alpha'? Valid: alpha, beta."),
        (["chapter=alpha", "run=grit"], "alpha has no run named 'grit'; did you mean 'grid'? Valid: grid."),
        (["chapter=alpha", "scale=fulll"], "scale is 'fulll'; did you mean 'full'? Valid: smoke, quick, full."),
        (["run=grid"], "Name the chapter: make full CHAPTER=<chapter>, or snakemake full --config chapter=<chapter>."),
    ],
)
def test_requests_that_are_refused(built: Path, words: list[str], sentence: str) -> None:
    ended = miniature.snakemake(built, "full", "--config", *words)
    assert ended.returncode != 0
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


RUNS = "runs:\n- {name: grid, notebook: experiments, grid: {seed: [0]}%s}\n"
DAMAGED = [
    ("chapters/alpha/claims.yaml", "claims: [", "chapters/alpha/claims.yaml is damaged: it is not valid YAML"),
    ("chapters/alpha/claims.yaml", "claims: {}", "chapters/alpha/claims.yaml is damaged: it must hold a list"),
    ("_toc.yml", "root: [", "_toc.yml is damaged"),
    ("_toc.yml", "root: intr", "_toc.yml lists intr, and there is no intr.md or intr.ipynb."),
    ("chapters/alpha/experiments.ipynb", "{", "chapters/alpha/experiments.ipynb is damaged"),
    ("_build/results/alpha/quick/experiments/provenance.json", "{", "experiments/provenance.json is damaged"),
    ("_build/results/alpha/quick/experiments/verdicts.json", "", "experiments/verdicts.json is damaged"),
]
DAMAGED_RUNS = [
    ("runs: [", "runs.yaml is damaged: it is not valid YAML"),
    ("runs: 3", "runs.yaml is damaged: it must hold a list named 'runs'."),
    ("runs: [{}]", "runs.yaml is damaged: run 1 has no name."),
    (RUNS % ", graid: {}", "run 'grid' has the unknown field 'graid'; did you mean 'grid'?"),
    (RUNS % ", resources: {gpu: 1}", "run 'grid' asks for 'gpu'; did you mean 'gpus'?"),
    (RUNS % ", resources: {gpus: -1}", "run 'grid' asks for gpus -1; it must be a number, 0 or above."),
    (RUNS % ", resources: 4", "run 'grid' has resources 4; it must map names to values."),
    (RUNS.replace("[0]", "0") % "", "run 'grid' has seed 0 in its grid; it must be a list of values."),
    (RUNS.replace("experiments", "experimnts") % "", "has the notebook 'experimnts'; did you mean 'experiments'?"),
    (RUNS % "" + "- {name: grid, notebook: experiments}\n", "two runs named 'grid'; every name must be its own."),
]


@pytest.mark.parametrize(("name", "text", "sentence"), DAMAGED)
def test_a_damaged_file_is_named_before_anything_runs(book: Path, name: str, text: str, sentence: str) -> None:
    replace(book / "lib/tenpapers/beta/__init__.py", "return 2 * x", "return x + x")
    (book / name).write_text(text)
    ended = miniature.snakemake(book)
    assert ended.returncode != 0
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert executed(ended) == set()


@pytest.mark.parametrize(("text", "sentence"), DAMAGED_RUNS)
def test_a_damaged_list_of_runs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    import pipeline

    (tmp_path / "chapters/alpha").mkdir(parents=True)
    (tmp_path / "chapters/alpha/experiments.ipynb").touch()
    (tmp_path / "chapters/alpha/runs.yaml").write_text(text)
    monkeypatch.setattr(pipeline, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"runs\.yaml") as error:
        list(pipeline.read_runs("alpha"))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_build_folder_that_cannot_be_written(tmp_path: Path) -> None:
    root = miniature.make_book(tmp_path / "a book")
    (root / "_build").write_text("in the way")
    ended = miniature.snakemake(root)
    assert ended.returncode != 0
    assert "cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr

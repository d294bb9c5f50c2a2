"""The Colab cell without Colab: a new environment without the library, a stand-in google.colab, a file:// address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import colab
import miniature
import nbformat
import pipeline
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ABSENT = "jaxtyping"  # a requirement of the library that the new environment lacks, as Colab may


def test_every_notebook_has_the_cell_of_today() -> None:
    differing = [path.relative_to(colab.ROOT) for path in colab.notebooks() if not colab.stamp(path, check=True)]
    assert not differing, "run python tools/colab.py"


def test_elsewhere_the_cell_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    names: dict[str, object] = {}
    exec(colab.cell("scaling"), names)
    assert set(names) == {"__builtins__", "sys"}


def test_without_an_address_the_cell_says_how_to_set_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    (tmp_path / "_config.yml").write_text("repository: {url: ''}\n")
    with pytest.raises(RuntimeError, match=r"set repository\.url in _config\.yml, run tools/colab\.py"):
        exec(colab.cell("scaling"), {})


def test_the_address_of_the_one_setting_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cell comes second, the other cells stay as they are, and a second stamping changes nothing."""
    monkeypatch.setattr(colab, "ROOT", tmp_path)
    path = tmp_path / "chapters/relu/experiments.ipynb"
    path.parent.mkdir(parents=True)
    notebook = new_notebook(cells=[new_markdown_cell("# Title", id="a"), new_code_cell("1 + 1", id="b")])
    nbformat.write(notebook, path)
    for url in ("file:///somewhere", "file:///elsewhere"):
        (tmp_path / "_config.yml").write_text(yaml.safe_dump({"repository": {"url": url, "branch": "trunk"}}))
        assert not colab.stamp(path, check=True)
        colab.stamp(path, check=False)
        assert colab.stamp(path, check=True)
        cells = nbformat.read(path, as_version=4).cells
        assert [cell.source for cell in (cells[0], cells[2])] == ["# Title", "1 + 1"]
        assert f'repository, branch = "{url}", "trunk"' in cells[1].source
        assert cells[1].source.endswith('os.chdir(f"{book}/chapters/relu")')
        assert len(cells) == 3


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A Python with everything that this one has, as it would be on Colab: without the library and one requirement."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "bare")], check=True)
    python = tmp_path / "bare/bin/python"
    words = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())
    farm = tmp_path / "installed"  # links outside the environment: pip would never remove what they lead to
    farm.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        name = entry.name.lower()
        if (
            not name.startswith(("tenpapers", "__editable__", "pip", "_distutils", ABSENT, "google"))
            and entry.suffix != ".pth"
        ):
            (farm / entry.name).symlink_to(entry)
    (own / "google/colab").mkdir(parents=True)
    (own / "google/colab/__init__.py").write_text("")
    (own / "on_colab.pth").write_text(f"{farm}\nimport google.colab\n")
    return python


def test_a_notebook_installs_the_library_and_runs(bare: Path, tmp_path: Path) -> None:
    source = miniature.copy_book(tmp_path / "repository")
    config = yaml.safe_load((source / "_config.yml").read_text())
    config["repository"] = {"url": f"file://{source}", "branch": "main"}
    (source / "_config.yml").write_text(yaml.safe_dump(config))
    subprocess.run([sys.executable, "tools/colab.py"], cwd=source, check=True, capture_output=True)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "init.defaultBranch=main"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *words], cwd=source, check=True, capture_output=True)

    content = tmp_path / "content"  # where Colab opens a notebook, far from the book
    content.mkdir()
    page = next(page for page in pipeline.pages() if page.endswith("/experiments"))
    (content / "notebook.ipynb").write_bytes((source / f"{page}.ipynb").read_bytes())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "JUPYTER"))}
    env = inherited | {"HOME": str(tmp_path / "home"), "JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": "1"}
    (tmp_path / "home").mkdir()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(bare), *words], cwd=content, env=env, capture_output=True, text=True, check=False)

    facts = "import sys, torch, numpy; print('google.colab' in sys.modules, torch.__version__, numpy.__version__)"
    before = run("-c", facts).stdout
    assert before.startswith("True"), run("-c", facts).stderr
    assert run("-c", "import tenpapers").returncode != 0
    assert run("-c", f"import {ABSENT}").returncode != 0
    ended = run("-m", "papermill", "notebook.ipynb", "out.ipynb", "-p", "scale", "smoke", "--no-progress-bar")
    assert ended.returncode == 0, ended.stderr[-3000:]
    where = run("-c", f"import tenpapers, {ABSENT}; print(tenpapers.__file__)").stdout
    assert where.startswith(str(bare.parents[1])), where
    assert run("-c", facts).stdout == before, "torch and numpy stay as they were"
    slug, name = Path(page).parts[1:]
    record = tmp_path / f"home/ten-papers/_build/results/{slug}/smoke/{name}/provenance.json"
    assert json.loads(record.read_text())["parameters"]["scale"] == "smoke"

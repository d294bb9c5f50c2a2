"""Every notebook at the smoke scale: its parameters are injected by papermill, and nbval runs every cell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pipeline
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

pytestmark = pytest.mark.xdist_group("smoke")  # one at a time with the other tests that make smoke results
PAGES = [page for page in pipeline.pages() if (pipeline.ROOT / f"{page}.ipynb").is_file()]


def validated(notebook: Path) -> str:
    """Run a notebook's cells where it lies; gives what went wrong, empty when nothing did."""
    words = ["-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "--no-header"]
    words += ["-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={notebook.parent}", str(notebook)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    env.pop("PYTEST_ADDOPTS", None)
    ended = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else re.sub(r"\x1b\[[\d;]*m", "", ended.stdout + ended.stderr)


def test_workers_keep_the_group_together(request: pytest.FixtureRequest) -> None:
    """pytest-xdist divides by node ids; without the group's name in them two workers would make one result at once."""
    assert "PYTEST_XDIST_WORKER" not in os.environ or request.node.nodeid.endswith("@smoke")


@pytest.mark.parametrize("page", PAGES)
def test_notebook_at_smoke_scale(page: str) -> None:
    source = pipeline.ROOT / f"{page}.ipynb"
    prepared = pipeline.ROOT / "_build/smoke" / source.parent.name / source.name  # its cells look for the book above
    prepared.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(source, prepared, parameters={"scale": "smoke"}, prepare_only=True, progress_bar=False)
    problem = validated(prepared)
    assert not problem, problem


def made(folder: Path, source: str, output: str) -> Path:
    """A notebook of one cell with a stored output."""
    cell = new_code_cell(source, execution_count=1, outputs=[new_output("stream", name="stdout", text=output)])
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[cell], metadata=metadata), folder / "made.ipynb")
    return folder / "made.ipynb"


def test_an_error_in_a_cell_is_shown(tmp_path: Path) -> None:
    assert "ZeroDivisionError" in validated(made(tmp_path, "1 / 0", ""))


def test_a_cell_marked_to_check_its_output_is_compared(tmp_path: Path) -> None:
    assert validated(made(tmp_path, "print(2)", "3\n")) == ""
    assert "mismatch" in validated(made(tmp_path, "# NBVAL_CHECK_OUTPUT\nprint(2)", "3\n"))
    assert validated(made(tmp_path, "# NBVAL_CHECK_OUTPUT\nprint(2)", "2\n")) == ""

"""The cell with which every notebook opens: on Colab it fetches the book and installs the library, elsewhere nothing.

`python tools/colab.py` writes the repository's address, the one setting `repository` of _config.yml, into the cell of
every notebook; `--check` only says which notebooks differ. `--install` is what the cell calls on Colab.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("torch", "numpy")  # never pinned to a version of ours and never replaced
CELL = """\
# On Colab this cell fetches the book and installs its library; elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess

    repository, branch = "{url}", "{branch}"  # set in _config.yml, then: python tools/colab.py
    if not repository:
        raise RuntimeError("The book has no address yet: set repository.url in _config.yml, run tools/colab.py.")
    book = os.path.expanduser("~/ten-papers")
    if not os.path.isdir(book):
        subprocess.run(["git", "clone", "--depth", "1", "--branch", branch, repository, book], check=True)
    subprocess.run([sys.executable, f"{{book}}/tools/colab.py", "--install"], check=True)
    os.chdir(f"{{book}}/chapters/{slug}")"""


def cell(slug: str) -> str:
    """The cell of a chapter's notebooks, with the address that _config.yml gives."""
    import yaml  # Colab needs none of this

    setting = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8")).get("repository") or {}
    return CELL.format(url=setting.get("url") or "", branch=setting.get("branch") or "main", slug=slug)


def notebooks() -> list[Path]:
    """Every notebook of every chapter."""
    return sorted((ROOT / "chapters").glob("*/*.ipynb"))


def is_colab(one: dict[str, Any]) -> bool:
    """Whether a cell of a notebook is the one that this program owns."""
    return "colab" in one["metadata"].get("tags", [])


def stamp(path: Path, check: bool) -> bool:
    """Give the notebook its cell (with `check`: leave it alone); gives whether it had it already."""
    content = json.loads(path.read_text(encoding="utf-8"))
    found = [one for one in content["cells"] if is_colab(one)]
    wanted = cell(path.parent.name)
    same = len(found) == 1 and "".join(found[0]["source"]) == wanted
    if not same and not check:
        if not found:
            found = [{"cell_type": "code", "id": "colab", "metadata": {}, "outputs": [], "execution_count": None}]
            found[0]["metadata"] = {"tags": ["colab", "hide-cell"]}
            content["cells"].insert(1, found[0])
        found[0]["source"] = wanted.splitlines(keepends=True)
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return same


def missing() -> list[str]:
    """The library's requirements that are not installed here, in whatever version."""
    project = tomllib.loads((ROOT / "lib/pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [one for one in project["dependencies"] if not version(re.split(r"[^\w.-]", one)[0])]


def version(name: str) -> str:
    """The installed version of a distribution; empty when there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def install() -> None:
    """Install the library and what it lacks here; torch and numpy stay as they are."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as kept:
        kept.writelines(f"{name}=={version(name)}\n" for name in KEPT if version(name))
        kept.flush()
        if missing():
            subprocess.run([*pip, "--constraint", kept.name, *missing()], check=True)
    subprocess.run([*pip, "--no-deps", str(ROOT / "lib")], check=True)


def main() -> int:
    """Write, check or install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a notebook differs")
    parser.add_argument("--install", action="store_true", help="install the library into this Python")
    given = parser.parse_args()
    if given.install:
        install()
        return 0
    differing = [path.relative_to(ROOT) for path in notebooks() if not stamp(path, given.check)]
    for path in differing:
        print(f"{path}: its Colab cell is not today's; run tools/colab.py." if given.check else f"{path}: written.")
    return 1 if given.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())

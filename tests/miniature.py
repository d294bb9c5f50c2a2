"""A miniature book for tests of the pipeline: the real graph, tools and ledger around two chapters of a second each.

It has its own copy of the library, so that a test may change a module and see what runs again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
CONFIG = {
    "title": "A miniature book",
    "author": "nobody",
    "only_build_toc_files": True,
    "repository": {"url": ""},
    "execute": {"execute_notebooks": "cache"},
    "parse": {"myst_enable_extensions": ["colon_fence", "dollarmath"]},
}
TOC = {
    "format": "jb-book",
    "root": "intro",
    "chapters": [
        {
            "file": f"chapters/{slug}/index",
            "sections": [{"file": f"chapters/{slug}/experiments"}],
        }
        for slug in ("alpha", "beta")
    ],
}
LIBRARY = '''"""One settings class, one computation."""

import dataclasses

from tenpapers import presets
{shared}

@dataclasses.dataclass(frozen=True)
class Settings:
    n: int = presets.field(minimum=1)
    pause: float = presets.field(minimum=0)


EXPERIMENTS = {{"smoke": Settings(2, 0.0), "quick": Settings(3, 0.0), "full": Settings(5, 0.0)}}


def double(x):
    return {expression}
'''
CELLS = [
    """scale = "quick"  # smoke, quick or full
seed = 0
device = "auto"  # auto, cpu, cuda
overrides = {}  # any field of the preset""",
    """import os, time
import pandas as pd
from tenpapers import ledger
from tenpapers.SLUG import EXPERIMENTS, double
run = ledger.start("SLUG", "experiments", EXPERIMENTS, scale=scale, seed=seed, device=device, overrides=overrides)
p = run.settings""",
    """def piece(k):
    time.sleep(p.pause)
    if "PIECES_LOG" in os.environ:
        with open(os.environ["PIECES_LOG"], "a") as log:
            log.write(f"{run.folder.name} {k}\\n")
    return double(k) + float(run.generator("noise", k).initial_seed() % 7)

values = run.map("pieces", piece, list(range(p.n)))
run.table("values", pd.DataFrame({"k": range(p.n), "value": values}))
print("sum", run.value("sum", sum(values)))""",
    """run.claim("C1", double(3), expected=6, tolerance=1e-9)
run.finish()""",
]


def notebook(slug: str) -> nbformat.NotebookNode:
    """A chapter's notebook, in the skeleton of the book's own."""
    cells = [new_markdown_cell(f"# Experiments of {slug}", id="c0")]
    cells += [new_code_cell(text.replace("SLUG", slug), id=f"c{i}") for i, text in enumerate(CELLS, 1)]
    cells[1].metadata["tags"] = ["parameters"]
    data = ["data/reported/alpha.csv"] if slug == "alpha" else []
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "tenpapers": {"data": data},
    }
    return new_notebook(cells=cells, metadata=metadata)


def make_book(root: Path) -> Path:
    """Write a miniature book into the new folder `root`."""
    for name in ("tools", "profiles"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "book_extension.py"))
    shutil.copyfile(ROOT / "Snakefile", root / "Snakefile")
    shutil.copytree(ROOT / "lib/tenpapers/ledger", root / "lib/tenpapers/ledger")
    for name in ("__init__.py", "presets.py", "plots.py"):
        shutil.copyfile(ROOT / "lib/tenpapers" / name, root / "lib/tenpapers" / name)
    for slug in ("alpha", "beta"):
        chapter = root / "chapters" / slug
        chapter.mkdir(parents=True)
        (root / "lib/tenpapers" / slug).mkdir()
        common = slug == "alpha"  # the shared module has one user
        (root / "lib/tenpapers" / slug / "__init__.py").write_text(
            LIBRARY.format(
                shared="from tenpapers import common\n" if common else "",
                expression="common.twice(x)" if common else "2 * x",
            )
        )
        nbformat.write(notebook(slug), chapter / "experiments.ipynb")
        (chapter / "index.md").write_text(f"# Chapter {slug}\n\nA page.\n")
        claim = {
            "id": "C1",
            "statement": "Doubling doubles.",
            "source": "Eq. (1)",
            "kind": "identity",
            "checked_in": ["experiments"],
            "scales": ["smoke", "quick", "full"],
            "expect": {"quick": "6 within 1e-9"},
        }
        (chapter / "claims.yaml").write_text(yaml.safe_dump({"claims": [claim]}))
        runs = [{"name": "grid", "notebook": "experiments", "figure": "none", "grid": {"seed": [0, 1]}}]
        (chapter / "runs.yaml").write_text(yaml.safe_dump({"runs": runs}))
    (root / "lib/tenpapers/common.py").write_text("def twice(x):\n    return 2 * x\n")
    (root / "data/reported").mkdir(parents=True)
    (root / "data/reported/alpha.csv").write_text(
        "item,setting,metric,value,source,verified\na,none,number,1,Table 1,verified\n"
    )
    (root / "requirements.lock").write_text("nothing==1\n")
    (root / "intro.md").write_text("# A miniature book\n\nIts first page.\n")
    (root / "_config.yml").write_text(yaml.safe_dump(CONFIG))
    (root / "_toc.yml").write_text(yaml.safe_dump(TOC))
    return root


def copy_book(root: Path) -> Path:
    """Copy the real book, without what is built, into the new folder `root`."""
    built = ("_build", ".venv", ".git", ".snakemake", ".*_cache", "__pycache__", "*.egg-info", ".ipynb_checkpoints")
    return shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*built))


def environment(root: Path, **more: str) -> dict[str, str]:
    """The environment of a program that works in the miniature book with its own library."""
    own = {"PYTHONPATH": str(root / "lib"), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(root / ".cache")}
    return os.environ | own | more


def snakemake(root: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the graph in the miniature book."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=root,
        env=environment(root, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )

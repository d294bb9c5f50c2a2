"""Render the book: assemble its pages in `_build/book`, with the executed notebooks in place of the sources, and build
`_build/html` from them with warnings as errors.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pipeline
import yaml
from pipeline import BOOK_MARKER, BUILD, ROOT, Job, say
from tenpapers import ledger

BOOK = BUILD / "book"
STATIC = ("_static", "images", "tools/book_extension.py")  # copied with the pages, when they are there


def assembled(job: Job) -> str:
    """The source notebook with the outputs of its executed copy: text that changed since then is shown as it is now."""
    source = nbformat.read(ROOT / job.source, as_version=4)
    executed = nbformat.read(ROOT / job.results / "notebook.ipynb", as_version=4)
    ran = [
        cell
        for cell in executed.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    if len(ran) != len(code):
        raise pipeline.Refused(
            f"{job.results}/notebook.ipynb does not match {job.source}; remove that folder and build again."
        )
    for cell, done in zip(code, ran, strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    source.metadata["language_info"] = executed.metadata.get("language_info", {"name": "python"})
    return nbformat.writes(source)


def assemble() -> None:
    """Fill `_build/book`. Files that did not change are left alone, so that only pages that did are rendered again."""
    wanted: dict[Path, str | bytes] = {}
    jobs = {job.source: job for job in pipeline.book_jobs()}
    for page in pipeline.pages():
        path = pipeline.page_file(page)
        wanted[path] = assembled(jobs[path]) if path in jobs else (ROOT / path).read_bytes()
    config = ledger.read_yaml(ROOT / "_config.yml")
    config["execute"] = {**config.get("execute", {}), "execute_notebooks": "off"}
    wanted[Path("_config.yml")] = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    for name in ("_toc.yml", *config.get("bibtex_bibfiles", [])):
        wanted[Path(name)] = (ROOT / name).read_bytes()
    for name in STATIC:
        for path in [ROOT / name, *(ROOT / name).rglob("*")]:
            if path.is_file():
                wanted[path.relative_to(ROOT)] = path.read_bytes()
    for path in [p for p in (ROOT / BOOK).rglob("*") if p.is_file() and p.relative_to(ROOT / BOOK) not in wanted]:
        path.unlink()
    for name, content in wanted.items():
        target = ROOT / BOOK / name
        data = content.encode() if isinstance(content, str) else content
        if not target.is_file() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def build() -> None:
    """Run Jupyter Book; a build that fails is forgotten, so that its warnings are met again by the next one."""
    words = ["build", str(BOOK), "--path-output", ".", "-W", "--keep-going", "--quiet"]
    program = "from jupyter_book.cli.main import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode != 0:
        say(ended.stdout)
        shutil.rmtree(ROOT / BUILD / ".doctrees", ignore_errors=True)
        raise pipeline.Refused("The book was not rendered: see the warnings above (each counts as an error).")


def main() -> int:
    """Assemble and build, and remember of what."""
    os.chdir(ROOT)
    try:
        say("rendering the book")
        digest = pipeline.book_digest()
        assemble()
        build()
        pipeline.settle_marker(BOOK_MARKER, digest)
    except ValueError as error:
        say(f"Error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

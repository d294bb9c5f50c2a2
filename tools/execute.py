"""Execute one job of the pipeline: `python tools/execute.py _build/keys/<scale>/<chapter>/<run>.json --threads 2`.

The notebook runs through papermill with its own folder as working directory and this interpreter as kernel. The
executed copy goes beside the results that the ledger wrote; that of a notebook that failed is kept under
`_build/failed`, and an earlier finished result stays as it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pipeline
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from pipeline import BUILD, ROOT, Job, say
from tenpapers import ledger

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class SpokenEngine(NBClientEngine):
    """Papermill's engine with a line for every code cell that begins."""

    label = ""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> None:
        """Execute the cells, saying each."""
        start, total = nb_man.cell_start, len(nb_man.nb.cells)

        def cell_start(cell: Any, cell_index: int | None = None, **more: Any) -> None:
            if cell.cell_type == "code" and cell_index is not None:
                first = next(filter(None, cell.source.splitlines()), "")
                say(f"{cls.label}  cell {cell_index + 1}/{total}  {first[:70]}")
            start(cell, cell_index=cell_index, **more)

        nb_man.cell_start = cell_start
        super().execute_managed_notebook(nb_man, kernel_name, **kwargs)


def end_with_parent() -> None:
    """End this process soon after the one that started it: a killed pipeline leaves nothing that computes on."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)  # the kernel notices in its turn that this process is gone

    threading.Thread(target=watch, daemon=True).start()


def own_kernel(threads: int) -> None:
    """Make the kernel named python3 this interpreter's, whatever kernels the user has, with `threads` threads."""
    own = str(Path(sys.prefix, "share", "jupyter"))
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (own, os.environ.get("JUPYTER_PATH"))))
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, str(threads)))


def execute(job: Job, threads: int) -> None:
    """Run the job's notebook; Refused with one sentence when it fails."""
    scale = job.parameters["scale"]
    label = f"{job.slug}/{job.run} at {scale}"
    say(f"{label}: executing, because {job.why() or 'it was asked for'}")
    own_kernel(threads)
    copy = BUILD / "failed" / f"{job.path}.ipynb"  # where it stays unless the notebook ends well
    log = BUILD / "logs" / f"{job.path}.log"
    for path in (copy, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    SpokenEngine.label = label
    papermill_engines.register("spoken", SpokenEngine)
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        try:
            papermill.execute_notebook(
                job.source,
                copy,
                parameters=job.parameters,
                engine_name="spoken",
                kernel_name="python3",
                cwd=job.source.parent,
                progress_bar=False,
                extra_arguments=["--log-level=ERROR"],
                stdout_file=output,
                stderr_file=output,
            )
        except PapermillExecutionError as error:
            reason = f"{error.ename}: {error.evalue}"
            raise pipeline.Refused(
                f"{job.source} failed at the {scale} scale in cell {error.cell_index + 1} ({reason}); "
                f"the partly executed copy is {copy}, its output is {log}, and earlier results are kept."
            ) from None
        except DeadKernelError:
            raise pipeline.Refused(
                f"{job.source} failed at the {scale} scale: its kernel was killed (out of memory?); "
                f"the partly executed copy is {copy}, and earlier results are kept."
            ) from None
    keep(job, copy)
    say(f"{label}: done in {time.monotonic() - started:.0f} s")


def keep(job: Job, copy: Path) -> None:
    """Put the executed notebook beside the results that the ledger wrote, and the marker down."""
    found = ledger.finished(ROOT / job.results)
    if found is None:
        raise pipeline.Refused(f"{job.source} ended without run.finish(), so it has no results; its copy is {copy}.")
    if found.provenance["key"]["digest"] != job.key.digest:
        changed = ledger.changed(job.key.components, found.provenance["key"]["components"])
        raise pipeline.Refused(f"{', '.join(changed)} changed while {job.source} was running; run it again.")
    notebook = nbformat.read(copy, as_version=4)
    notebook.metadata["tenpapers"] = {**notebook.metadata.get("tenpapers", {}), "key": job.key.digest}
    pipeline.write_if_changed(job.results / "notebook.ipynb", nbformat.writes(notebook))
    copy.unlink()
    pipeline.settle_marker(job.marker, job.key.digest)


def main() -> int:
    """Read the arguments, execute, and say in one sentence what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("card", type=Path, help="the file under _build/keys that describes the job")
    parser.add_argument("--threads", type=int, default=1, help="threads of the numerical libraries")
    given = parser.parse_args()
    os.chdir(ROOT)
    end_with_parent()
    try:
        execute(pipeline.load(given.card.resolve()), given.threads)
    except ValueError as error:
        say(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        say("Interrupted; the next run goes on from the pieces that are finished.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

# The book's one graph: execute the notebooks -> results -> the rendered book; and the full-scale runs.
#
#   snakemake                                     the book (make book does this, then reports)
#   snakemake full --config chapter=scaling       the runs of chapters/scaling/runs.yaml
#       run=<name>                                only the run of that name
#       scale=smoke                               the same grid at another scale
#   --profile profiles/slurm                      on a SLURM cluster
#
# What runs again is decided by each run's key alone: tools/pipeline.py says how, profiles/default sets Snakemake to it.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "tools"))
import pipeline

try:
    pipeline.check_library()
    BOOK = pipeline.book_jobs()
    asked = {name: str(config.get(name) or "") for name in ("chapter", "run", "scale")}
    wanted = "full" in sys.argv or any(asked.values())
    FULL = pipeline.full_jobs(asked["chapter"], asked["run"], asked["scale"] or "full") if wanted else []
    JOBS = {str(job.path): job for job in [*BOOK, *FULL]}
    WAITING = [job for job in JOBS.values() if not job.settle()]
    pipeline.settle_book()
    if workflow.is_main_process and not workflow.dryrun:
        LOCK = pipeline.lock(f"full-{asked['chapter']}" if asked["chapter"] else "book")
except ValueError as error:
    raise WorkflowError(str(error)) from None


def markers(jobs):
    return [str(job.marker) for job in jobs]


def cores(wildcards):
    """Waiting notebooks share the cores; a run with a GPU has this machine to itself."""
    job = JOBS[wildcards.path]
    if job in BOOK:
        return max(1, (workflow.cores or 1) // max(1, len(WAITING)))
    return workflow.cores if workflow.local_exec and job.resources["gpus"] else int(job.resources["cpus"])


rule book:
    input:
        str(pipeline.BOOK_MARKER),


rule html:
    input:
        markers(BOOK),
    output:
        str(pipeline.BOOK_MARKER),
    shell:
        "exec {sys.executable:q} tools/render.py"


rule execute:
    input:
        "_build/keys/{path}.json",
    output:
        "_build/done/{path}",
    wildcard_constraints:
        path="(smoke|quick|full)/.+",
    threads: cores
    resources:
        gpu=lambda wildcards: int(JOBS[wildcards.path].resources["gpus"]),
        mem_mb=lambda wildcards: int(1000 * JOBS[wildcards.path].resources["memory_gb"]),
        runtime=lambda wildcards: max(1, int(60 * JOBS[wildcards.path].resources["hours"])),
    shell:
        "exec {sys.executable:q} tools/execute.py {input:q} --threads {threads}"


rule full:
    input:
        markers(FULL),

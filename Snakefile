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


def asks(name, factor=1):
    """What a job's run asks for, as Snakemake's resources are counted."""
    return lambda wildcards: int(factor * JOBS[wildcards.path].resources[name])


def cores_here(wildcards):
    """On this machine the waiting notebooks share the cores; a run with a GPU has the machine to itself."""
    job = JOBS[wildcards.path]
    if job in BOOK:
        return max(1, workflow.cores // max(1, len(WAITING)))
    return workflow.cores if job.resources["gpus"] else int(job.resources["cpus"])


def cores_used(wildcards, threads):
    """On a cluster's node a run has the cores that it asked for, however many this machine has."""
    return threads if workflow.local_exec else asks("cpus")(wildcards)


localrules:
    book,
    html,
    full,


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
    threads: cores_here
    resources:
        cpus_per_task=asks("cpus"),
        gpu=asks("gpus"),
        mem_mb=asks("memory_gb", 1000),
        runtime=asks("hours", 60),
    params:
        cores=cores_used,
    shell:
        "exec {sys.executable:q} tools/execute.py {input:q} --threads {params.cores}"


rule full:
    input:
        markers(FULL),

"""The SLURM profile against a real cluster: a controller and two nodes, all on this machine, all in a temporary folder.

A grid of a chapter's runs is spread over both nodes; a job that is cancelled mid-way is submitted again and goes on
from its checkpoint; and the tables are those of a local run.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import miniature
import pytest
import yaml

PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "srun": "slurm-wlm",
    "sbatch": "slurm-wlm",
}
CONFIG = """
ClusterName=book
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/%n.pid
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
ON_THE_CLUSTER = (
    "--profile",
    "profiles/slurm",
    "--default-resources",
    "slurm_partition=main",
    "slurm_account=none",
    "--slurm-status-command",
    "squeue",
    "--slurm-init-seconds-before-status-checks",
    "1",
)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until something is so; an error that says what was waited for when it takes too long."""
    for _ in range(int(seconds / 0.1)):
        if condition():
            return
        time.sleep(0.1)
    raise TimeoutError(f"{what} did not happen in {seconds:.0f} s")


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def program(name: str) -> str:
    """Where a program of SLURM or munge is; the test fails with what to install when it is missing."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        pytest.fail(
            f"{name} is missing (Debian package {PROGRAMS[name]}); run tools/system-packages.sh.", pytrace=False
        )
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """The environment of a user of the cluster. Ends just the processes that it started."""
    where = {name: program(name) for name in PROGRAMS}
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:  # a short path: munge's socket allows no long one
        folder = Path(name)
        for part in ("state", "spool-n1", "spool-n2", "munge", "bin"):
            (folder / part).mkdir(mode=0o755)
        folder.chmod(0o755)
        host = socket.gethostname().split(".")[0]
        text = CONFIG.format(folder=folder, host=host, user=getpass.getuser(), ports=free_ports(3))
        (folder / "slurm.conf").write_text(text)
        (folder / "munge/key").write_bytes(os.urandom(1024))
        (folder / "munge/key").chmod(0o600)
        # Snakemake's plug-in takes SLURM's variables away from the step that it starts on a node, so srun is told here.
        (folder / "bin/srun").write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {where["srun"]} "$@"\n')
        (folder / "bin/srun").chmod(0o755)
        env = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{folder}/bin:{os.environ['PATH']}"}

        def start(*words: str) -> None:
            with (folder / f"{len(started)}.log").open("wb") as log:
                started.append(subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True))

        def nodes_are_idle() -> bool:
            states = subprocess.run(["sinfo", "-hN", "-o", "%t"], env=env, capture_output=True, text=True, check=False)
            return states.stdout.split() == ["idle", "idle"]

        try:
            files = {name: f"--{name}-file={folder}/munge/{name}" for name in ("key", "pid", "log", "seed")}
            start(where["munged"], "--foreground", "--force", f"--socket={folder}/munge/socket", *files.values())
            wait_for((folder / "munge/socket").exists, "munge's start")
            start(where["slurmctld"], "-D")
            for node in ("n1", "n2"):
                start(where["slurmd"], "-D", "-N", node)
            wait_for(nodes_are_idle, "the start of two nodes")
            yield env
            subprocess.run(["scancel", "--me"], env=env, check=False, capture_output=True)
        finally:
            for process in reversed(started):
                process.send_signal(signal.SIGTERM)
            for process in reversed(started):
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


GRID = {
    "runs": [
        {
            "name": "small",
            "notebook": "experiments",
            "grid": {"seed": [0, 1]},
            "overrides": {"parts": ["surface"], "M": [96, 192, 384], "sketches": 3},
        }
    ]
}
REQUEST = ("full", "--config", "chapter=scaling", "run=small", "scale=smoke")


def tables(root: Path) -> dict[str, str]:
    """All tables of the grid's runs."""
    places = (root / "_build/results/scaling/smoke").glob("experiments*/tables/*.csv")
    return {str(path.relative_to(root)): path.read_text() for path in places}


def test_a_grid_on_two_nodes_with_a_cancelled_job(cluster: dict[str, str], tmp_path: Path) -> None:
    root = miniature.copy_book(tmp_path / "the book")
    (root / "chapters/scaling/runs.yaml").write_text(yaml.safe_dump(GRID))
    env = miniature.environment(root) | cluster | {"PYTHONPATH": str(root / "lib")}

    def pieces() -> int:
        return len(list((root / "_build/checkpoints/scaling/smoke").glob("experiments-seed1-*/*/surface/*.json")))

    def running() -> dict[str, str]:
        words = ["squeue", "--me", "-h", "-t", "R", "-o", "%i %k"]
        listed = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout.splitlines()
        return {line.split()[0]: line for line in listed}

    with (tmp_path / "snakemake.log").open("w") as log:
        words = [sys.executable, "-m", "snakemake", *REQUEST, *ON_THE_CLUSTER]
        process = subprocess.Popen(words, cwd=root, env=env, stdout=log, stderr=log)
        try:
            wait_for(lambda: pieces() >= 3, "the third piece of the run with seed 1", 300)
            (victim,) = [number for number, line in running().items() if "seed1" in line]
            before = pieces()
            subprocess.run(["scancel", victim], env=env, check=True)
            assert process.wait(timeout=600) == 0, (tmp_path / "snakemake.log").read_text()
        finally:
            process.terminate()

    records = [json.loads(path.read_text()) for path in root.glob("_build/results/scaling/smoke/*/provenance.json")]
    whole, cancelled = sorted(records, key=lambda record: record["parameters"]["seed"])
    assert {whole["job"]["SLURMD_NODENAME"], cancelled["job"]["SLURMD_NODENAME"]} == {"n1", "n2"}
    assert cancelled["job"]["SLURM_JOB_ID"] != victim, "it was submitted again"
    assert whole["resumed_pieces"] == 0
    assert cancelled["resumed_pieces"] >= before, "what was finished before the kill is not computed again"
    on_the_cluster = tables(root)
    assert len({name.split("/")[4] for name in on_the_cluster}) == 2

    shutil.rmtree(root / "_build")
    local = miniature.snakemake(root, *REQUEST)
    assert local.returncode == 0, local.stderr
    assert tables(root) == on_the_cluster

"""Runs that are killed, run out of disk or are spread over processes: a program, started by test_training.py.

It imports torch once and forks each run, which takes milliseconds; the test process, which has threads, never forks.

    python training_faults.py kills FOLDER | edges FOLDER | limit FOLDER | parallel FOLDER
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import accelerate
import safetensors.torch
import torch
import training_toy as toy
from tenpapers import training
from tenpapers.training import _checkpoint

EVERY_STEP = toy.settings(steps=120, checkpoint_every_seconds=0.0)


def run(folder: Path, settings: training.Settings = EVERY_STEP, **changes: object) -> training.Trained:
    arguments = {"batch": toy.batch, "loss": toy.loss, "evaluate": toy.evaluate} | changes
    return training.train(toy.model(), settings=settings, folder=folder, progress=False, device="cpu", **arguments)


def report(path: Path, trained: training.Trained) -> None:
    safetensors.torch.save_file(
        {k: v.clone() for k, v in toy.tensors(trained).items()}, path.with_suffix(".safetensors")
    )
    path.with_suffix(".json").write_text(json.dumps(trained.history.to_dict("list")))  # repr of a float is exact


def warm() -> None:
    """Load what torch loads at the first step. (Not by a step: after a backward pass a fork cannot run one.)"""
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.AdamW([weight]).step()
    assert accelerate.Accelerator  # imported here, so that no child has to


def fork(work: Callable[[], None]) -> int:
    """Start `work` in a child; its exit code is 0 when it ends, 1 when it raises."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        os._exit(code)


def kills(folder: Path) -> None:
    """SIGKILL at ten random moments, each at a random step and a random time within it, resumed each time."""
    chance = random.Random(0)
    for life in range(10):
        lives_for, delay = chance.randint(1, 9), chance.uniform(0, 0.006)
        read, write = os.pipe()

        def work(lives_for: int = lives_for, write: int = write) -> None:
            seen = 0

            def batch(step: int, generator: torch.Generator) -> toy.Strings:
                nonlocal seen
                seen += 1
                if seen > lives_for + 25:  # the machine is busy: wait here to be killed
                    signal.pause()
                os.write(write, b".")
                return toy.batch(step, generator)

            run(folder, EVERY_STEP, batch=batch)

        child = fork(work)
        os.close(write)
        left = lives_for
        while left:
            left -= len(os.read(read, left))
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(read)
        print(json.dumps({"life": life, "killed": os.WIFSIGNALED(status), "files": sorted(os.listdir(folder))}))
    finish(folder)


def edges(folder: Path) -> None:
    """SIGKILL at every kind of moment in the writing of a checkpoint: with nothing, half or all of it written, after
    the rename, and before the removal of an old one."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def half(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])
        die()

    def unsynced(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        die()

    places = {
        "before the write": (_checkpoint, "_write", die),
        "half-way": (_checkpoint, "_write", half),
        "before the rename": (_checkpoint, "_write", unsynced),
        "after the rename": (_checkpoint, "_sync_folder", die),
        "before a removal": (Path, "unlink", die),
    }
    for name, (module, attribute, deed) in places.items():

        def work(module: object = module, attribute: str = attribute, deed: Callable = deed) -> None:
            seen = 0

            def batch(step: int, generator: torch.Generator) -> toy.Strings:
                nonlocal seen
                seen += 1
                if seen == 7:  # six steps of this life are saved; the seventh save is the last thing it does
                    setattr(module, attribute, deed)
                return toy.batch(step, generator)

            run(folder, EVERY_STEP, batch=batch)

        _, status = os.waitpid(fork(work), 0)
        print(json.dumps({"edge": name, "killed": os.WIFSIGNALED(status), "files": sorted(os.listdir(folder))}))
    finish(folder)


def finish(folder: Path) -> None:
    """The last life, to the end, and the same run never interrupted; both are reported beside `folder`."""

    def last() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a kill never leaves a damaged checkpoint
            report(folder.parent / "resumed", run(folder))

    def whole() -> None:
        report(folder.parent / "whole", run(folder.parent / "other", toy.settings(steps=120)))

    for work in (last, whole):
        _, status = os.waitpid(fork(work), 0)
        if status:
            sys.exit("the last run failed")


def limit(folder: Path) -> None:
    """A real limit on the size of files, reached amid a write; its signal is ignored, so that the write fails."""

    def work() -> None:
        run(folder, toy.settings(checkpoint_every_seconds=0.0), batch=limited)

    def limited(step: int, generator: torch.Generator) -> toy.Strings:
        if step == 5:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        if step == 9:
            os._exit(0)
        return toy.batch(step, generator)

    os.waitpid(fork(work), 0)
    print(json.dumps({"files": sorted(os.listdir(folder))}))


def parallel(folder: Path) -> None:
    """Two processes on the CPU; then the same checkpoint finished by two and by one."""

    def rank(number: int, port: int, where: Path, stop: int | None, out: Path | None, experts: bool) -> None:
        os.environ |= {"WORLD_SIZE": "2", "RANK": str(number), "LOCAL_RANK": str(number), "LOCAL_WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        rows: list[list[int]] = []

        def loss(model: torch.nn.Module, data: toy.Strings) -> tuple[torch.Tensor, torch.Tensor]:
            if len(rows) == stop:
                os._exit(0)
            rows.append(data.tokens[:, 0].tolist())
            return toy.loss(model, data)

        # Dropout differs between processes, so these models have none.
        model = toy.Experts() if experts else toy.model(dropout=0.0)
        settings = toy.settings(checkpoint_every_seconds=0.0, unused_parameters=experts)
        trained = training.train(model, toy.batch, loss, settings, evaluate=toy.evaluate, folder=where, device="cpu")
        if out is not None:
            report(out.with_name(f"{out.name}{number}"), trained)
            out.with_name(f"{out.name}{number}.rows").write_text(json.dumps(rows))
        torch.distributed.destroy_process_group()

    def together(where: Path, stop: int | None = None, out: Path | None = None, experts: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [fork(lambda n=n: rank(n, port, where, stop, out, experts)) for n in range(2)]
        if any(os.waitpid(child, 0)[1] for child in children):
            sys.exit("a process failed")

    together(folder / "two", out=folder / "two-")
    together(folder / "stopped", stop=13)
    shutil.copytree(folder / "stopped", folder / "stopped-copy")
    together(folder / "stopped", out=folder / "again-")
    together(folder / "experts", out=folder / "experts-", experts=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warm()
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    {"kills": kills, "edges": edges, "limit": limit, "parallel": parallel}[sys.argv[1]](target)

"""The training loop: results, exact resume, checkpoints under faults, several processes, devices, bad input."""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import device_discipline
import pytest
import safetensors
import safetensors.torch
import torch
import training_toy as toy
from tenpapers import training
from tenpapers.training import _checkpoint
from torch import nn
from torch.nn import functional


class StoppedError(Exception):
    """Stands for whatever ends a process early."""


def train(folder: Path | None = None, stop: int | None = None, **changes: object) -> training.Trained:
    """The toy run; `stop` ends it when it asks for the batch of that step. Settings by name go to Settings."""
    names = {f.name for f in dataclasses.fields(training.Settings)}
    settings = toy.settings(**{k: v for k, v in changes.items() if k in names})
    options = {k: v for k, v in changes.items() if k not in names}
    batch = options.pop("batch", toy.batch)

    def stopping(step: int, generator: torch.Generator) -> toy.Strings:
        if step == stop:
            raise StoppedError
        return batch(step, generator)

    defaults = {"loss": toy.loss, "evaluate": toy.evaluate, "progress": False, "device": "cpu"}
    model = options.pop("model", None) or toy.model()
    return training.train(model, stopping, settings=settings, folder=folder, **(defaults | options))


def interrupted(folder: Path, stop: int = 17, **changes: object) -> None:
    with pytest.raises(StoppedError):
        train(folder, stop=stop, checkpoint_every_seconds=0.0, **changes)


def steps_kept(folder: Path) -> list[int]:
    return sorted(int(path.name[5:15]) for path in folder.glob("step-*"))


def newest(folder: Path) -> Path:
    return max(folder.glob("step-*"))


class SignSgd(torch.optim.Optimizer):
    """An optimizer of a chapter's own, with state that load_state_dict would cast: float64 and whole numbers."""

    def __init__(self, weights, lr: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            group["calls"] = group.get("calls", 0) + 1
            for weight in group["params"]:
                state = self.state[weight]
                state["mean"] = 0.9 * state.get("mean", 0.0) + 0.1 * weight.grad.double() / 3
                state["ticks"] = state.get("ticks", torch.zeros(2, dtype=torch.int64)) + 1
                state["plain"] = state.get("plain", 0.0) + 0.1
                weight.sub_(group["lr"] * (state["mean"].sign().to(weight.dtype) + group["weight_decay"] * weight))


OPTIMIZERS = {
    "adamw": functools.partial(torch.optim.AdamW, betas=(0.9, 0.98)),
    "momentum": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "sign": SignSgd,
}


# What it computes.


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [0.25, 0.5, 1.0, 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2, 0.55, 0.1 + 0.9 * 0.1464466094067262]),
        ("linear", [0.25, 0.5, 1.0, 0.775, 0.55, 0.325]),
        ("constant", [0.25, 0.5, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_learning_rate_warms_up_and_decays(schedule: str, expected: list[float]) -> None:
    settings = training.Settings(steps=8, batch_size=1, lr=2.0, warmup=4, schedule=schedule, lr_end=0.1)
    rates = [training.learning_rate(settings, step) / 2.0 for step in (0, 1, 4, 5, 6, 7)]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_next_token_loss_equals_a_sum_over_places() -> None:
    logits, tokens = torch.randn(3, 5, 7, dtype=torch.float64), torch.randint(7, (3, 5))
    mask = torch.rand(3, 5) < 0.5
    terms = [-logits[b, t - 1].log_softmax(-1)[tokens[b, t]] for b in range(3) for t in range(1, 5) if mask[b, t]]
    total, count = training.next_token_loss(logits, tokens, mask)
    assert total.item() == pytest.approx(sum(terms).item(), rel=1e-6)
    assert count.item() == len(terms)
    assert training.next_token_loss(logits, tokens)[1].item() == 12


@pytest.mark.parametrize("accumulate", [1, 4])
def test_equals_a_plain_loop(accumulate: int) -> None:
    seen: dict[int, toy.Strings] = {}

    def batch(step: int, generator: torch.Generator) -> toy.Strings:
        seen[step] = toy.batch(step, generator)
        return seen[step]

    trained = train(batch=batch, model=toy.model(dropout=0.0), accumulate=accumulate)
    model = toy.model(dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    losses = []
    for step in range(40):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * ((step + 1) / 5 if step < 5 else 0.5 * (1 + math.cos(math.pi * (step - 5) / 35)))
        data = seen[step]
        scored = data.mask[:, 1:]
        loss = functional.cross_entropy(model(data.tokens)[:, :-1][scored], data.tokens[:, 1:][scored])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append((loss.item(), scored.sum().item()))
    for ours, plain in zip(trained.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    weighed = sum(loss * n for loss, n in losses[6:10]) / sum(n for _, n in losses[6:10])
    assert trained.history.loss[1] == pytest.approx(weighed, rel=1e-5)


def test_history_is_tidy() -> None:
    history = train().history
    assert list(history.columns) == ["step", "examples", "lr", "loss", "grad_norm", "held_out", "noise"]
    assert history.step.tolist() == [6, 10, 12, 18, 20, 24, 30, 36, 40]
    assert history.examples.tolist() == [8 * step for step in history.step]
    assert history.held_out.notna().tolist() == [step % 10 == 0 for step in history.step]
    assert history.loss.iloc[-1] < history.loss.iloc[0]


def test_mean_loss_and_plain_tensor_data() -> None:
    def loss(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(tokens).mT, tokens)

    settings = toy.settings(steps=60, lr=0.1, warmup=0, schedule="constant", accumulate=2)
    trained = training.train(
        toy.model(dropout=0.0),
        lambda step, generator: torch.randint(7, (8, 10), generator=generator),
        loss,
        settings,
        progress=False,
        device="cpu",
    )
    assert trained.history.loss.iloc[-1] < 0.01
    assert list(trained.history.columns) == ["step", "examples", "lr", "loss", "grad_norm"]


def test_callers_random_state_and_seed() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    first = train()
    assert torch.equal(torch.rand(4), expected)
    assert toy.same(first, train())
    assert not toy.same(first, train(seed=1))


def test_parameters_without_gradient_are_left_alone() -> None:
    model = toy.model()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    assert torch.equal(train(model=model).model[0].weight, before)


def test_bar_shows_the_loss(capsys: pytest.CaptureFixture) -> None:
    train(progress=True, name="a toy")
    shown = capsys.readouterr().err
    assert "a toy" in shown
    assert "40/40" in shown or "0/40" in shown
    train(progress=False)
    assert capsys.readouterr() == ("", "")


# Resume.


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_run_ends_with_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    whole = train(optimizer=OPTIMIZERS[optimizer])
    for stop in (9, 17, 18, 31):  # amid a window of the history, at its edge, just after an evaluation
        interrupted(tmp_path, stop, optimizer=OPTIMIZERS[optimizer])
    resumed = train(tmp_path, optimizer=OPTIMIZERS[optimizer])
    assert resumed.resumed_from == 31
    assert whole.resumed_from is None
    assert toy.same(whole, resumed)
    states = zip(toy.tensors(whole).values(), toy.tensors(resumed).values(), strict=True)
    assert all(one.dtype == two.dtype for one, two in states)
    assert whole.optimizer.state_dict()["param_groups"] == resumed.optimizer.state_dict()["param_groups"]


def test_tied_weights_and_buffers_survive(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = toy.model()
        model[2].weight = model[0].weight
        model.register_buffer("seen", torch.zeros(3, dtype=torch.int64))
        return model

    def loss(model: nn.Module, data: toy.Strings) -> tuple[torch.Tensor, torch.Tensor]:
        model.seen += 1
        return toy.loss(model, data)

    interrupted(tmp_path, model=tied(), loss=loss)
    resumed = train(tmp_path, model=tied(), loss=loss)
    assert toy.same(train(model=tied(), loss=loss), resumed)
    assert resumed.model[0].weight is resumed.model[2].weight


def test_finished_run_is_read_back(tmp_path: Path) -> None:
    whole = train(tmp_path)
    assert steps_kept(tmp_path) == [40]
    again = train(tmp_path, stop=0)  # asks for no batch
    assert again.resumed_from == 40
    assert toy.same(whole, again)


def test_the_newest_two_are_kept_and_the_clock_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr("tenpapers.training._loop.time.monotonic", lambda: next(now))
    with pytest.raises(StoppedError):
        train(tmp_path, stop=23, checkpoint_every_seconds=7.0)
    # The clock ticks at every look and at every save: a save every 7 steps, then every 8th tick is the save's own.
    assert steps_kept(tmp_path) == [14, 21]


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("pickle was used")

    for module, name in [(pickle, "dump"), (pickle, "dumps"), (pickle, "load"), (pickle, "loads")]:
        monkeypatch.setattr(module, name, forbidden)
    monkeypatch.setattr(torch, "save", forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    interrupted(tmp_path)
    assert train(tmp_path).resumed_from == 17
    with safetensors.safe_open(newest(tmp_path), "pt") as file:
        assert set(file.metadata()) == {"identity", "state"}
        json.loads(file.metadata()["state"])


# Damage and refusal.


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def rename(path: Path) -> None:
    path.rename(path.with_name("step-0000000039." + path.name.split(".", 1)[1].replace("0", "1")))


@pytest.mark.parametrize("damage", [truncate, empty, flip, rename])
def test_damaged_newest_is_named_and_passed_over(tmp_path: Path, damage) -> None:
    interrupted(tmp_path)
    damage(newest(tmp_path))
    damaged = newest(tmp_path)
    with pytest.warns(UserWarning, match=rf"checkpoint .*{damaged.name} is damaged .*passed over") as caught:
        resumed = train(tmp_path)
    assert len(caught) == 1
    assert resumed.resumed_from == 16
    assert toy.same(train(), resumed)
    assert not damaged.exists()  # a new one was written since


def test_all_damaged_starts_again(tmp_path: Path) -> None:
    interrupted(tmp_path)
    for path in tmp_path.glob("step-*"):
        truncate(path)
    with pytest.warns(UserWarning, match="damaged") as caught:
        resumed = train(tmp_path)
    assert len(caught) == 2
    assert resumed.resumed_from is None
    assert toy.same(train(), resumed)


def test_unreadable_is_passed_over_and_not_removed(tmp_path: Path) -> None:
    interrupted(tmp_path)
    folder = tmp_path / "step-0000000039.0123456789abcdef.safetensors"
    folder.mkdir()  # an error of the system when it is read, for root too
    with pytest.warns(UserWarning, match=r"step-0000000039.*Is a directory"):
        assert train(tmp_path).resumed_from == 17
    assert folder.exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 0.02}, r"lr = 0\.01, and this run has 0\.02"),
        ({"steps": 50}, "steps = 40, and this run has 50"),
        ({"log_every": 7}, "log_every = 6"),
        ({"seed": 3}, "seed = 0, and this run has 3"),
        (
            {"parameters": {"task": "copy", "sizes": [5, 21]}},
            r"parameters\.sizes = \[5, 20\], and this run has \[5, 21\]",
        ),
        ({"parameters": {"task": "copy"}}, r"parameters\.sizes = \[5, 20\], and this run has nothing of that name"),
        ({"parameters": {"task": "copy", "sizes": [5, 20], "n": 1}}, r"parameters\.n = nothing of that name"),
        ({"optimizer": torch.optim.SGD}, "optimizer = 'AdamW', and this run has 'SGD'"),
        ({"optimizer": OPTIMIZERS["adamw"]}, r"optimizer\.betas = \[0\.9, 0\.999\]"),
        ({"model": toy.model(width=16)}, r"model\.0\.weight = '\(7, 12\) torch\.float32', and this run has '\(7, 16\)"),
        ({"model": toy.model().double()}, r"model\.0\.weight = .*this run has '\(7, 12\) torch\.float64'"),
        ({"model": nn.Sequential(*toy.model(), nn.Linear(7, 7))}, r"model\.3\.weight = nothing of that name"),
    ],
)
def test_checkpoint_of_another_run_is_refused(tmp_path: Path, changes: dict, named: str) -> None:
    interrupted(tmp_path, parameters={"task": "copy", "sizes": [5, 20]})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(training.CheckpointError, match=f"{newest(tmp_path).name} was made with {named}"):
        train(tmp_path, stop=0, **({"parameters": {"task": "copy", "sizes": (5, 20)}} | changes))
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_settings_that_change_nothing_may_change(tmp_path: Path) -> None:
    interrupted(tmp_path)
    resumed = train(tmp_path, checkpoint_every_seconds=3.0, checkpoint_keep=5, unused_parameters=True)
    assert resumed.resumed_from == 17


def test_leftovers_of_an_interrupted_write_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / ".writing-step-0000000003.0123456789abcdef.safetensors"
    leftover.write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("the user's own")
    train(tmp_path)
    assert not leftover.exists()
    assert (tmp_path / "notes.txt").exists()


# Disks.


def test_full_disk_warns_and_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    written = _checkpoint._write
    monkeypatch.setattr(_checkpoint, "_write", full)
    with pytest.warns(UserWarning, match="could not be written") as caught:
        finished = train(tmp_path, checkpoint_every_seconds=0.0)
    monkeypatch.setattr(_checkpoint, "_write", written)
    assert len(caught) == 23
    said = str(caught[0].message)
    assert said.startswith(f"The checkpoint of step 18 could not be written to {tmp_path} (No space left on device);")
    assert "that of step 17 is kept, and training goes on" in said
    assert toy.same(train(), finished)
    assert kept == {path: path.read_bytes() for path in tmp_path.iterdir()}  # and no half file is left
    assert train(tmp_path).resumed_from == 17  # space is there again


def test_nowhere_to_write_is_refused_before_training(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file / "below", file):
        with pytest.raises(
            training.CheckpointError, match=rf"folder {folder} cannot be written \(.*\); choose another"
        ):
            train(folder, stop=0)


def faults(what: str, folder: Path) -> list[dict]:
    """Run training_faults.py; the lines it printed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    here = Path(__file__).with_name("training_faults.py")
    done = subprocess.run(
        [sys.executable, here, what, folder], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def reported(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, list[float]]]:
    numbers = json.loads(path.with_suffix(".json").read_text())
    return safetensors.torch.load_file(path.with_suffix(".safetensors")), numbers


def assert_same_bits(one: Path, two: Path) -> None:
    (tensors, history), (others, other_history) = reported(one), reported(two)
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[k], others[k]) for k in tensors)
    assert str(history) == str(other_history)  # text, so that NaN equals NaN


def test_real_limit_on_file_size(tmp_path: Path) -> None:
    (found,) = faults("limit", tmp_path / "run")
    assert [name[:15] for name in found["files"]] == ["step-0000000004", "step-0000000005"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed = train(tmp_path / "run")
    assert resumed.resumed_from == 5
    assert toy.same(train(), resumed)


# Kills.


def test_killed_at_ten_random_moments(tmp_path: Path) -> None:
    lives = faults("kills", tmp_path / "run")
    assert [life["killed"] for life in lives] == [True] * 10
    assert_same_bits(tmp_path / "resumed", tmp_path / "whole")


def test_killed_at_every_edge_of_a_write(tmp_path: Path) -> None:
    deaths = {death["edge"]: death for death in faults("edges", tmp_path / "run")}
    assert all(death["killed"] for death in deaths.values())
    whole = {edge: sum(name.startswith("step-") for name in death["files"]) for edge, death in deaths.items()}
    assert whole == {
        "before the write": 2,
        "half-way": 2,
        "before the rename": 2,
        "after the rename": 3,
        "before a removal": 3,
    }
    leftover = [edge for edge, death in deaths.items() if any(name.startswith(".writing") for name in death["files"])]
    assert leftover == ["half-way", "before the rename"]
    assert_same_bits(tmp_path / "resumed", tmp_path / "whole")


# Losses that are not finite.


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loss_that_is_not_finite_names_the_step(tmp_path: Path, bad: float) -> None:
    def loss(model: nn.Module, data: toy.Strings) -> tuple[torch.Tensor, torch.Tensor]:
        total, count = toy.loss(model, data)
        return total * (bad if asked[-1] == 23 else 1.0), count

    asked: list[int] = []

    def batch(step: int, generator: torch.Generator) -> toy.Strings:
        asked.append(step)
        return toy.batch(step, generator)

    model = toy.model()
    pattern = rf"The loss is {bad} at step 23 of 40, .*checkpoint of step 23 is kept.*lower lr"
    with pytest.raises(training.NonFiniteError, match=pattern):
        train(tmp_path, model=model, batch=batch, loss=loss, checkpoint_every_seconds=0.0)
    assert steps_kept(tmp_path) == [22, 23]
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())
    assert toy.same(train(), train(tmp_path))  # the cause removed, it goes on


def test_gradient_that_is_not_finite_names_the_step() -> None:
    def loss(model: nn.Module, data: toy.Strings) -> torch.Tensor:
        return (model(data.tokens) * 0).sum().sqrt()  # 0, with an infinite slope

    with pytest.raises(training.NonFiniteError, match=r"The gradient's norm is (nan|inf) at step 0 of 40"):
        train(loss=loss)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    def loss(model: nn.Module, data: toy.Strings) -> torch.Tensor:
        return 1e4 * model(data.tokens).sum()

    with pytest.raises(training.NonFiniteError, match="The weights are not finite after step 0 of 1"):
        train(tmp_path, loss=loss, optimizer=torch.optim.SGD, steps=1, warmup=0, lr=1e38, grad_clip=0.0)
    assert steps_kept(tmp_path) == []


def test_rare_looks_at_the_losses_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(model: nn.Module, data: toy.Strings) -> tuple[torch.Tensor, torch.Tensor]:
        total, count = toy.loss(model, data)
        return total * (math.nan if next(calls) >= 27 else 1.0), count

    whole = train()
    monkeypatch.setattr("tenpapers.training._loop._look_every", lambda device: 32)  # as on a GPU
    assert toy.same(whole, train())
    calls = iter(range(100))
    with pytest.raises(training.NonFiniteError, match=r"The loss is nan at step 27 of 40.* step 24 is kept"):
        train(tmp_path, loss=loss, checkpoint_every_seconds=0.0, evaluate=None)
    assert steps_kept(tmp_path) == [18, 24]
    with pytest.raises(StoppedError):
        train(tmp_path, stop=33, checkpoint_every_seconds=0.0, evaluate=None)
    assert steps_kept(tmp_path) == [30, 32]
    resumed = train(tmp_path, evaluate=None)
    assert toy.tensors(resumed).keys() == toy.tensors(whole).keys()
    assert all(torch.equal(tensor, toy.tensors(whole)[name]) for name, tensor in toy.tensors(resumed).items())


# Several processes.


def test_two_processes_equal_one(tmp_path: Path) -> None:
    faults("parallel", tmp_path)
    one = train(model=toy.model(dropout=0.0))
    ranks = [json.loads((tmp_path / f"two-{rank}.rows").read_text()) for rank in range(2)]
    assert [len(rows) for rows in ranks] == [40, 40]
    assert all(len(a) == len(b) == 4 for a, b in zip(*ranks, strict=True))
    seen: list[list[int]] = []

    def batch(step: int, generator: torch.Generator) -> toy.Strings:
        data = toy.batch(step, generator)
        seen.append(data.tokens[:, 0].tolist())
        return data

    train(model=toy.model(dropout=0.0), batch=batch)
    assert seen == [a + b for a, b in zip(*ranks, strict=True)]  # each its own rows of the same batches

    weights, history = reported(tmp_path / "two-0")
    for name, tensor in toy.tensors(one).items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5)
    assert history["loss"] == pytest.approx(one.history.loss.tolist(), rel=1e-5)
    assert history["noise"] == pytest.approx(one.history.noise.tolist(), nan_ok=True)
    assert_same_bits(tmp_path / "two-0", tmp_path / "two-1")
    assert_same_bits(tmp_path / "two-0", tmp_path / "again-0")  # stopped at step 13, then resumed by both

    experts, _ = reported(tmp_path / "experts-0")  # parameters without gradient in one process, or in both
    for name, tensor in toy.tensors(train(model=toy.Experts())).items():
        torch.testing.assert_close(experts[name], tensor, rtol=1e-4, atol=1e-5)

    alone = train(tmp_path / "stopped-copy", model=toy.model(dropout=0.0))  # and by one process alone
    assert alone.resumed_from is not None
    for name, tensor in toy.tensors(alone).items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-5)


# Devices.


class Planted(nn.Module):
    """A small attention model with one deliberate mistake of device, or one thing that a GPU accepts."""

    def __init__(self, mistake: str | None) -> None:
        super().__init__()
        self.mistake = mistake
        self.embed = nn.Embedding(7, 8)
        self.attend = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.recur = nn.LSTM(8, 8, batch_first=True)
        self.head = nn.Linear(8, 7)
        self.attribute = torch.ones(8)
        self.register_buffer("scale", torch.ones(8))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        length = tokens.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        x = self.embed(tokens) * self.scale
        if self.mistake == "positions":
            x = x + torch.arange(length)[:, None]
        if self.mistake == "attribute":
            x = x * self.attribute
        if self.mistake == "embedding index":
            x = x + self.embed(torch.arange(length) % 7)
        if self.mistake == "matrix product":
            x = x @ torch.eye(8)
        if self.mistake == "gather":
            x = x.gather(1, torch.zeros(x.shape, dtype=torch.long))
        if self.mistake == "mask":
            mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        if self.mistake == "state":
            x, _ = self.recur(x, (torch.zeros(1, len(x), 8), torch.zeros(1, len(x), 8)))
        if self.mistake == "legal":
            x = x[:, torch.arange(length)] * torch.tensor(2.0)
        x, _ = self.recur(self.attend(x, src_mask=mask))
        return self.head(x)


DATA = toy.batch(0, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mistake", [None, "legal"])
def test_device_discipline_passes_a_clean_model(mistake: str | None) -> None:
    device_discipline.training_step(Planted(mistake), DATA, toy.loss)


@pytest.mark.parametrize(
    "mistake", ["positions", "attribute", "embedding index", "matrix product", "gather", "mask", "state"]
)
def test_device_discipline_catches_a_planted_cpu_tensor(mistake: str) -> None:
    with pytest.raises(RuntimeError, match="device"):
        device_discipline.training_step(Planted(mistake), DATA, toy.loss)


def test_device_discipline_catches_a_loss_on_the_cpu() -> None:
    def stray(model: nn.Module, data: toy.Strings) -> torch.Tensor:
        return functional.cross_entropy(model(data.tokens).mT, torch.zeros(data.tokens.shape, dtype=torch.long))

    with pytest.raises(RuntimeError, match="device"):
        device_discipline.training_step(Planted(None), DATA, stray)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_toy_keeps_to_its_device(optimizer: str) -> None:
    if optimizer == "sign":  # its `ticks` are made on the CPU, and stay there: a GPU accepts that
        device_discipline.training_step(toy.model(), DATA, toy.loss, torch.optim.SGD)
    device_discipline.training_step(toy.model(), DATA, toy.loss, OPTIMIZERS[optimizer])


# Bad input.


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1."),
        ({"lr": 0.0}, "lr is 0.0; it must be above 0."),
        ({"lr": -1e-3}, "lr is -0.001; it must be above 0."),
        ({"lr": math.nan}, "lr is nan; it must be "),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1."),
        ({"warmup": -1}, "warmup is -1; it must be at least 0."),
        ({"warmup": 41}, "warmup is 41; it must be at most steps, 40."),
        ({"schedule": "cosin"}, "schedule is 'cosin'; did you mean 'cosine'? Valid: cosine, linear, constant."),
        ({"precision": "bfloat"}, "precision is 'bfloat';"),
        ({"precision": "bf16"}, "precision is 'bf16', which 'cpu' does not offer here; use 'auto' or 'float32'."),
        ({"lr_end": 1.5}, "lr_end is 1.5; it must be at least 0 and at most 1."),
        ({"grad_clip": -1.0}, "grad_clip is -1.0; it must be at least 0."),
        ({"accumulate": 3}, "batch_size is 8; it must be a multiple of 3,"),
        ({"checkpoint_keep": 0}, "checkpoint_keep is 0; it must be at least 1."),
        ({"checkpoint_every_seconds": -1.0}, "checkpoint_every_seconds is -1.0; it must be at least 0."),
        ({"device": "gpu"}, "device is 'gpu';"),
        ({"data_device": "gpu"}, "data_device is 'gpu'; did you mean 'cpu'? Valid: cpu, device."),
        ({"model": nn.Identity()}, "model has no parameters to train."),
        ({"folder": True, "parameters": {"x": {1, 2}}}, "parameters['x'] is a set; it must be a JSON value."),
    ],
)
def test_bad_settings_are_refused_before_work_starts(tmp_path: Path, changes: dict, sentence: str) -> None:
    if changes.pop("folder", False):
        changes["folder"] = tmp_path
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole sentence is compared)
        train(stop=0, **changes)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_setting_of_a_wrong_type_is_refused() -> None:
    settings = toy.settings()
    object.__setattr__(settings, "steps", 2.5)  # the constructor's types are checked at run time only in tests
    with pytest.raises(ValueError, match=r"steps is 2\.5; it must be a whole number"):
        training.train(toy.model(), toy.batch, toy.loss, settings, device="cpu")


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device is 'cuda', but this torch sees no CUDA GPU"):
        train(stop=0, device="cuda")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            torch.zeros(8, device="meta"),
            "batch returned a tensor on 'meta'; it must be on its generator's device, 'cpu'.",
        ),
        ({"x": torch.zeros(7, 2)}, r"batch returned a tensor of shape \(7, 2\); batch_size is 8"),
        ([torch.tensor(1.0)], r"batch returned a tensor of shape \(\); batch_size is 8"),
        (None, "batch returned a NoneType; it must return tensors"),
        ((torch.zeros(8), "text"), "batch returned a str; it must return tensors"),
    ],
)
def test_bad_batch_is_refused(data: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        train(batch=lambda step, generator: data)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda model, data: 1.0, "loss returned float; it must return a scalar tensor"),
        (lambda model, data: model(data.tokens), r"loss returned a tensor of shape \(8, 10, 7\)"),
        (lambda model, data: torch.zeros(()), "loss returned a tensor without gradient"),
        (lambda model, data: model(data.tokens).sum().to("meta"), "loss returned a tensor on 'meta'"),
        (lambda model, data: (model(data.tokens).sum(), 0), "The loss of step 0 counts no scored place"),
    ],
)
def test_bad_loss_is_refused(loss, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        train(loss=loss)


def test_evaluation_may_not_hide_a_column() -> None:
    with pytest.raises(ValueError, match="evaluate returned 'loss', which is a column of the history already"):
        train(evaluate=lambda model: {"loss": 1.0})


def test_state_that_cannot_be_saved_is_named(tmp_path: Path) -> None:
    class Odd(torch.optim.SGD):
        def step(self, closure=None) -> None:
            super().step()
            self.state[self.param_groups[0]["params"][0]]["odd"] = object()

    with pytest.raises(TypeError, match="state /optimizer/state/0/odd is of type object"):
        train(tmp_path, optimizer=Odd)


def test_own_folder_for_each_run(tmp_path: Path) -> None:
    first = train(tmp_path / "a" / "b")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    assert toy.same(first, train(tmp_path / "c" / "b", stop=0))

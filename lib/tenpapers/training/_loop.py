"""The loop. Devices and several processes are Accelerate's work: `torchrun` (or `accelerate launch`) starts the same
script on any number of GPUs, and inside a SLURM job it does not take the job's tasks for processes of its own.

Randomness is a function of (seed, step): before each step the data's generator and, with the process's rank, the
global generators (dropout) are seeded anew. A checkpoint then needs no random state, and cannot restore a wrong one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import torch
import tqdm
from torch import Tensor, nn

from tenpapers import presets
from tenpapers.training._checkpoint import Store
from tenpapers.training._settings import HARMLESS, Settings, checked, learning_rate

Batch: TypeAlias = Any  # a tensor, or tuples, lists and dicts of tensors
Loss: TypeAlias = Tensor | tuple[Tensor, Tensor]

_COLUMNS = ("step", "examples", "lr", "loss", "grad_norm")


class NonFiniteError(ArithmeticError):
    """The loss or the gradient is not finite; the message names the step."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """What `train` returns.

    `model` is the model it was given, trained in place and left in evaluation mode; `optimizer` the optimizer with
    its state. `history` has one row every `log_every` steps, at each evaluation and at the last step: step (updates
    done), examples (rows seen), lr, loss (mean since the row before), grad_norm (of the last step, before clipping),
    and a column for each number that `evaluate` gave, NaN where it was not asked. `resumed_from` is the step of the
    checkpoint that it started from, or None.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    history: pd.DataFrame
    resumed_from: int | None


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where this process computes."""

    accelerator: Any
    device: torch.device
    rank: int
    processes: int
    bf16: bool

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)


@dataclasses.dataclass
class _Progress:
    """What is kept between steps beside the weights: part of a checkpoint."""

    step: int = 0
    rows: list[dict[str, float]] = dataclasses.field(default_factory=list)
    total: float = 0.0  # loss since the last row, summed over the scored places
    count: float = 0.0
    norm: float = math.nan


def train(
    model: nn.Module,
    batch: Callable[[int, torch.Generator], Batch],
    loss: Callable[[nn.Module, Batch], Loss],
    settings: Settings,
    *,
    seed: int = 0,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    folder: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    device: str | torch.device = "auto",
    data_device: str = "cpu",
    progress: bool = True,
    name: str = "training",
) -> Trained:
    """Train `model` in place, and go on from the newest checkpoint in `folder` when there is one.

    batch(step, generator) gives the data of a step (from 0): a tensor, or a tuple, list or dict of tensors, each with
        `settings.batch_size` rows, on the generator's device. All its randomness comes from the generator. With
        several processes each makes the whole batch and takes its own rows of it.
    loss(model, data) gives the mean loss of these rows, or (sum, count) where rows weigh differently (masks), as
        `next_token_loss` does. It must call the model as `model(...)`; what it makes must be on the data's device.
    optimizer(parameters, lr=..., weight_decay=...): any torch optimizer, say partial(torch.optim.AdamW, betas=...).
    evaluate(model) gives numbers for the history, in evaluation mode without gradients; every process calls it.
    folder: where checkpoints go, one folder for each run; None: none are written. A finished run is read back instead
        of trained again: so a notebook picks up what `torchrun --nproc-per-node 8 script.py` trained on GPUs.
    parameters: JSON values that say what else this run is (task, sizes): a checkpoint made under others is refused.
    data_device: "cpu" (the same data on every machine) or "device" (made where the model is).
    progress: show a bar, with `name` before it.

    Dropout and other global torch randomness depend on (seed, step, process); the caller's random state is left as it
    was. Raises ValueError for bad settings or data, CheckpointError (a ValueError) for a folder that cannot be used or
    that holds another run, both before anything is trained; NonFiniteError when the loss or the gradient is not
    finite: on the CPU before the weights are touched, on a GPU at most 32 steps later, and in no case is such a step
    checkpointed.
    """
    settings = checked(settings)
    if data_device not in ("cpu", "device"):
        raise ValueError(f"data_device is {data_device!r}; {presets.nearest(data_device, ('cpu', 'device'))}.")
    place = _place(device, settings)
    parts = place.processes * settings.accumulate
    if settings.batch_size % parts:
        raise ValueError(
            f"batch_size is {settings.batch_size}; it must be a multiple of {parts}, "
            "the number of processes times accumulate."
        )
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise ValueError("model has no parameters to train.")
    model.to(place.device)
    made = optimizer(weights, lr=settings.lr, weight_decay=settings.weight_decay)
    base_rates = [group["lr"] / settings.lr for group in made.param_groups]

    store, now = None, _Progress()
    if folder is not None:
        identity = _identity(settings, seed, parameters or {}, made, model)
        store = Store(Path(folder), settings.checkpoint_keep, identity, writer=place.rank == 0)
        if store.writer:
            store.open()
        place.accelerator.wait_for_everyone()
        now = _restore(store.load(), model, made) or now
    resumed_from = store.last if store else None

    wrapped = place.accelerator.prepare_model(model, device_placement=False)
    generator = torch.Generator(place.device if data_device == "device" else "cpu")
    look_every = _look_every(place.device)
    pending: list[Tensor] = []  # (loss sum, count, gradient norm) of steps that are not looked at yet
    last_save = time.monotonic()
    gpus = [place.device] if place.device.type == "cuda" else []
    bar = tqdm.tqdm(
        total=settings.steps,
        initial=now.step,
        desc=name,
        leave=False,
        mininterval=0.5,
        disable=not progress or place.rank > 0,
    )
    with bar, torch.random.fork_rng(devices=gpus):
        while now.step < settings.steps:
            step = now.step
            rate = learning_rate(settings, step)
            for group, base in zip(made.param_groups, base_rates, strict=True):
                group["lr"] = base * rate
            data = batch(step, generator.manual_seed(_stream(seed, "data", step)))
            data = _on(data, settings.batch_size, generator.device, place.device)
            _seed_globals(_stream(seed, "model", step, place.rank), place.device)
            model.train()
            total, count = _gradient(wrapped, made, loss, data, settings, place)
            norm = place.accelerator.clip_grad_norm_(weights, settings.grad_clip or math.inf)
            pending.append(torch.stack([total, count, norm.detach().double()]))

            done = step + 1
            last = done == settings.steps
            asked = last or (settings.evaluate_every > 0 and done % settings.evaluate_every == 0)
            logged = last or done % settings.log_every == 0 or (asked and evaluate is not None)
            look = logged or done % look_every == 0
            if look:  # before the update: a loss that is not finite leaves the weights alone
                _settle(pending, now, done, settings, place, store)
                bar.set_postfix(loss=f"{now.total / now.count:.4g}", refresh=False)
            made.step()
            now.step = done
            bar.update(1)
            if logged:
                row = {"step": done, "examples": done * settings.batch_size, "lr": rate}
                row |= {"loss": now.total / now.count, "grad_norm": now.norm}
                if asked and evaluate is not None:
                    _seed_globals(_stream(seed, "evaluate", done), place.device)
                    row |= _evaluated(evaluate, model, place)
                now.rows.append(row)
                now.total = now.count = 0.0
            if last or (store is not None and look and _due(settings, last_save, place)):
                _check_weights(weights, step, settings, store)
                if store is not None and store.writer:
                    store.save(done, _state(model, made, now))
                last_save = time.monotonic()
    place.accelerator.wait_for_everyone()
    model.eval()
    history = pd.DataFrame(now.rows).astype({"step": int, "examples": int})
    return Trained(model, made, history, resumed_from)


def _place(device: str | torch.device, settings: Settings) -> _Place:
    """Device, process and precision; ValueError when they do not fit together."""
    from accelerate import Accelerator, DistributedDataParallelKwargs  # slow to import, and only training needs it

    wanted = presets.device(str(device))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    # One process: Accelerate wraps nothing, and its own idea of the device, fixed at the first call, is not used.
    accelerator = Accelerator(
        cpu=processes > 1 and wanted.type == "cpu",
        device_placement=False,
        mixed_precision="no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=settings.unused_parameters)],
    )
    if processes > 1:
        there = accelerator.device
        if accelerator.num_processes != processes or there.type != wanted.type:
            raise ValueError(
                f"device is {str(device)!r} and WORLD_SIZE is {processes}, but Accelerate was set up before for "
                f"{accelerator.num_processes} processes on {there.type!r}; start anew with torchrun."
            )
        wanted = there
    has_bf16 = wanted.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if settings.precision == "bf16" and not has_bf16:
        raise ValueError(f"precision is 'bf16', which {wanted.type!r} does not offer here; use 'auto' or 'float32'.")
    bf16 = has_bf16 and settings.precision != "float32"
    return _Place(accelerator, wanted, accelerator.process_index, accelerator.num_processes, bf16)


def _look_every(device: torch.device) -> int:
    """Steps between looks at the losses (and the clock): on a GPU each look waits until the device is done."""
    return 1 if device.type == "cpu" else 32


def _stream(*names: int | str) -> int:
    """Seed of the random stream of that name: 63 bits of a hash, so that neighbouring names are independent."""
    return int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:8], "little") >> 1


def _seed_globals(seed: int, device: torch.device) -> None:
    """Seed what dropout draws from. (torch.manual_seed also records a traceback for every call: half a millisecond.)"""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _gradient(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[nn.Module, Batch], Loss],
    data: Batch,
    settings: Settings,
    place: _Place,
) -> tuple[Tensor, Tensor]:
    """Gradient of the mean loss of the whole batch; gives this process's loss sum and count, float64 scalars.

    Processes average their gradients, so each scales its sum by processes / batch_size; where the loss counts scored
    places itself, the gradient is scaled again by batch_size / count once the count of the whole batch is known.
    """
    optimizer.zero_grad(set_to_none=True)
    rows = settings.batch_size // (place.processes * settings.accumulate)
    every_row = torch.full((), float(rows), device=place.device)
    totals, counts, counted = [], [], False
    for part in range(settings.accumulate):
        start = (place.rank * settings.accumulate + part) * rows
        hold = place.accelerator.no_sync(model) if part < settings.accumulate - 1 else contextlib.nullcontext()
        with hold:
            with place.autocast():
                given = loss(model, _rows(data, start, rows))
            counted = isinstance(given, tuple)
            value, count = given if isinstance(given, tuple) else (given, every_row)
            _check_loss(value, place.device)
            share = place.processes / settings.batch_size
            place.accelerator.backward(value * (share if counted else rows * share))
        totals.append(value.detach().double() * (1 if counted else rows))
        counts.append(torch.as_tensor(count, device=place.device).detach().double())
    total, count = torch.stack(totals).sum(), torch.stack(counts).sum()
    if counted:
        whole = place.accelerator.reduce(count, "sum")
        for group in optimizer.param_groups:
            gradients = [p.grad for p in group["params"] if p.grad is not None]
            torch._foreach_mul_(gradients, settings.batch_size / whole)
    return total, count


def _check_loss(value: Any, device: torch.device) -> None:
    if not isinstance(value, Tensor) or value.dim() != 0:
        what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss returned {what}; it must return a scalar tensor, or a tuple (sum, count) of two.")
    if value.device.type != device.type:
        raise ValueError(f"loss returned a tensor on {value.device.type!r}; the model is on {device.type!r}.")
    if not value.requires_grad:
        raise ValueError("loss returned a tensor without gradient: it does not depend on the model's parameters.")


def _settle(
    pending: list[Tensor], now: _Progress, done: int, settings: Settings, place: _Place, store: Store | None
) -> None:
    """Look at the losses of the steps since the last look, over all processes; NonFiniteError at the first bad one."""
    looked = torch.stack(pending)
    if place.processes > 1:
        sums = place.accelerator.reduce(looked[:, :2].contiguous(), "sum")
        looked = torch.cat([sums, looked[:, 2:]], dim=1)
    first = done - len(pending)
    pending.clear()
    for step, (total, count, norm) in enumerate(looked.tolist(), start=first):
        if count == 0:
            raise ValueError(f"The loss of step {step} counts no scored place; the mask of its batch is empty.")
        if not (math.isfinite(total) and math.isfinite(norm)):
            what = f"gradient's norm is {norm}" if math.isfinite(total) else f"loss is {total / count}"
            raise _non_finite(f"{what} at", step, settings, store)
        now.total, now.count, now.norm = now.total + total, now.count + count, norm


def _check_weights(weights: list[nn.Parameter], step: int, settings: Settings, store: Store | None) -> None:
    """NonFiniteError when a finite loss left weights that are not: such weights are never saved or returned."""
    if not all(bool(torch.isfinite(weight).all()) for weight in weights):
        raise _non_finite("weights are not finite after", step, settings, store)


def _non_finite(what: str, step: int, settings: Settings, store: Store | None) -> NonFiniteError:
    kept = "" if store is None or store.last is None else f" (the checkpoint of step {store.last} is kept)"
    return NonFiniteError(
        f"The {what} step {step} of {settings.steps}, counted from 0{kept}: lower lr "
        f"({learning_rate(settings, step):.3g} there), lengthen warmup, or look at batch({step}, generator)."
    )


def _evaluated(
    evaluate: Callable[[nn.Module], Mapping[str, float]], model: nn.Module, place: _Place
) -> dict[str, float]:
    model.eval()
    with torch.no_grad(), place.autocast():
        numbers = {str(key): float(value) for key, value in evaluate(model).items()}
    clash = sorted(set(numbers) & set(_COLUMNS))
    if clash:
        raise ValueError(f"evaluate returned {clash[0]!r}, which is a column of the history already; rename it.")
    return numbers


def _due(settings: Settings, last_save: float, place: _Place) -> bool:
    """Whether it is time for a checkpoint: the first process's clock decides for all."""
    late = time.monotonic() - last_save >= settings.checkpoint_every_seconds
    if place.processes == 1:
        return late
    says = torch.tensor(float(late and place.rank == 0), device=place.device)
    return bool(place.accelerator.reduce(says, "sum").item())


def _tree(function: Callable[[Tensor], Tensor], data: Batch) -> Batch:
    """`function` of every tensor in `data`; ValueError for anything else but tuples, lists and dicts of them."""
    if isinstance(data, Tensor):
        return function(data)
    if isinstance(data, Mapping):
        return {key: _tree(function, value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(_tree(function, value) for value in data))
    if isinstance(data, list | tuple):
        return type(data)(_tree(function, value) for value in data)
    raise ValueError(
        f"batch returned a {type(data).__name__}; it must return tensors, or tuples, lists and dicts of tensors."
    )


def _rows(data: Batch, start: int, rows: int) -> Batch:
    return _tree(lambda tensor: tensor[start : start + rows], data)


def _on(data: Batch, rows: int, made_on: torch.device, device: torch.device) -> Batch:
    """`data` on the model's device, after checking what `batch` promised."""

    def move(tensor: Tensor) -> Tensor:
        if tensor.device.type != made_on.type:
            raise ValueError(
                f"batch returned a tensor on {tensor.device.type!r}; it must be on its generator's device, "
                f"{made_on.type!r}."
            )
        if tensor.dim() == 0 or len(tensor) != rows:
            raise ValueError(
                f"batch returned a tensor of shape {tuple(tensor.shape)}; batch_size is {rows}, "
                f"so it must have {rows} rows."
            )
        return tensor.to(device, non_blocking=True)

    return _tree(move, data)


def _identity(
    settings: Settings, seed: int, parameters: Mapping[str, Any], optimizer: torch.optim.Optimizer, model: nn.Module
) -> dict[str, Any]:
    """The fields that decide the result, by the names that a reader knows."""
    fields: dict[str, Any] = {k: v for k, v in dataclasses.asdict(settings).items() if k not in HARMLESS}
    fields["seed"] = seed
    for key, value in parameters.items():
        try:
            fields[f"parameters.{key}"] = json.loads(json.dumps(value))
        except TypeError:
            raise ValueError(f"parameters[{key!r}] is a {type(value).__name__}; it must be a JSON value.") from None
    fields["optimizer"] = type(optimizer).__name__
    fields |= {f"optimizer.{k}": v for k, v in optimizer.defaults.items() if _plain(v)}
    state = model.state_dict()
    fields |= {f"model.{k}": f"{tuple(v.shape)} {v.dtype}" for k, v in state.items() if isinstance(v, Tensor)}
    return fields


def _plain(value: Any) -> bool:
    entries: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    return all(entry is None or isinstance(entry, bool | int | float | str) for entry in entries)


def _state(model: nn.Module, optimizer: torch.optim.Optimizer, now: _Progress) -> dict[str, Any]:
    progress = {f.name: getattr(now, f.name) for f in dataclasses.fields(now)}
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": progress}


def _restore(state: Any | None, model: nn.Module, optimizer: torch.optim.Optimizer) -> _Progress | None:
    """Put the state of a checkpoint into model and optimizer."""
    if state is None:
        return None
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    flat = [p for group in optimizer.param_groups for p in group["params"]]
    for index, saved in state["optimizer"]["state"].items():
        for key, value in saved.items():  # load_state_dict casts to the parameter's type: keep the state's own
            held = optimizer.state[flat[index]]
            if isinstance(value, Tensor) and held[key].dtype != value.dtype:
                held[key] = value.to(held[key].device)
    return _Progress(**state["progress"])

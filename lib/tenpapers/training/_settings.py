"""What a training run is told: its settings, the learning rate of each step, and the loss that most chapters use."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenpapers import presets

SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "float32", "bf16")


def _setting(default: Any, **accepted: Any) -> Any:
    """A field with a default and the accepted range that `presets` checks."""
    return dataclasses.field(default=default, metadata=presets.field(**accepted).metadata)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a training run; `train` checks every one before it starts."""

    steps: int = _setting(dataclasses.MISSING, minimum=1, doc="updates of the weights")
    batch_size: int = _setting(dataclasses.MISSING, minimum=1, doc="rows of a batch, over all processes together")
    lr: float = _setting(1e-3, above=0, doc="the peak learning rate")
    warmup: int = _setting(0, minimum=0, doc="steps of linear warm-up from 0 to lr, a part of `steps`")
    schedule: str = _setting("cosine", choices=SCHEDULES, doc="shape of the decay after the warm-up")
    lr_end: float = _setting(
        0.0, minimum=0, maximum=1, doc="learning rate at the end of the decay, as a fraction of lr"
    )
    weight_decay: float = _setting(0.0, minimum=0)
    grad_clip: float = _setting(1.0, minimum=0, doc="largest norm of the gradient; 0: no clipping")
    accumulate: int = _setting(1, minimum=1, doc="parts a batch is computed in, to save memory; same result")
    precision: str = _setting("auto", choices=PRECISIONS, doc="auto: bf16 mixed precision on a GPU that has it")
    unused_parameters: bool = _setting(
        False, doc="with several processes: True when a step may leave parameters without gradient (empty experts)"
    )
    log_every: int = _setting(50, minimum=1, doc="steps between rows of the history")
    evaluate_every: int = _setting(0, minimum=0, doc="steps between evaluations; 0: at the end alone")
    checkpoint_every_seconds: float = _setting(60.0, minimum=0, doc="least time between checkpoints, in seconds")
    checkpoint_keep: int = _setting(2, minimum=1, doc="checkpoints kept, the newest ones")


# Settings that do not change the result: a checkpoint made under others may be resumed.
HARMLESS = ("unused_parameters", "checkpoint_every_seconds", "checkpoint_keep")


def checked(settings: Settings) -> Settings:
    """`settings` with every field checked; ValueError of one sentence that names the field."""
    settings = presets.resolve({"full": settings}, "full")
    if settings.warmup > settings.steps:
        raise ValueError(f"warmup is {settings.warmup}; it must be at most steps, {settings.steps}.")
    return settings


def learning_rate(settings: Settings, step: int) -> float:
    """Learning rate of `step`, counted from 0: a pure function, so that a resumed run needs no schedule state.

    Warm-up: lr (step + 1) / warmup. Then, with t going from 0 at the end of the warm-up to 1 just after the last step,
    lr (lr_end + (1 - lr_end) s(t)) with s(t) = (1 + cos pi t) / 2 (cosine), 1 - t (linear) or 1 (constant).
    """
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    t = (step - settings.warmup) / (settings.steps - settings.warmup)
    shape = {"cosine": (1 + math.cos(math.pi * t)) / 2, "linear": 1 - t, "constant": 1.0}[settings.schedule]
    return settings.lr * (settings.lr_end + (1 - settings.lr_end) * shape)


def next_token_loss(
    logits: Float[Tensor, "batch length vocabulary"],
    tokens: Int[Tensor, "batch length"],
    mask: Bool[Tensor, "batch length"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy of the next token, summed over the scored places, in nats, and the number of scored places.

    Logits at place t predict token t + 1; `mask` is True at the tokens that are scored (None: every token). The first
    token is never scored. Returned as (sum, count), which `train` turns into the mean over the whole batch, so that
    neither processes nor parts of a batch with different numbers of scored places are weighted wrongly.
    """
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].float().mT, tokens[:, 1:], reduction="none")
    scored = torch.ones_like(losses) if mask is None else mask[:, 1:].to(losses.dtype)
    return (losses * scored).sum(), scored.sum()

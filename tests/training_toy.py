"""A small run with dropout and masks, for the tests of training and the programs that kill it."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from tenpapers import training
from torch import Tensor, nn

SETTINGS = training.Settings(
    steps=40, batch_size=8, lr=1e-2, warmup=5, weight_decay=0.1, log_every=6, evaluate_every=10, precision="float32"
)


class Strings(NamedTuple):
    tokens: Tensor  # (batch, 10)
    mask: Tensor  # the same shape: True where scored


def settings(**changes: object) -> training.Settings:
    return dataclasses.replace(SETTINGS, **changes)


def model(dropout: float = 0.2, width: int = 12) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(7, width), nn.Dropout(dropout), nn.Linear(width, 7))


class Experts(nn.Module):
    """Each row goes to the expert of its first token, so that some get no gradient in a process, or in any of them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = model(dropout=0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.experts = nn.ModuleList(nn.Linear(7, 7) for _ in range(7))

    def forward(self, tokens: Tensor) -> Tensor:
        logits = self.body(tokens)
        rows = [self.experts[int(row[0])](out) for row, out in zip(tokens, logits, strict=True)]
        return torch.stack(rows)


def batch(step: int, generator: torch.Generator) -> Strings:
    tokens = torch.randint(7, (SETTINGS.batch_size, 10), generator=generator)
    # Rows score very different numbers of places, so that a mean of means is not the mean.
    length = torch.randint(1, 10, (SETTINGS.batch_size, 1), generator=generator)
    return Strings(tokens, torch.arange(10) <= length)


def loss(model: nn.Module, data: Strings) -> tuple[Tensor, Tensor]:
    return training.next_token_loss(model(data.tokens), data.tokens, data.mask)


def evaluate(model: nn.Module) -> dict[str, float]:
    data = batch(0, torch.Generator().manual_seed(1))
    total, count = loss(model, data)
    # One number depends on the weights, one on the global random state.
    return {"held_out": (total / count).item(), "noise": torch.rand(()).item()}


def tensors(trained: training.Trained) -> dict[str, Tensor]:
    """Every number of a trained model and its optimizer, by name."""
    found = {f"model.{k}": v for k, v in trained.model.state_dict().items()}
    for index, state in trained.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    return found


def same(first: training.Trained, second: training.Trained) -> bool:
    """Whether two runs ended with the same bits: weights, optimizer, history."""
    one, two = tensors(first), tensors(second)
    return (
        one.keys() == two.keys()
        and all(torch.equal(one[k], two[k]) for k in one)
        and first.history.equals(second.history)
    )

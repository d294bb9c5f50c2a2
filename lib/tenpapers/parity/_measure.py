"""Measurements that the experiments repeat: sign agreement, crossings, and what a set of counts can classify."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tenpapers import check

from . import _check
from ._data import all_inputs, sample, signs
from ._network import dead_zone_sign, gradient, population_gradient


@dataclasses.dataclass(frozen=True)
class Exponent:
    """Sizes d, the batch that each needs, the fitted power of d, and its spread."""

    d: list[int]
    batch: list[float]
    slope: float
    spread: float


def sign_agreement(
    k: int, d: int, rho: float, batch: int, neurons: int, generator: torch.Generator, flip: float = 0.0
) -> float:
    """Fraction of feature gradients whose thresholded sign is right at the first step, over `neurons` fresh neurons.

    One fresh batch, support 0..k-1; right means the sign of the population gradient. On the generator's device.
    """
    d = check.integer("d", d, 1)
    k, neurons = _check.degree(k, d), check.integer("neurons", neurons, 1)
    rho = check.real("rho", rho, minimum=0.0, below=_check.factorial(k))
    generator = check.random(generator)
    W = signs((neurons, d), generator, torch.float32)
    a = signs((neurons,), generator, torch.float32)
    X, y = sample(batch, d, range(k), generator, flip)
    S = dead_zone_sign(gradient(W, a, X, y, k), rho)[:, :k]
    return float((torch.sign(population_gradient(W, a, range(k), k))[:, :k] == S).double().mean())


def batch_reaching(p: float, fractions: Callable[[int], Sequence[float]], first: int = 8) -> tuple[float, float]:
    """The batch at which the mean of `fractions(batch)` reaches p in (1/2, 1), and its standard error.

    The batch is doubled from `first` until the mean reaches p. The last two sizes are then measured again, because a
    size that stopped the search is there partly by luck, and the squared normal quantile is taken as linear in the
    batch between (or just beyond) them. The error comes from leaving out one fraction (one seed) at a time.
    """
    p = check.real("p", p, above=0.5, below=1.0)
    batch, least = check.integer("first", first, 1), first

    def ask(size: int) -> np.ndarray:
        found = np.asarray(fractions(size), dtype=float)
        if found.ndim != 1 or not found.size or not ((found >= 0) & (found <= 1)).all():
            raise ValueError(f"fractions must give at least one number, all in [0, 1], got {found.tolist()} at {size}")
        return found

    while ask(batch).mean() < p:
        batch *= 2
        if batch > 2**40:
            raise ValueError(f"the fraction stays below {p} up to a batch of {batch // 2}")
    if batch == least:
        return float(batch), 0.0
    before, now = ask(batch // 2), ask(batch)
    n = len(now)

    def position(low: float, high: float) -> float:
        z = [NormalDist().inv_cdf(min(max(q, 0.5 + 1e-6), 1 - 1e-9)) ** 2 for q in (low, p, high)]
        return batch / 2 * (1 + (z[1] - z[0]) / (z[2] - z[0])) if z[2] > z[0] else float(batch)

    whole = position(before.mean(), now.mean())
    left_out = [
        position((before.sum() - before[i]) / (n - 1), (now.sum() - now[i]) / (n - 1)) for i in range(n) if n > 1
    ]
    error = math.sqrt((n - 1) / n * sum((x - np.mean(left_out)) ** 2 for x in left_out)) if n > 1 else 0.0
    return whole, error


def crossing(x: Sequence[float], y: Sequence[float], level: float) -> float:
    """Where y, read along increasing x, first reaches `level` (linear in log x); infinity where it never does."""
    if len(x) != len(y) or not len(x) or not np.isfinite([*x, *y, level]).all():
        raise ValueError(f"x and y must be equally long, not empty and finite, got {len(x)} and {len(y)} entries")
    if min(x) <= 0 or (np.diff(x) <= 0).any():
        raise ValueError("x must be positive and increasing")
    if y[0] >= level:
        return float(x[0])
    for i in range(1, len(x)):
        if y[i] >= level:
            share = (level - y[i - 1]) / (y[i] - y[i - 1])
            return float(math.exp(math.log(x[i - 1]) + share * math.log(x[i] / x[i - 1])))
    return math.inf


def ideal_margins(counts: Tensor, k: int) -> Tensor:
    """y f / k! on each of the 2^k patterns of x_A, for a network of `counts[b]` good neurons b and no noise.

    counts as `coverage` gives them, shape (..., 2^k); so is the result: sum_b counts_b pi(b) pi(x) <b, x>^k / k!.
    """
    k = check.integer("k", k, 1, 12)
    if not isinstance(counts, Tensor) or counts.is_complex():
        raise TypeError(f"counts must be a tensor of real numbers, got {type(counts).__name__}")
    if counts.ndim == 0 or counts.shape[-1] != 2**k:
        raise ValueError(f"counts must hold 2^k = {2**k} patterns, got shape {tuple(counts.shape)}")
    if not bool((torch.isfinite(counts) & (counts >= 0)).all()):
        raise ValueError("counts must be finite and at least 0")
    b = all_inputs(k, device=counts.device)
    outputs = b.prod(dim=1)[:, None] * b.prod(dim=1) * (b @ b.T) ** k  # (pattern b, input x)
    return counts.double() @ outputs / math.factorial(k)


def ideal_accuracy(counts: Tensor, k: int) -> Tensor:
    """Fraction of inputs that such a network gets right, an output of 0 counted as one half; shape (...,)."""
    return (torch.sign(ideal_margins(counts, k)) + 1).mean(dim=-1) / 2


def counted_gradient(
    W: Tensor, a: Tensor, support: Sequence[int], k: int, batch: int, rng: np.random.Generator
) -> Tensor:
    """`gradient` on `batch` fresh samples, however many: the counts of the 2^d inputs are drawn, not the samples.

    Exact in distribution (multinomial counts); d <= 16 and batch < 2^62. W (m, d) in float64.
    """
    W, a = _check.network(W, a)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")
    d, batch = check.integer("d", W.shape[1], 1, 16), check.integer("batch", batch, 1, 2**62)
    X = all_inputs(d, W.dtype, W.device)
    counts = rng.multinomial(batch, np.full(2**d, 2.0**-d))
    weight = torch.as_tensor(counts * (2.0**d / batch), dtype=W.dtype, device=W.device)
    return gradient(W, a, X, X[:, list(_check.support(support, d))].prod(dim=1) * weight, k)


def slope(x: ArrayLike, y: ArrayLike, error: ArrayLike | None = None) -> tuple[float, float]:
    """Slope of log y against log x by least squares, and its standard error.

    With `error`, the standard errors of y, points are weighted by them and the standard error is that of the weights;
    without, every log y has the standard error 1.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or not all((z > 0).all() and (z < np.inf).all() for z in (x, y)):
        raise ValueError("x and y must be positive and finite, equally long and at least two")
    if x.min() == x.max():
        raise ValueError(f"x must hold at least two different numbers, got only {x[0]:g}")
    weight = np.ones(len(x)) if error is None else y / np.maximum(np.asarray(error, dtype=float), 1e-9)
    design = np.stack([np.log(x), np.ones(len(x))], axis=1) * weight[:, None]
    covariance = np.linalg.inv(design.T @ design)
    return float((covariance @ design.T @ (np.log(y) * weight))[0]), float(math.sqrt(covariance[0, 0]))


def accuracy_exponent(curves: pd.DataFrame, level: float, generator: np.random.Generator, draws: int = 40) -> Exponent:
    """The batch at which the mean accuracy passes `level`, per d, and the exponent with which it grows.

    `curves` has one row per network: d, batch, number (0..n-1, the same networks at every batch) and accuracy. The
    spread of the exponent comes from drawing the networks again with replacement; batches read between two sizes are
    linear in the logarithm. Where some d never reaches the level the exponent is infinite.
    """
    sizes = sorted(int(d) for d in curves["d"].unique())
    tables = [curves[curves["d"] == d].pivot_table("accuracy", "batch", "number") for d in sizes]
    parts = [(table.index.to_numpy(dtype=float), table.to_numpy(dtype=float)) for table in tables]
    numbers = curves["number"].nunique()

    def batches(chosen: np.ndarray) -> list[float]:
        return [crossing(x.tolist(), y[:, chosen].mean(axis=1).tolist(), level) for x, y in parts]

    def exponent(found: list[float]) -> float:
        return slope(sizes, found)[0] if np.isfinite(found).all() else math.inf

    found = batches(np.arange(numbers))
    again = [exponent(batches(generator.integers(0, numbers, numbers))) for _ in range(draws)]
    spread = float(np.std([one for one in again if math.isfinite(one)] or [0.0]))
    return Exponent(sizes, found, exponent(found), spread)

"""Correlated play by random pure sequences: how many are needed before memory no longer pays.

In Shapley's game draw T sequences of H cells, each uniform over the six cells in which somebody wins, and let policy
t play sequence t. Playing along earns 1/2 per step. A deviator who knows the opponent's next action earns 1, one who
knows nothing earns 1/3, and after h steps about T 3^-h sequences still fit what was seen.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.stats import binom

from tenpapers import check

from . import _check
from ._check import Array
from ._mixtures import PureMixture


def draw(T: int, H: int, generator: np.random.Generator) -> PureMixture:
    """T independent sequences of H cells, uniform over the six cells off the diagonal."""
    T, H, generator = check.integer("T", T, 1), check.integer("H", H, 1), _check.numpy_generator(generator)
    first = generator.integers(3, size=(T, H), dtype=np.uint8)
    second = (first + generator.integers(1, 3, size=(T, H), dtype=np.uint8)) % 3
    return PureMixture(first, second, (3, 3))


def piecewise_gap(T: float, H: int) -> float:
    """The gap if a sequence were hidden until step log_3 T and known after: 1/2 - 2/3 min(1, log T / (H log 3))."""
    T, H = check.real("T", T, minimum=1.0), check.integer("H", H, 1)
    return 0.5 - 2 / 3 * min(1.0, math.log(T) / (H * math.log(3)))


def expected_gap(T: int, H: int) -> float:
    """The general gap's exact expectation over the draw of the T sequences (the payoff of playing along is 1/2).

    At step h the sequence that is played shares its past with K ~ Binomial(T - 1, 3^-h) others, and the best reply wins
    against the most frequent of the K + 1 next actions, which are independent and uniform.
    """
    T, H = check.integer("T", T, 1), check.integer("H", H, 1)
    return sum(_expected_share(T - 1, 3.0**-h) for h in range(H)) / H - 0.5


def threshold(H: int, gap: float, exact: bool = True) -> float:
    """log_2 of the T at which the expected (or the piecewise) gap has come down to `gap`, in (-1/6, 1/2)."""
    H = check.integer("H", H, 1)
    if not -1 / 6 < check.real("gap", gap, minimum=-1.0) < 0.5:
        raise ValueError(f"gap must lie between -1/6 and 1/2, got {gap!r}")
    if not exact:
        return (0.5 - gap) * 1.5 * H * math.log2(3)
    low, high = 0.0, 1.6 * H + 40
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if expected_gap(max(1, round(2**middle)), H) > gap else (low, middle)
    return high


def _expected_share(others: int, p: float) -> float:
    """E [ largest count / (K + 1) ] of K + 1 uniform draws of three actions, K ~ Binomial(others, p)."""
    mean, deviation = others * p, math.sqrt(others * p * (1 - p))
    if mean > 5000:
        return largest_share(round(mean) + 1)
    K = np.arange(max(0, math.floor(mean - 9 * deviation - 5)), min(others, math.ceil(mean + 9 * deviation + 15)) + 1)
    weights = binom.pmf(K, others, p)
    return float(weights @ [largest_share(int(k) + 1) for k in K])


@lru_cache(maxsize=100_000)
def largest_share(N: int) -> float:
    """E [ largest count ] / N of N uniform draws of three actions.

    Exact up to N = 150 from P(all counts <= m) = N! [x^N] (sum_{k <= m} (x/3)^k / k!)^3; beyond, from the normal limit
    1/3 + (3 / (2 sqrt(pi))) / sqrt(3 N) and a term in 1/N that joins the two at N = 150: off by less than 1e-5.
    """
    if N > 150:
        return _limit(N) + (largest_share(150) - _limit(150)) * 150 / N
    k = np.arange(N + 1)
    terms: Array = np.exp(-k * math.log(3) - np.array([math.lgamma(i + 1) for i in k]))
    expected = 0.0
    for m in range(N):  # E max = sum_m P(max > m)
        cut = np.where(k <= m, terms, 0.0)
        coefficient = float(np.convolve(np.convolve(cut, cut)[: N + 1], cut)[N])
        expected += 1 - coefficient * math.exp(math.lgamma(N + 1))
    return expected / N


def _limit(N: int) -> float:
    return 1 / 3 + 1.5 / math.sqrt(math.pi) / math.sqrt(3 * N)

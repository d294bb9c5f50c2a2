"""The adversary of the statistical-query lower bound, and queries to play against it."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tenpapers import check

from . import _check
from ._data import all_inputs


class SqAdversary:
    """An oracle of tolerance tau that commits to no support for as long as it can.

    A query is q(X, y) with a value in [-1, 1] per row. It splits into q0(x) + y q1(x); the oracle answers E q0, which
    does not depend on the support, and crosses out the supports A for which that answer is off by more than tau:
    |E q1 chi_A| > tau. By Parseval a query crosses out at most 1/tau^2 of the C(d, k) supports. All 2^d inputs are
    enumerated: d <= 16.
    """

    def __init__(self, d: int, k: int, tau: float) -> None:
        self.d = check.integer("d", d, 1, 16)
        self.k = _check.degree(k, self.d)
        self.tau = check.real("tau", tau, above=0.0, below=1.0)
        self.queries = 0
        self._X = all_inputs(self.d)
        self._supports = list(itertools.combinations(range(self.d), self.k))
        # Input number i has x_j = +1 where bit d-1-j is set; chi_A is minus-one to the number of unset bits in A.
        self._masks = torch.tensor([sum(1 << (self.d - 1 - j) for j in A) for A in self._supports])
        self._alive = torch.ones(len(self._supports), dtype=torch.bool)

    def answer(self, q: Callable[[Tensor, Tensor], Tensor]) -> float:
        """E q0, within tau of E q(x, chi_A(x)) for every surviving A. Counts one query.

        q gets X (2^d, d) and y (2^d,), float64, once with every y = +1 and once with every y = -1. Raises ValueError
        for values outside [-1, 1], not finite, or of another shape; TypeError for values that are not real.
        """
        ones = torch.ones(len(self._X), dtype=torch.float64)
        plus, minus = self._values(q, ones.clone()), self._values(q, -ones)  # a query may write on what it is given
        self.queries += 1
        self._alive &= self.coefficients((plus - minus) / 2).abs() <= self.tau
        return float((plus + minus).mean() / 2)

    def coefficients(self, q1: Tensor) -> Tensor:
        """E q1 chi_A for every support A, ordered as itertools.combinations: a fast Walsh-Hadamard transform."""
        f = q1.reshape(1, -1)
        for _ in range(self.d):  # after d rounds the last axis is all used up and the first runs over subsets
            f = f.reshape(len(f), 2, -1)
            f = torch.cat([f[:, 0] + f[:, 1], f[:, 1] - f[:, 0]], dim=1).reshape(2 * len(f), -1)
        return f.flatten()[self._masks] / 2**self.d

    def _values(self, q: Callable[[Tensor, Tensor], Tensor], y: Tensor) -> Tensor:
        if not callable(q):
            raise TypeError(f"a query must be a function of X and y, got {type(q).__name__}")
        values = q(self._X.clone(), y)
        if not isinstance(values, Tensor) or values.is_complex() or values.dtype == torch.bool:
            raise TypeError(f"a query must return a real tensor, got {getattr(values, 'dtype', type(values).__name__)}")
        if values.shape != y.shape:
            raise ValueError(
                f"a query must return one value per row, shape {tuple(y.shape)}, got {tuple(values.shape)}"
            )
        values = values.detach().double()
        largest = float(values.abs().max())
        if math.isnan(largest) or largest > 1:
            raise ValueError(f"a query's values must lie in [-1, 1], got one of size {largest!r}")
        return values

    @property
    def survivors(self) -> list[tuple[int, ...]]:
        """The supports that every answer so far is consistent with."""
        return [A for A, alive in zip(self._supports, self._alive.tolist(), strict=True) if alive]

    @property
    def bound(self) -> float:
        """Queries without which no algorithm is left with one support: (C(d, k) - 1) tau^2."""
        return (len(self._supports) - 1) * self.tau**2


def greedy_game(d: int, k: int, tau: float, generator: torch.Generator) -> SqAdversary:
    """Play q = y sign(sum of characters of about 2/(pi tau^2) surviving supports) until one support is left.

    The sign spreads its square norm evenly over the characters that it is made of, so that each query crosses out
    nearly as many supports as Parseval allows; when it crosses out none, one support is asked for alone.
    """
    adversary, generator = SqAdversary(d, k, tau), check.random(generator)
    group = max(1, int(2 / (math.pi * tau**2)))
    while len(left := adversary.survivors) > 1:
        size = min(group, len(left))
        while len(adversary.survivors) == len(left):
            order = torch.randperm(len(left), generator=generator)[:size].tolist()
            chosen = [left[i] for i in order]
            adversary.answer(partial(_sign_of_sum, chosen))
            size = max(1, size // 2)
    return adversary


def _sign_of_sum(supports: list[tuple[int, ...]], X: Tensor, y: Tensor) -> Tensor:
    """y sign(sum_A chi_A(x)) per row."""
    return y * torch.sign(torch.stack([X[:, list(A)].prod(dim=1) for A in supports], dim=1).sum(dim=1))

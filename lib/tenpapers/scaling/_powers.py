"""Divided differences of F(x) = x^N at points near 1, written x = 1 - p with 0 <= p < 1, without cancellation.

Geometric sums are such differences, F[1, x] = sum_(s<N) x^s, and sums of sums are differences of higher order.
Where N p is small a Taylor series is summed; elsewhere the point farthest from 1 gives the denominator.
"""

import torch
from torch import Tensor

_SMALL = 0.5  # N p below which the series is used
_TERMS = 14  # its length: 15 * 0.5^14 / 16! is far below double precision


def _series(N: int, p: Tensor, q: Tensor, order: int) -> Tensor:
    """sum_(n>=0) (-1)^n binomial(N, order + n) h_n(p, q), h_n the sum of all monomials p^i q^(n-i)."""
    total, h, power = torch.zeros_like(p), torch.ones_like(p), torch.ones_like(p)
    binomial = 1.0
    for j in range(1, min(N, order + _TERMS) + 1):
        binomial *= (N - j + 1) / j
        if j >= order:
            total += (1.0 if (j - order) % 2 == 0 else -1.0) * binomial * h
            power = power * p
            h = h * q + power
    return total


def _pair(N: int, near: Tensor, far: Tensor) -> Tensor:
    """F[1 - near, 1 - far], near <= far; N (1 - near)^(N - 1) where they meet."""
    log = torch.log1p(-near)
    gap = torch.log1p(-far) - log
    ratio = torch.where(gap == 0, float(N), torch.expm1(N * gap) / torch.where(gap == 0, 1.0, torch.expm1(gap)))
    return torch.exp((N - 1) * log) * ratio


def first(N: int, p: Tensor) -> Tensor:
    """F[1, 1 - p] = sum_(s<N) (1 - p)^s."""
    return torch.where(p == 0, float(N), -torch.expm1(N * torch.log1p(-p)) / torch.where(p == 0, 1.0, p))


def second(N: int, p: Tensor, q: Tensor) -> Tensor:
    """F[1, 1 - p, 1 - q]."""
    near, far = torch.minimum(p, q), torch.maximum(p, q)
    small = N * far < _SMALL
    difference = (first(N, near) - _pair(N, near, far)) / torch.where(small, 1.0, far)
    return torch.where(small, _series(N, near.clamp(max=_SMALL / N), far.clamp(max=_SMALL / N), 2), difference)


def third(N: int, p: Tensor, q: Tensor) -> Tensor:
    """F[1, 1, 1 - p, 1 - q]."""
    near, far = torch.minimum(p, q), torch.maximum(p, q)
    small = N * far < _SMALL
    difference = (second(N, near, torch.zeros_like(near)) - second(N, near, far)) / torch.where(small, 1.0, far)
    return torch.where(small, _series(N, near.clamp(max=_SMALL / N), far.clamp(max=_SMALL / N), 3), difference)

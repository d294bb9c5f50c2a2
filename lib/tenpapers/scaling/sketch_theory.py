"""What a Gaussian sketch does to a spectrum: the quantities and the explicit constants of the derivation's proofs.

S is an (M, d) matrix with entries N(0, 1/M), spectrum the eigenvalues lambda of H in descending order; modes are split
at k into a head i <= k and a tail i > k, with A_k = S_tail diag(lambda_tail) S_tail^T.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from . import _check


class Split(NamedTuple):
    """Extreme eigenvalues of the two halves of a sketch."""

    head: float
    """smallest eigenvalue of S_head^T S_head, 0 when k > M; 1 when the head is empty"""
    low: float
    """smallest eigenvalue of A_k"""
    high: float
    """largest eigenvalue of A_k"""


def split(S: Float[Tensor, "M d"], spectrum: Float[Tensor, " d"], k: int) -> Split:
    """Extreme eigenvalues of head and tail, 0 <= k < d, computed from S itself."""
    head, tail = S[:, :k], S[:, k:]
    inner = 0.0 if k > S.shape[0] else torch.linalg.eigvalsh(head.T @ head)[0] if k else 1.0
    outer = torch.linalg.eigvalsh(tail * spectrum[k:] @ tail.T)
    return Split(float(inner), float(outer[0]), float(outer[-1]))


def tail_bounds(spectrum: Float[Tensor, " d"], M: int, k: int, t: float) -> tuple[float, float]:
    """Bounds on the eigenvalues of A_k, each failing with probability at most exp(-M t^2 / 2) over the sketch.

        (sqrt((T - l) / M) - (1 + t) sqrt(l))_+^2   and   (sqrt(T / M) + (1 + t) sqrt(l))^2,

    T = sum_(i>k) lambda_i, l = lambda_(k+1): Gordon's comparison and Gaussian concentration. 0 <= k < d, t >= 0.
    """
    total, top = float(spectrum[k:].sum()), float(spectrum[k])
    low = max(0.0, math.sqrt(max(0.0, total - top) / M) - (1 + t) * math.sqrt(top)) ** 2
    return low, (math.sqrt(total / M) + (1 + t) * math.sqrt(top)) ** 2


def floor_index(spectrum: Float[Tensor, " d"], M: int, t: float) -> int:
    """The smallest k with sum_(i>=k+2) lambda_i >= 4 (1 + t)^2 M lambda_(k+1): A_k >= (1 + t)^2 lambda_(k+1) there.

    Raises ValueError when the spectrum has no such k (it is cut off too early, or decays too fast).
    """
    tails = spectrum.flip(0).cumsum(0).flip(0)  # sum from i on
    wide = tails[1:] >= 4 * (1 + t) ** 2 * M * spectrum[:-1]
    if not bool(wide.any()):
        raise ValueError(
            f"spectrum must have a tail that is wide for M = {M}, got {spectrum.numel()} modes without one"
        )
    return int(wide.nonzero()[0])


def approximation_bound(spectrum: Float[Tensor, " d"], coefficients: Float[Tensor, " d"], M: int) -> float:
    """(32/M sum_(i>k) lambda_i + 50 lambda_(k+1)) sum_(i<=k) c_i + sum_(i>k) lambda_i c_i, k = floor(M/4).

    E Approx is below it except with probability 2 exp(-M / 32) over the sketch; M at least 4.
    """
    k = _check.integer("M", M, 4) // 4
    tail = 32 / M * float(spectrum[k:].sum()) + 50 * float(spectrum[k])
    return tail * float(coefficients[:k].sum()) + float(spectrum[k:] @ coefficients[k:])


def leftover(S: Float[Tensor, "M d"], spectrum: Float[Tensor, " d"], tail: float = 0.0) -> Float[Tensor, " d"]:
    """Diagonal of I - P: the share of each mode that the sketch loses, so that E Approx = sum_i lambda_i c_i of it.

    tail is the trace of modes beyond d, which enter through their mean, Sigma + tail / M I (their own share: all).
    """
    A = S * spectrum.sqrt()
    if tail == 0.0:
        Q = torch.linalg.qr(A.T).Q  # rows of A, orthonormal
        return 1 - Q.square().sum(1)
    Sigma = A @ A.T + tail / S.shape[0] * torch.eye(S.shape[0], dtype=S.dtype, device=S.device)
    return 1 - (A * torch.linalg.solve(Sigma, A)).sum(0)


def spectrum_bound(spectrum: Float[Tensor, " d"], M: int) -> Float[Tensor, " M"]:
    """lambda_j (2 + sqrt(r_j / M))^2 with r_j = sum_(i>=j) lambda_i / lambda_j, for j = 1..M.

    mu_j is below it for all j at once except with probability M exp(-M / 2) over the sketch.
    """
    ranks = spectrum.flip(0).cumsum(0).flip(0)[:M] / spectrum[:M]
    return spectrum[:M] * (2 + (ranks / M).sqrt()) ** 2

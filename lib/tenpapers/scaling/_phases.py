"""Second moments of stochastic gradient descent, many steps at a time.

Self-contained: a recursion whose linear part is diagonal plus rank one, with a constant stepsize g,

    x_i' = (1 - linear g mu_i + quadratic g^2 mu_i^2) x_i + coupling g^2 mu_i sum_j mu_j x_j + g^2 f_i ,

is affine, x' = A x + g^2 f with A symmetric. With I - A = Q diag(m) Q^T,

    x_K = Q [ (1 - m)^K Q^T x_0 + g^2 (1 - (1 - m)^K) / m  Q^T f ] ,

so K steps cost as much as one. I - A is decomposed, not A, and (1 - m)^K is exp(K log1p(-m)): a slow direction with
m = 1e-12 keeps its relative accuracy.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Recursion(NamedTuple):
    """Coefficients of the recursion in the module's first lines."""

    linear: float
    quadratic: float
    coupling: float


def stability_edge(mu: Float[Tensor, " M"], recursion: Recursion) -> float:
    """Largest stepsize below which every direction contracts (I - A is positive definite).

    I - A = D - c c^T with D diagonal is positive definite iff D > 0 and c^T D^-1 c < 1; with s = 1 / g that is
    h(s) = sum_i coupling mu_i / (linear s - quadratic mu_i) < 1. h is decreasing and convex to the right of its
    last pole: Newton's iteration started to the left of the root increases to it.
    """
    linear, quadratic, coupling = recursion
    top = float(mu.max())
    s = max((quadratic + coupling) * top, coupling * float(mu.sum())) / linear  # h(s) >= 1 at either
    for _ in range(100):
        gap = linear * s - quadratic * mu
        h = float((coupling * mu / gap).sum())
        slope = float((coupling * linear * mu / gap**2).sum())
        step = (h - 1.0) / slope
        s += step
        if step <= 1e-15 * s:
            break
    return 1.0 / s


def growth_factor(mu: Float[Tensor, " M"], stepsize: float, recursion: Recursion) -> float:
    """Largest eigenvalue of A: the factor by which the second moment grows per step in the long run."""
    linear, quadratic, coupling = recursion
    step = stepsize * mu
    A = torch.diag(1 - linear * step + quadratic * step**2) + coupling * torch.outer(step, step)
    return float(torch.linalg.eigvalsh(A)[-1])


class Decomposition(NamedTuple):
    """I - A = Q diag(m) Q^T for one stepsize."""

    m: Float[Tensor, " M"]
    Q: Float[Tensor, "M M"]

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs (m of a block, the block's rows of Q^T), each block small enough for memory."""
        yield self.m, self.Q.T


def decompose(mu: Float[Tensor, " M"], stepsize: float, recursion: Recursion) -> Decomposition:
    """Eigenvalues and eigenvectors of I - A at a stepsize below the stability edge."""
    linear, quadratic, coupling = recursion
    step = stepsize * mu
    m, Q = torch.linalg.eigh(torch.diag(linear * step - quadratic * step**2) - coupling * torch.outer(step, step))
    return Decomposition(m, Q)


def advance(
    mu: Float[Tensor, " M"],
    x: Float[Tensor, "M columns"],
    forcing: Float[Tensor, "M columns"],
    stepsize: float,
    count: Float[Tensor, " columns"],
    recursion: Recursion,
) -> Float[Tensor, "M columns"]:
    """x after `count` steps of the recursion at one stepsize; every column has its own start, forcing and count."""
    result = torch.zeros_like(x)
    for m, rows in decompose(mu, stepsize, recursion).blocks():
        decay = count * torch.log1p(-m[:, None].clamp(max=1.0))  # (block, columns)
        coefficients = decay.exp() * (rows @ x) + stepsize**2 * (-torch.expm1(decay) / m[:, None]) * (rows @ forcing)
        result += rows.T @ coefficients
    return result

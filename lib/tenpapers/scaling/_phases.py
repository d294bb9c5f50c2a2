"""Second moments of stochastic gradient descent, many steps at a time.

Self-contained: a recursion whose linear part is diagonal plus rank one, with a stepsize g that is constant in a phase,

    x_i' = (1 - linear g mu_i + quadratic g^2 mu_i^2) x_i + coupling g^2 mu_i sum_j mu_j x_j + g^2 f_i ,   mu_i > 0,

is affine, x' = A x + g^2 f, with A symmetric. With I - A = Q diag(m) Q^T,

    x_K = Q [ (1 - m)^K Q^T x_0 + g^2 (1 - (1 - m)^K) / m  Q^T f ] ,

so K steps cost as much as one. I - A is decomposed, not A, and (1 - m)^K is exp(K log1p(-m)).

I - A = diag(e) - c c^T, so its eigenvalues are the roots of the secular equation sum_j c_j^2 / (e_j - m) = 1, one
between any two neighbouring poles, and its eigenvectors are c_j / (e_j - m). Against LAPACK's dense `eigh`, on one
core: as fast at M = 128, ten times as fast at M = 2048 (O(M^2) against O(M^3) operations), and every eigenvalue keeps
its relative accuracy when mu spans 10^12, where `eigh` is left with five digits. Q is never stored: it is read in
blocks.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_EPS = torch.finfo(torch.float64).eps
_BLOCK = {"cpu": 2**18, "cuda": 2**26}  # entries of a block: what a CPU core's cache holds; what fills a GPU


class Recursion(NamedTuple):
    """Coefficients of the recursion in the module's first lines."""

    linear: float
    quadratic: float
    coupling: float


class Decomposition(NamedTuple):
    """I - A = Q diag(m) Q^T at one stepsize; m_i = origin_i + offset_i, both kept for their accuracy."""

    poles: Float[Tensor, " M"]  # e_j, in the order of mu
    weights: Float[Tensor, " M"]  # c_j, so that the row of root i is weights / (poles - m_i), normalised
    origins: Float[Tensor, " roots"]  # the pole nearest to each root
    offsets: Float[Tensor, " roots"]
    ties: list[Tensor]  # positions of equal poles: all but one combination of them are eigenvectors already

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs (block of m, the same rows of Q^T), of shapes (rows,) and (rows, M)."""
        M = self.poles.numel()
        for origin, offset in zip(
            *(part.split(_rows(self.poles)) for part in (self.origins, self.offsets)), strict=True
        ):
            rows = self.weights / ((self.poles - origin[:, None]) - offset[:, None])
            yield origin + offset, rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        for tie in self.ties:
            # Householder's reflection takes the tied weights to the first axis; its other rows are orthogonal to them
            direction = self.weights[tie] / torch.linalg.vector_norm(self.weights[tie])
            direction[0] += 1.0
            reflection = torch.eye(tie.numel(), dtype=direction.dtype, device=direction.device)
            reflection -= torch.outer(direction, direction) / direction[0]
            rows = torch.zeros(tie.numel() - 1, M, dtype=direction.dtype, device=direction.device)
            rows[:, tie] = reflection[1:]
            yield self.poles[tie[1:]], rows


def _rows(poles: Tensor) -> int:
    return max(1, _BLOCK.get(poles.device.type, _BLOCK["cpu"]) // poles.numel())


def _secular_roots(e: Tensor, c2: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Roots m_i of sum_j c2_j / (e_j - m) = 1 for i in `index`: m_i in (e_(i-1), e_i), m_0 in (0, e_0).

    e (M,) strictly ascending, diag(e) - c c^T positive definite. Returns (nearest pole, offset from it).
    f(m) = 1 - sum_j c2_j / (e_j - m) is replaced by rest - s / (e_(i-1) - m) - q / (e_i - m), with the true weight at
    the nearest pole and the other two numbers from the value and slope, at the current point, of the sum over all
    other poles; the quadratic that results is solved (the fixed weight method of Li 1994, LAPACK's working note 89).
    A bracket takes over, by bisection, where that leaves it. 2 to 4 iterations, up to 12 near the stability edge.
    """
    first = index == 0
    previous = (index - 1).clamp(min=0)
    left, right = torch.where(first, 0.0, e[previous]), e[index]
    middle = (left - right) / 2
    f = 1.0 - ((e - right[:, None]) - middle[:, None]).reciprocal_() @ c2  # falls from +inf to -inf between the poles
    upper = f >= 0
    near_right = upper | first
    nearest = torch.where(near_right, index, previous)[:, None]
    weight = c2[nearest[:, 0]]
    origin = torch.where(near_right, right, left)
    shifted = e - origin[:, None]  # (rows, M), exact for close poles
    pole_low, pole_high = left - origin, right - origin
    x = (pole_low + pole_high) / 2
    low, high = torch.where(upper, x, pole_low), torch.where(upper, pole_high, x)
    done = torch.zeros_like(first)
    for _ in range(100):
        inverse = (shifted - x[:, None]).reciprocal_().scatter_(1, nearest, 0.0)
        f = 1.0 - inverse @ c2 + weight / x
        slope = inverse.square_() @ c2
        low, high = torch.where(f > 0, x, low), torch.where(f < 0, x, high)
        to_low, to_high = pole_low - x, pole_high - x
        q = torch.where(near_right, weight, slope * to_high**2) + torch.where(first, slope * to_high**2, 0.0)
        s = torch.where(first, 0.0, torch.where(near_right, slope * to_low**2, weight))
        rest = f + s / to_low + q / to_high
        # rest (pole_low - n) (pole_high - n) = s (pole_high - n) + q (pole_low - n)
        half = (rest * (pole_low + pole_high) - s - q) / 2
        product = rest * pole_low * pole_high - s * pole_high - q * pole_low
        root = (half**2 - rest * product).clamp(min=0.0).sqrt()
        large = half + torch.where(half >= 0, root, -root)
        n, other = large / rest, product / large
        n = torch.where((n > pole_low) & (n < pole_high), n, other)
        n = torch.where(first, pole_high - q / rest, n)
        close = (n - x).abs() <= 1e-8 * torch.minimum(n.abs(), x.abs())  # the next error is the square of this one
        n = torch.where(close | ((n > low) & (n < high)), n, (low + high) / 2)
        x = torch.where(done, x, n)
        done |= close
        if bool(done.all()):
            break
    return origin, x


def decompose(mu: Float[Tensor, " M"], stepsize: float, recursion: Recursion) -> Decomposition:
    """Eigenvalues and eigenvectors of I - A at a stepsize below the stability edge."""
    linear, quadratic, coupling = recursion
    step = stepsize * mu
    poles = step * (linear - quadratic * step)
    weights = (coupling**0.5 * step).clamp(min=1e-150)  # its square must not vanish
    e, group, sizes = torch.unique(poles, return_inverse=True, return_counts=True)  # ascending
    c2 = torch.zeros_like(e).index_add_(0, group, weights**2)
    index = torch.arange(e.numel(), device=e.device)
    log_c2 = torch.zeros_like(e)
    origins, offsets = [], []
    for block in index.split(_rows(e)):
        origin, offset = _secular_roots(e, c2, block)
        # Loewner: the roots found are exactly those of c_j^2 = (e_j - m_j) prod_(i != j) (e_j - m_i) / (e_j - e_i);
        # eigenvectors made of these c_j are orthogonal to machine precision (Gu and Eisenstat 1994).
        gaps = e - e[block][:, None]
        gaps[torch.arange(block.numel(), device=e.device), block] = 1.0
        log_c2 += (((e - origin[:, None]) - offset[:, None]) / gaps).prod(dim=0).abs().log()
        origins.append(origin)
        offsets.append(offset)
    weights = weights * ((0.5 * log_c2).exp() / c2.sqrt())[group]
    ties = [torch.nonzero(group == g)[:, 0] for g in torch.nonzero(sizes > 1)[:, 0]]
    return Decomposition(poles, weights, torch.cat(origins), torch.cat(offsets), ties)


def evolve(
    mu: Float[Tensor, " M"],
    x: Float[Tensor, "M columns"],
    forcing: Float[Tensor, "M columns"],
    phases: Sequence[tuple[float, Float[Tensor, " columns"]]],
    recursion: Recursion,
) -> Float[Tensor, "M columns"]:
    """x after the phases (stepsize, number of steps in each column), in this order.

    Every column has its own start x, forcing f and counts, so that one decomposition per stepsize serves all.
    """
    for stepsize, count in phases:
        active = count > 0
        start, force, steps = x[:, active], stepsize**2 * forcing[:, active], count[active]
        after = torch.zeros_like(start)
        for m, rows in decompose(mu, stepsize, recursion).blocks():
            decay = steps * torch.log1p(-m[:, None].clamp(max=1.0))  # (block, columns)
            after += rows.T @ (decay.exp() * (rows @ start) - torch.expm1(decay) / m[:, None] * (rows @ force))
        x = x.index_copy(1, torch.nonzero(active)[:, 0], after)
    return x


def stability_edge(mu: Float[Tensor, " M"], recursion: Recursion) -> float:
    """Largest stepsize below which every direction contracts (I - A is positive definite).

    diag(e) - c c^T is positive definite iff e > 0 and sum_j c_j^2 / e_j < 1; with s = 1 / g that is
    h(s) = sum_i coupling mu_i / (linear s - quadratic mu_i) < 1. h is decreasing and convex to the right of its
    last pole: Newton's iteration started to the left of the root increases to it.
    """
    linear, quadratic, coupling = recursion
    top = float(mu.max())
    mu = mu / top  # in these units no square below vanishes or overflows
    s = max(quadratic + coupling, coupling * float(mu.sum())) / linear  # h(s) >= 1 at either
    for _ in range(100):
        gap = linear * s - quadratic * mu
        h = float((coupling * mu / gap).sum())
        slope = float((coupling * linear * mu / gap**2).sum())
        step = (h - 1.0) / slope
        s += step
        if step <= 1e-15 * s:
            break
    return 1.0 / s / top


def growth_factor(mu: Float[Tensor, " M"], stepsize: float, recursion: Recursion) -> float:
    """Largest eigenvalue of A: the factor by which x grows per step in the long run, at any stepsize."""
    linear, quadratic, coupling = recursion
    step = stepsize * mu
    A = torch.diag(1.0 - linear * step + quadratic * step**2) + coupling * torch.outer(step, step)
    return float(torch.linalg.eigvalsh(A)[-1])

"""GLM-tron's and SGD's expected risk under label noise, Bernoulli design, without sampling.

Every coordinate is a Markov chain on the line, hit with probability lambda_i per step. The backward equation
f <- (1 - lambda_i) f + lambda_i Q f, from f = the risk's contribution at the end to the start w0_i, is solved on
splines. Q, the effect of one hit, is the same for all coordinates with the same |w*_i|.

f has a kink at 0 (GLM-tron) or a jump (SGD), which noise of standard deviation gamma sigma blurs: a spline ends at 0 on
either side, its knots crowd towards 0, and Gaussian means are integrated panel by panel.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import BSpline
from torch import Tensor

from tenpapers import check
from tenpapers.one_pass.schedule import geometric_schedule

from . import _risk

DEGREE = 5  # of the splines, which are smooth but at 0
RATIO = 1.35  # neighbouring panels differ by this factor
SHARP = 1.15  # and by this one where f is sharp
DEEP = 2.0  # and by this one closer to 0 than 2^-FINEST gamma sigma
FINEST = 7
TINY = 1e-300


@cache
def _legendre(points: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on (-1, 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return torch.as_tensor(nodes), torch.as_tensor(weights)


@cache
def _hermite(points: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of a mean over N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return torch.as_tensor(nodes), torch.as_tensor(weights) / math.sqrt(2 * math.pi)


@contextmanager
def finer_splines(factor: float) -> Iterator[None]:
    """Within the block, `density_evolution` uses `factor` times as many knots per octave: how exact is it?"""
    global RATIO, SHARP, DEEP, FINEST
    factor = check.real("factor", factor, minimum=1.0)
    before = RATIO, SHARP, DEEP, FINEST
    RATIO, SHARP, DEEP = (ratio ** (1 / factor) for ratio in before[:3])
    FINEST += math.ceil(math.log2(factor))
    try:
        yield
    finally:
        RATIO, SHARP, DEEP, FINEST = before


class Splines:
    """Splines on the line with knots `edges`, one on each side of 0, by their values at collocation points `nodes`.

    One spline per side, not a polynomial per panel: small kinks between panels would be taken for curvature by the
    noise, hit after hit. The node that ends the left spline is a tiny negative number, so that it stays on its side.
    """

    def __init__(self, edges: Tensor) -> None:
        local, _ = np.polynomial.legendre.leggauss(DEGREE + 1)
        self.edges, self.local = edges, torch.as_tensor(local)
        gaps = self.local[:, None] - self.local + torch.eye(DEGREE + 1, dtype=edges.dtype)
        self.barycentric = 1.0 / gaps.prod(dim=1)
        self.centers, self.halves = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
        inside = (self.centers[:, None] + self.halves[:, None] * self.local).numpy()  # (panels, DEGREE + 1)
        nodes, blocks = [], []
        for side in (edges <= 0, edges >= 0):
            knots = np.pad(edges[side].numpy(), DEGREE, mode="edge")
            points = np.lib.stride_tricks.sliding_window_view(knots[1:-1], DEGREE).mean(axis=1)  # Greville's
            points[[0, -1]] = knots[[0, -1]]
            panels = inside[(inside[:, 0] > 0) == bool(side[-1])].ravel()
            design = [BSpline.design_matrix(x, knots, DEGREE).toarray() for x in (points, panels)]
            blocks.append(torch.as_tensor(np.linalg.solve(design[0].T, design[1].T).T))
            nodes.append(torch.as_tensor(points))
        nodes[0][-1] = -TINY
        self.nodes = torch.cat(nodes)
        self.spread_out = torch.block_diag(*blocks)  # (panels * (DEGREE + 1), nodes): values at `nodes` to `inside`

    def basis(self, panel: Tensor, v: Tensor) -> Tensor:
        """Values (..., DEGREE + 1) at v of the Lagrange polynomials of the points inside a panel."""
        gap = ((v - self.centers[panel]) / self.halves[panel])[..., None] - self.local
        terms = self.barycentric / torch.where(gap.abs() < 1e-14, 1e-14, gap)
        return terms / terms.sum(dim=-1, keepdim=True)

    def locate(self, v: Tensor) -> Tensor:
        """The panel of every v, the outermost for v outside."""
        return (torch.searchsorted(self.edges, v.contiguous(), right=True) - 1).clamp(0, self.centers.numel() - 1)

    def rows(self, panel: Tensor, values: Tensor, row: Tensor, n: int) -> Tensor:
        """The (n, nodes) matrix whose row[pair] adds up values (pairs, DEGREE + 1) in the panel of each pair."""
        matrix = torch.zeros(n * self.centers.numel(), DEGREE + 1, dtype=values.dtype)
        matrix.index_add_(0, row * self.centers.numel() + panel, values)
        return matrix.view(n, -1) @ self.spread_out

    def mean(self, m: Float[Tensor, " n"], spread: float) -> Float[Tensor, "n nodes"]:
        """The matrix that takes nodal values of f to E f(m_i + spread eta), eta standard normal."""
        n = m.numel()
        inside = m.clamp(float(self.edges[0]), float(self.edges[-1]))
        home = self.locate(inside)
        if spread == 0.0:
            return self.rows(home, self.basis(home, inside), torch.arange(n), n)
        reach = 7.0 * spread
        whole = (self.edges[home] <= m - reach) & (m + reach <= self.edges[home + 1])
        points, weights = _hermite(DEGREE // 2 + 1)  # exact there
        first = torch.nonzero(whole)[:, 0]
        v = m[first, None] + spread * points
        one = torch.einsum("nqp,q->np", self.basis(home[first, None], v), weights)
        # the others: integrate over every panel that the window m +- reach meets, the outermost reaching to infinity
        low, high = self.edges[:-1].clone(), self.edges[1:].clone()
        low[0], high[-1] = -torch.inf, torch.inf
        split = torch.nonzero(~whole)[:, 0]
        a = torch.maximum(low, (m[split] - reach)[:, None])
        b = torch.minimum(high, (m[split] + reach)[:, None])
        where, panel = torch.nonzero(a < b, as_tuple=True)
        half, middle = (b - a)[where, panel] / 2, (b + a)[where, panel] / 2
        many = torch.empty(where.numel(), DEGREE + 1, dtype=m.dtype)
        mass = torch.zeros(split.numel(), dtype=m.dtype)
        for chosen, size in ((half <= spread, 8), (half > spread, 24)):  # the density is flatter in a narrow piece
            points, weights = _legendre(size)
            v = middle[chosen, None] + half[chosen, None] * points
            row = where[chosen]
            density = torch.exp(-(((v - m[split][row, None]) / spread) ** 2) / 2) * weights * half[chosen, None]
            mass.index_add_(0, row, density.sum(dim=1))
            many[chosen] = torch.einsum("nqp,nq->np", self.basis(panel[chosen, None], v), density)
        many /= mass[where, None]
        return self.rows(torch.cat([home[first], panel]), torch.cat([one, many]), torch.cat([first, split[where]]), n)


def _splines(
    algorithm: str, target: float, low: float, high: float, stepsizes: tuple[float, float], sigma: float
) -> Splines:
    """Splines on [low, high], low < 0 < high; stepsizes are the largest and the smallest.

    Panels shrink towards 0, where f changes over gamma sigma, by RATIO for the first stepsizes and by DEEP, the range
    of w being small there, for the later ones. GLM-tron's jump of gamma target makes f sharp left of 0 too.
    """
    scale = 1e-3 * (high - low)
    finest = max(stepsizes[0] * sigma, scale) * 2.0**-FINEST
    deepest = min(finest, stepsizes[1] * max(sigma, scale) / 2)

    def side(reach: float, ratio: float) -> list[float]:
        edges = [reach]
        while edges[-1] > deepest:
            edges.append(edges[-1] / (ratio if edges[-1] > finest else DEEP))
        return edges

    narrow = algorithm == "glmtron" and target > 4 * sigma
    edges = [*(-e for e in side(-low, SHARP if narrow else RATIO)), 0.0, *reversed(side(high, RATIO))]
    return Splines(torch.tensor(edges, dtype=torch.float64))


def _hit(algorithm: str, splines: Splines, target: float, gamma: float, sigma: float) -> Float[Tensor, "nodes nodes"]:
    """Q: nodal values of f to those of the expectation of f after one hit of a coordinate with target >= 0."""
    w = splines.nodes
    toward = torch.where(w >= 0, (1 - gamma) * w + gamma * target, ((1 - gamma) * w).clamp(max=-TINY))  # SGD's hit
    if algorithm == "sgd":
        return (torch.eye(w.numel(), dtype=w.dtype) + splines.mean(toward, gamma * sigma)) / 2
    away = torch.where(w >= 0, w, w + gamma * target)  # the hit that SGD's gate hides
    return splines.mean(torch.cat([toward, away]), gamma * sigma).view(2, *2 * w.shape).mean(dim=0)


def _phase(Q: Float[Tensor, "n n"], F: Float[Tensor, "n c"], lam: Float[Tensor, " c"], count: int) -> Tensor:
    """(1 - lam_i + lam_i Q)^count applied to column i; lam in descending order.

    Few hits: the sum over n of their binomial probability times Q^n, all columns at once. Many: squarings.
    """
    hits = lam * count
    many = int((hits > 40.0).sum())
    out = torch.empty_like(F)
    for i in range(many):
        power = Q * lam[i]
        power.diagonal().add_(1.0 - lam[i])
        column, left = F[:, i], count
        while left:
            if left & 1:
                column = power @ column
            left >>= 1
            if left:
                power = power @ power
        out[:, i] = column
    few, rate = F[:, many:], lam[many:].clamp(max=1.0 - 1e-16)
    if few.shape[1]:
        top = float(hits[many])
        n = torch.arange(min(count, math.ceil(top + 9.0 * math.sqrt(top) + 9.0)) + 1, dtype=Q.dtype)
        log_choose = torch.cat([n[:1], ((count + 1 - n[1:]) / n[1:]).log()]).cumsum(0)
        log_odds = rate.log() - torch.log1p(-rate)
        log_p = (log_choose[:, None] + n[:, None] * log_odds).add_(count * torch.log1p(-rate))  # (terms, columns)
        widths = ((log_p > -30.0).flip(0).cumsum(0) > 0).sum(1).flip(0).tolist()  # columns with such a term from n on
        probability = log_p.exp_()
        total = probability[0] * few
        for k in range(1, widths.index(0) if 0 in widths else len(widths)):
            few = Q @ few[:, : widths[k]]
            total[:, : widths[k]].addcmul_(few, probability[k, : widths[k]])
        out[:, many:] = total
    return out


def density_evolution(
    algorithm: str,
    eigenvalues: Float[Tensor, " _d"],
    w_star: Float[Tensor, " _d"],
    w0: Float[Tensor, " _d"],
    N: SupportsIndex,
    gamma: float,
    sigma: float,
) -> float:
    """Expected excess risk after N samples of the Bernoulli design with noise N(0, sigma^2), without sampling.

    algorithm "glmtron" or "sgd" (strict gate); eigenvalues (non-negative, sum 1), w_star and w0 are (d,); stepsizes
    gamma / 2^floor(t / K), gamma in (0, 1], K = N / log2 N. The relative error is of order 1e-5 (below 1e-4 wherever it
    was measured against finer splines). The cost grows with the number of different |w*_i|, with log N and, slowly,
    with d. ArithmeticError if the splines should ever become unstable.
    """
    _risk.choice("algorithm", algorithm, _risk.ALGORITHMS)
    lam = _risk.spectrum(eigenvalues, "bernoulli")
    w_star, w0 = _risk.weights("w_star", w_star, lam), _risk.weights("w0", w0, lam)
    gamma = _risk.stepsize(gamma, "bernoulli", lam)
    sigma = _risk.noise_level(sigma)
    schedule = [(g, count) for g, count in geometric_schedule(N, gamma) if g * count > 1e-30]  # less moves nothing
    if not schedule:
        return float(_risk.excess_risk_bernoulli(w0, w_star, lam))
    lam, w_star, w0 = lam.cpu(), w_star.cpu(), w0.cpu()  # small matrices and many of them
    start, target = w0 * torch.where(w_star < 0, -1.0, 1.0), w_star.abs()
    stuck = (start == 0) if algorithm == "sgd" else torch.zeros_like(start, dtype=torch.bool)  # behind the strict gate
    risk = float(lam[stuck] @ target[stuck].square()) / 2
    for value in target.unique().tolist():
        chosen = torch.nonzero((target == value) & (lam > 0) & ~stuck)[:, 0]
        chosen = chosen[lam[chosen].argsort(descending=True)]
        if chosen.numel():
            risk += float(lam[chosen] @ _group(algorithm, lam[chosen], value, start[chosen], schedule, sigma))
    return risk


def _group(
    algorithm: str, lam: Tensor, target: float, start: Tensor, schedule: list[tuple[float, int]], sigma: float
) -> Float[Tensor, " c"]:
    """Expected risk of each coordinate, without its factor lambda, for one target and descending lambda."""
    gamma = schedule[0][0]
    spread = 8.0 * sigma * math.sqrt(2.0 * gamma / (2.0 - gamma))  # of the stationary distribution, and to spare
    scale = max(target, float(start.abs().max()), spread, 1e-300)
    low = min(0.0, float(start.min())) - max(spread, 0.1 * scale)
    high = max(target, float(start.max())) + max(spread, 0.1 * scale)
    splines = _splines(algorithm, target, low, high, (gamma, schedule[-1][0]), sigma)
    w = splines.nodes
    final = ((w.clamp(min=0.0) - target) ** 2 + w.clamp(max=0.0) ** 2) / 2
    F = final[:, None].repeat(1, lam.numel())
    for stepsize, count in reversed(schedule):
        F = _phase(_hit(algorithm, splines, target, stepsize, sigma), F, lam, count)
    if not bool((F.abs() <= 1.01 * final.max()).all()):  # a mean of final's values lies among them
        raise ArithmeticError(
            f"density_evolution became unstable for w* = {target:g}, sigma = {sigma:g}; use simulate instead"
        )
    return (splines.mean(start, 0.0) * F.T).sum(dim=1)

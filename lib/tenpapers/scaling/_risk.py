"""Expected risk of one-pass SGD, exactly, at a cost that does not depend on the number of steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from torch import Tensor

from . import _check, _phases, _powers
from ._problem import Problem
from ._schedule import effective_samples, geometric_schedule


@dataclass(frozen=True)
class Risk:
    """Expected risk R(v) = E (<v, S x> - y)^2 and its parts; the unit is that of the squared target."""

    irreducible: float
    """sigma^2"""
    approximation: float
    """E Approx over the prior"""
    bias: float
    """error left of v_0 - v*, with the multiplicative noise of the samples x: the recursion without label noise"""
    variance: float
    """error that the label noise, of variance sigma^2 + E Approx, adds from v_0 = v*"""

    @property
    def total(self) -> float:
        """irreducible + approximation + bias + variance"""
        return self.irreducible + self.approximation + self.bias + self.variance

    @property
    def excess(self) -> float:
        """bias + variance"""
        return self.bias + self.variance


def _recursion(batch: int) -> _phases.Recursion:
    """E (1/B sum_b z_b z_b^T) B (1/B sum_b z_b z_b^T) = (1 + 1/B) Sigma B Sigma + 1/B tr(Sigma B) Sigma, z Gaussian."""
    return _phases.Recursion(linear=2.0, quadratic=1.0 + 1.0 / batch, coupling=1.0 / batch)


def stability_threshold(problem: Problem, batch: SupportsIndex = 1) -> float:
    """The stepsize gamma below which the second moment of SGD stays bounded, for Gaussian x.

    It solves (gamma / B) sum_i mu_i / (2 - (1 + 1/B) gamma mu_i) = 1 with gamma mu_1 < 2 / (1 + 1/B); B = batch.
    For Sigma = I and B = 1 it is 2 / (M + 2).
    """
    return _phases.stability_edge(_check.problem(problem).eigenvalues, _recursion(_check.integer("batch", batch, 1)))


def growth_factor(problem: Problem, gamma: float, batch: SupportsIndex = 1) -> float:
    """Factor per step by which the second moment of v_t - v* grows in the long run at any constant stepsize gamma > 0.

    The largest eigenvalue of A: below 1 exactly when gamma < stability_threshold(problem, batch). Gaussian x.
    """
    gamma = _check.real("gamma", gamma, above=0.0)
    return _phases.growth_factor(
        _check.problem(problem).eigenvalues, gamma, _recursion(_check.integer("batch", batch, 1))
    )


def stable_stepsize(problem: Problem, gamma: float, batch: SupportsIndex) -> float:
    """gamma, refused at or beyond the edge."""
    gamma = _check.real("gamma", gamma, above=0.0)
    edge = stability_threshold(problem, batch)
    if not gamma < edge:
        limit, given = _check.apart(edge, gamma)
        raise ValueError(
            f"gamma must be below the stability edge {limit} of this problem (batch = {batch}), got {given}"
        )
    return gamma


def _scaled(problem: Problem) -> tuple[float, Tensor, Tensor]:
    """mu_1, mu / mu_1 and mu_1 beta0: with the stepsize times mu_1, the same risk without extreme numbers."""
    top = float(problem.eigenvalues[0])
    return top, problem.eigenvalues / top, problem.initial_error * top


def risk_curve(
    problem: Problem, N: Sequence[SupportsIndex], gamma: float, base: float = 2.0, batch: SupportsIndex = 1
) -> list[Risk]:
    """`exact_risk` at every N of a sequence, for little more than the price of the largest.

    The stepsizes gamma / 2^l are the same for every N; only how long each phase lasts differs.
    """
    problem = _check.problem(problem)
    steps = _check.integers("N", N, 1)
    batch = _check.integer("batch", batch, 1)
    gamma = stable_stepsize(problem, gamma, batch)
    top, mu, initial_error = _scaled(problem)
    noise = problem.noise_variance + problem.approximation
    counts: dict[float, list[int]] = {}
    for column, n in enumerate(steps):
        for stepsize, count in geometric_schedule(n, gamma * top, base):
            if stepsize < 1e-100:  # nothing moves any more, and squares would vanish
                break
            counts.setdefault(stepsize, [0] * len(steps))[column] = count
    # Two columns per N: bias (start beta0, no noise) and variance (start 0, unit noise).
    start = torch.stack([initial_error, torch.zeros_like(mu)], dim=1)
    force = torch.stack([torch.zeros_like(mu), mu / batch], dim=1)
    x, forcing = start.repeat(1, len(steps)), force.repeat(1, len(steps))  # (M, 2 * len(N))
    phases = [
        (stepsize, torch.tensor(counts[stepsize], dtype=torch.float64, device=mu.device).repeat_interleave(2))
        for stepsize in sorted(counts, reverse=True)
    ]
    x = _phases.evolve(mu, x, forcing, phases, _recursion(batch))
    errors = (mu @ x).reshape(len(steps), 2).tolist()
    return [Risk(problem.noise_variance, problem.approximation, bias, noise * unit) for bias, unit in errors]


def exact_risk(problem: Problem, N: SupportsIndex, gamma: float, base: float = 2.0, batch: SupportsIndex = 1) -> Risk:
    """Expected risk of the last iterate v_N, averaged over samples and prior, given the sketch.

    Holds exactly for a Gaussian design, x ~ N(0, H): the recursion below uses Gaussian fourth moments and the
    independence of S x and the misfit <x, w* - S^T v*>; for other designs it is not an identity. In Sigma's
    eigenbasis, with beta_i = E (u_i^T (v_t - v*))^2 and B = batch,

        beta_i' = (1 - 2 gamma_t mu_i + (1 + 1/B) gamma_t^2 mu_i^2) beta_i
                  + gamma_t^2 mu_i / B (sum_j mu_j beta_j + sigma^2 + Approx),     excess = sum_i mu_i beta_i.

    problem; N steps, from 1 to 10^18, of `batch` fresh samples each; gamma, first stepsize, halved after every
    N / log_base N steps (`geometric_schedule`); base > 1. Costs one decomposition per phase, whatever N.
    Raises ValueError when gamma is not below the stability edge, which it states, or another argument is out of range.
    """
    return risk_curve(problem, [_check.integer("N", N, 1)], gamma, base, batch)[0]


def mean_bias(problem: Problem, N: SupportsIndex, gamma: float, base: float = 2.0) -> float:
    """The paper's Bias (Theorem 6.1), that of the mean iterate: sum_i mu_i beta0_i prod_t (1 - gamma_t mu_i)^2.

    `exact_risk(...).bias` is larger by what the multiplicative noise of the samples leaves. Needs no Gaussian design,
    only gamma mu_1 <= 2.
    """
    mu = _check.problem(problem).eigenvalues
    limit = 2.0 / float(mu[0])
    gamma = _check.real("gamma", gamma, above=0.0)
    if gamma > limit:
        most, given = _check.apart(limit, gamma)
        raise ValueError(f"gamma must be at most 2 / mu_1 = {most}, got {given}")
    log = torch.zeros_like(mu)
    for stepsize, count in geometric_schedule(N, gamma, base):
        step = stepsize * mu
        log += count * torch.where(step < 0.5, torch.log1p(-step.clamp(max=0.5)), torch.log((1.0 - step).abs()))
    return float((mu * problem.initial_error * torch.exp(2.0 * log)).sum())


def effective_dimension(problem: Problem, N: SupportsIndex, gamma: float, base: float = 2.0) -> float:
    """D_eff = #{mu_j >= 1 / (N_eff gamma)} + (N_eff gamma)^2 sum of mu_j^2 over the other j (Theorem 6.1).

    N_eff = N / log_base N; the number of directions that SGD with this schedule learns, so that the variance is of
    order D_eff / N_eff.
    """
    problem = _check.problem(problem)
    scaled = effective_samples(N, base) * _check.real("gamma", gamma, above=0.0) * problem.eigenvalues
    return float(torch.where(scaled >= 1.0, 1.0, scaled**2).sum())


def ols_risk(problem: Problem, N: SupportsIndex) -> Risk:
    """Expected risk of ordinary least squares on the same sketch and N > M + 1 Gaussian samples.

    Unbiased, with variance (sigma^2 + Approx) M / (N - M - 1): the mean of an inverse Wishart matrix.
    """
    M = _check.problem(problem).M
    N = _check.integer("N", N, 1)
    if N <= M + 1:
        raise ValueError(f"N must exceed M + 1 = {M + 1} for least squares to have a finite risk, got {N}")
    noise = problem.noise_variance + problem.approximation
    return Risk(problem.noise_variance, problem.approximation, 0.0, noise * M / (N - M - 1))


def averaged_risk(problem: Problem, N: SupportsIndex, gamma: float) -> Risk:
    """Expected risk of the average of v_0, ..., v_(N-1) at a constant stepsize gamma (appendix F), Gaussian design.

    Since E[v_t - v* | v_s] = (I - gamma Sigma)^(t-s) (v_s - v*), with r_i = 1 - gamma mu_i

        E |average - v*|^2_Sigma = 1/N^2 sum_i mu_i sum_(s<N) beta_i(s) [1 + 2 sum_(0<j<N-s) r_i^j] .

    beta(s) is a sum of powers w_k^s = (1 - m_k)^s, so every sum over s and j is geometric. It is written as a divided
    difference F[...] of F(x) = x^N, which has a limit, not a pole, where r_i and w_k meet:

        sum_s w^s = F[1, w],   sum_s w^s sum_(0<j<N-s) r^j = r F[1, r, w],
        sum_s (1 - w^s) / (1 - w) = F[1, 1, w],   with the inner sum too: r F[1, 1, r, w] .
    """
    problem = _check.problem(problem)
    N = _check.integer("N", N, 1)
    gamma = stable_stepsize(problem, gamma, 1)
    top, mu, initial_error = _scaled(problem)
    gamma, noise = gamma * top, problem.noise_variance + problem.approximation
    p = gamma * mu[:, None]  # (M, 1) 1 - r_i
    bias, unit = 0.0, 0.0
    for m, rows in _phases.decompose(mu, gamma, _recursion(1)).blocks():
        q = m[None, :]  # (1, block) 1 - w_k
        start = rows @ initial_error  # (block,)
        force = gamma**2 * (rows @ mu)
        second, third = _powers.second(N, p, q), _powers.third(N, p, q)  # (M, block)
        weight = mu[:, None] * rows.T
        bias += float((weight * start * (_powers.first(N, q) + 2.0 * (1.0 - p) * second)).sum())
        unit += float((weight * force * (_powers.second(N, q, torch.zeros_like(q)) + 2.0 * (1.0 - p) * third)).sum())
    return Risk(problem.noise_variance, problem.approximation, bias / N**2, noise * unit / N**2)

"""The second roads of the derivation: slow recursions, other designs and the constants of the proofs.

Nothing here calls the fast evaluation in `tenpapers.scaling`; the derivation compares the two.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from . import _check
from ._problem import Problem
from ._schedule import effective_samples

Schedule = Sequence[tuple[float, int]]
"""Phases (stepsize, number of steps), as `geometric_schedule` returns them."""


def matrix_recursion(
    Sigma: Float[Tensor, "M M"], B: Float[Tensor, "M M"], noise: float, schedule: Schedule, batch: int = 1
) -> Float[Tensor, "M M"]:
    """B = E (v - v*)(v - v*)^T after all steps, one step at a time, in any basis; Gaussian features N(0, Sigma).

    noise is the variance sigma^2 + Approx of the labels around <v*, z>; each step averages `batch` fresh samples.
    """
    for stepsize, count in schedule:
        for _ in range(count):
            SB = Sigma @ B
            fourth = (1 + 1 / batch) * SB @ Sigma + (torch.trace(SB) / batch) * Sigma
            B = B - stepsize * (SB + SB.T) + stepsize**2 * (fourth + (noise / batch) * Sigma)
    return B


def design_risk(
    S: Float[Tensor, "M d"],
    spectrum: Float[Tensor, " d"],
    w: Float[Tensor, " d"],
    noise_variance: float,
    schedule: Schedule,
    kurtosis: float,
) -> float:
    """Expected total risk of one-pass SGD from v_0 = 0 at a fixed target w, for a design that need not be Gaussian.

    x_i = sqrt(lambda_i) s_i with independent s_i of mean 0, variance 1, third moment 0 and E s_i^4 = 3 + kurtosis
    (Gaussian 0, Rademacher -2); spectrum is lambda. The state is the mean m of e = v - v* and its second moment B;
    with A = S H^(1/2), u = H^(1/2) (w - S^T v*) and g = A^T e - u,

        B' = B - gamma (Sigma B + B Sigma)
             + gamma^2 [2 Sigma B Sigma + (E |g|^2 + sigma^2) Sigma + kurtosis A diag(E g^2) A^T] .
    """
    A = S * spectrum.sqrt()  # (M, d)
    Sigma = A @ A.T
    v_star = torch.linalg.solve(Sigma, A @ (spectrum.sqrt() * w))
    u = spectrum.sqrt() * (w - S.T @ v_star)
    m, B = -v_star, torch.outer(v_star, v_star)
    for stepsize, count in schedule:
        for _ in range(count):
            g2 = torch.einsum("id,ij,jd->d", A, B, A) - 2 * (A.T @ m) * u + u**2  # E g_i^2
            fourth = 2 * Sigma @ B @ Sigma + (g2.sum() + noise_variance) * Sigma + kurtosis * (A * g2) @ A.T
            B = B - stepsize * (Sigma @ B + B @ Sigma) + stepsize**2 * fourth
            m = m - stepsize * (Sigma @ m)
    return noise_variance + float((u**2).sum() + torch.trace(Sigma @ B))


def simulate_design(
    S: Float[Tensor, "M d"],
    spectrum: Float[Tensor, " d"],
    w: Float[Tensor, " d"],
    noise_variance: float,
    schedule: Schedule,
    seeds: int,
    draw: Callable[..., Tensor],
    generator: torch.Generator,
) -> Float[Tensor, " seeds"]:
    """Total risk R(v_N) of `seeds` runs of one-pass SGD from v_0 = 0 at a fixed target w.

    draw(*shape) gives standardised independent coordinates s; x = H^(1/2) s. Labels have Gaussian noise.
    """
    v = torch.zeros(seeds, S.shape[0], dtype=torch.float64)
    root = spectrum.sqrt()
    for stepsize, count in schedule:
        for _ in range(count):
            x = draw(seeds, S.shape[1]) * root  # (seeds, d)
            epsilon = torch.randn(seeds, generator=generator, dtype=torch.float64) * math.sqrt(noise_variance)
            z = x @ S.T
            v = v - stepsize * ((z * v).sum(1) - x @ w - epsilon)[:, None] * z
    return noise_variance + ((v @ S - w) ** 2) @ spectrum


def average_by_double_sum(
    Sigma: Float[Tensor, "M M"], B: Float[Tensor, "M M"], noise: float, N: int, gamma: float
) -> float:
    """E |average - v*|^2_Sigma for the average of v_0, ..., v_(N-1), summed over all N^2 pairs of iterates.

    B is the second moment of v_0 - v*. The pairs s < t use E (v_t - v*)(v_s - v*)^T = (I - gamma Sigma)^(t-s) B_s.
    """
    contraction = torch.eye(len(Sigma), dtype=Sigma.dtype) - gamma * Sigma
    total = 0.0
    for s in range(N):
        later = B
        for t in range(s, N):
            total += (1.0 if t == s else 2.0) * float(torch.trace(Sigma @ later))
            later = contraction @ later
        B = matrix_recursion(Sigma, B, noise, [(gamma, 1)])
    return total / N**2


def noise_profile(h: Float[Tensor, "..."], phases: int = 64) -> Float[Tensor, "..."]:
    """phi(h) = sum_l g(2^-l h), g(h) = h/2 (e^(-2h) - e^(-4h)): N_eff times the label noise left in a direction.

    h = N_eff gamma mu is the direction's eigenvalue in units of 1 / (N_eff gamma). Limit of many steps.
    """
    scaled = h[..., None] * 2.0 ** -torch.arange(phases, dtype=torch.float64)
    return (scaled / 2 * (torch.exp(-2 * scaled) - torch.exp(-4 * scaled))).sum(-1)


def spectral_filter(mu: Float[Tensor, " M"], schedule: Schedule) -> Float[Tensor, " M"]:
    """q(mu) = prod_t (1 - gamma_t mu): what SGD's mean leaves of an error along an eigenvector of Sigma."""
    q = torch.ones_like(mu)
    for stepsize, count in schedule:
        q = q * (1 - stepsize * mu) ** count
    return q


def label_noise(mu: Float[Tensor, " M"], schedule: Schedule) -> Float[Tensor, " M"]:
    """f(mu) = sum_t (gamma_t mu)^2 prod_(s > t) (1 - gamma_s mu)^2: unit label noise left in each direction.

    Phase by phase, from the last: with u = gamma mu, n steps leave u / (2 - u) (1 - (1 - u)^(2n)) of their own noise.
    Exact for any number of steps; `noise_profile` is its limit N_eff f. Every stepsize below 2 / mu_1.
    """
    f, later = torch.zeros_like(mu), torch.ones_like(mu)
    for stepsize, count in reversed(schedule):
        u = stepsize * mu
        log = 2 * count * torch.where(u < 0.5, torch.log1p(-u.clamp(max=0.5)), (1 - u).abs().log())
        f -= u / (2 - u) * torch.expm1(log) * later
        later = later * log.exp()
    return f


def filter_bounds(
    spectrum: Float[Tensor, " d"],
    coefficients: Float[Tensor, " d"],
    S: Float[Tensor, "M d"],
    schedule: Schedule,
    heads: Sequence[int],
) -> dict[str, float]:
    """Bounds of Approx + mean bias that hold for every sketch, and the value between them.

    spectrum lambda_i and coefficients c_i with lambda_i c_i in descending order; heads, the sizes k <= M tried.

    lower   sum_(i <= M) lambda_i c_i q(mu_i)^2 + sum_(i > M) lambda_i c_i, q the `spectral_filter`
    value   tr(q(T)^2 H C) with T = H^(1/2) S^T S H^(1/2), from the singular vectors of S H^(1/2)
    ridge   nu tr((T + nu)^-1 H C) with nu = 1 / (2 sum_t gamma_t)
    trial   the least over k of sum_(i > k) lambda_i c_i + (|A_k| + nu) sum_(i <= k) c_i / mu_min(S_k^T S_k), where S_k
            holds the first k columns of S and A_k = S H S^T of the others
    """
    M = len(S)
    signal = spectrum * coefficients
    _, singular, V = torch.linalg.svd(S * spectrum.sqrt(), full_matrices=False)  # V (M, d)
    mu, weight = singular**2, V**2 @ signal  # weight_i = <phi_i, H C phi_i>
    outside = float(signal.sum() - weight.sum())
    q2 = spectral_filter(mu, schedule) ** 2
    nu = 1 / (2 * sum(stepsize * count for stepsize, count in schedule))
    trial = float(signal.sum())
    for k in heads:
        gram = S[:, :k].T @ S[:, :k]
        tail = torch.linalg.matrix_norm(S[:, k:] * spectrum[k:].sqrt(), ord=2) ** 2
        share = coefficients[:k].sum() / torch.linalg.eigvalsh(gram)[0]
        trial = min(trial, float(signal[k:].sum() + (tail + nu) * share))
    return {
        "lower": float(signal[:M] @ q2 + signal[M:].sum()),
        "value": outside + float(weight @ q2),
        "ridge": outside + float(weight @ (nu / (mu + nu))),
        "trial": trial,
    }


def noise_inflation(mu: Float[Tensor, " M"], stepsize: float) -> float:
    """1 / (1 - R), R = sum_i g mu_i / (2 (1 - g mu_i)), g the stepsize: (excess + noise) / noise in a stationary state.

    R reaches 1 at the stability edge, beyond which this is a ValueError.
    """
    u = stepsize * mu
    R = float((u / (2 * (1 - u))).sum()) if float(u.max()) < 1 else math.inf
    if not R < 1:
        raise ValueError(
            f"stepsize must be below the stability edge, got {stepsize:.6g}, where R = {R:.6g} is not below 1"
        )
    return 1 / (1 - R)


def inflated_variance_constant(a: float, mu: Float[Tensor, " M"], gamma: float, phases: int = 60) -> float:
    """`variance_constant` with the noise of phase l inflated by `noise_inflation` at gamma / 2^l; mu_j ~ j^-a."""
    weights = [2.0 ** (-level / a) for level in range(phases)]
    inflated = [w * noise_inflation(mu, gamma * 2.0**-level) for level, w in enumerate(weights)]
    return variance_constant(a) * sum(inflated) / sum(weights)


def averaged_bias_constant(a: float, b: float) -> float:
    """C in Bias ~ C (N gamma)^(-(b-1)/a) for averaged iterates: the integral of x^-b ((1 - e^-h) / h)^2, h = x^-a.

    a > 1 and 1 < b < 2 a + 1 (beyond, the bias freezes at the rate (N gamma)^-2).
    """
    a = _check.real("a", a, above=1.0)
    power = (_check.real("b", b, above=1.0, below=2 * a + 1) - 1) / a
    if abs(power - 1) < 1e-9:
        return 2 * math.log(2) / a
    return math.gamma(power - 2) * (2 ** (2 - power) - 2) / a


def variance_constant(a: float) -> float:
    """C in Var ~ C (N_eff gamma)^(1/a) / N_eff: the integral of phi(x^-a) over x > 0, for mu_j = j^-a, a > 1."""
    a = _check.real("a", a, above=1.0)
    half = 2.0 ** (1 / a - 1)
    return math.gamma(1 - 1 / a) * half * (1 - half) / (2 * a * (1 - 2.0 ** (-1 / a)))


def bias_constant(a: float, b: float) -> float:
    """C in Bias ~ C (N_eff gamma)^(-(b-1)/a): the integral of x^-b exp(-4 x^-a) over x > 0; a > 1, b > 1."""
    a = _check.real("a", a, above=1.0)
    power = (_check.real("b", b, above=1.0) - 1) / a
    return math.gamma(power) / a * 4.0**-power


def remainder_scale(problem: Problem, N: int, gamma: float) -> float:
    """|v*_head|^2 / (N_eff gamma) + |v*_tail|^2_Sigma, averaged over the prior; head: mu_i >= 1 / (N_eff gamma)."""
    mu, beta0 = problem.eigenvalues, problem.initial_error
    learned = effective_samples(N) * gamma
    return float(torch.where(mu * learned >= 1, beta0 / learned, mu * beta0).sum())


def logarithmic_dimension(a: float, log_M: float) -> float:
    """D / M with D = tr (Sigma / (Sigma + 1/M))^2, for M Gaussian rows on lambda_i = 1 / (i log2(i + 1)^a), M large.

    log_M is the natural logarithm of M, at least log 8, so that M itself may be 10^200; a > 1. D_eff at N_eff gamma = M
    lies between D and 4 D, because x / (1 + x) lies between min(1, x) / 2 and min(1, x). From the deterministic
    equivalent: with x1 = sum_i share_i / M, x2 = sum_i share_i^2 / M, share_i = lambda_i / (lambda_i + kappa) and kappa
    the root of kappa M (1 - x1) = 1, D / M = (x2 - 2 x1 x2 + x1^2) / (1 - x2). An argument, not a proof.
    """
    a = _check.real("a", a, above=1.0)
    log_M = _check.real("log_M", log_M, above=2.0)
    first = np.arange(1, 10_001)  # one by one, then by the midpoint rule in u = log i, then in closed form
    grid = np.linspace(math.log(10_000.5), log_M + 60.0, 50_001)
    middle = (grid[1:] + grid[:-1]) / 2
    u = np.concatenate([np.log(first), middle])
    log_spectrum = -u - a * np.log(np.concatenate([np.log2(first + 1.0), middle / math.log(2)]))
    weight = np.exp(np.concatenate([np.zeros(len(first)), middle + math.log(grid[1] - grid[0])]) - log_M)
    beyond = math.log(2) ** a / (a - 1) * grid[-1] ** (1 - a)

    def moments(log_ratio: float) -> tuple[float, float]:  # log_ratio = log(kappa M)
        share = 1 / (1 + np.exp(np.clip(log_ratio - log_M - log_spectrum, -700.0, 700.0)))
        return float(weight @ share) + beyond * math.exp(-log_ratio), float(weight @ share**2)

    root = brentq(lambda r: math.exp(r) * (1 - moments(r)[0]) - 1, 0.0, 20.0, xtol=1e-12)
    x1, x2 = moments(root)
    return (x2 - 2 * x1 * x2 + x1**2) / (1 - x2)

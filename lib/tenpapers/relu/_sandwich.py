"""What is known of the expected excess risk without simulation: exact where it can be, from both sides elsewhere."""

from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from tenpapers.one_pass import moments
from tenpapers.one_pass.schedule import geometric_schedule

from . import _risk

# Coefficients of the second moments of the two linear-regression SGDs, Gaussian fourth moments (eq. sandwich):
# E x x^T B x x^T = 2 H B H + tr(H B) H, times gamma^2 / 2 above and gamma^2 / 4 below.
UPPER = moments.Recursion(linear=1.0, quadratic=1.0, coupling=0.5)
LOWER = moments.Recursion(linear=1.0, quadratic=0.5, coupling=0.25)


def stability_threshold(eigenvalues: Float[Tensor, " _d"]) -> float:
    """The stepsize below which the upper side of the sandwich stays bounded, for x ~ N(0, diag(eigenvalues)).

    It solves sum_i (gamma lambda_i / 2) / (1 - gamma lambda_i) = 1 with gamma lambda_1 < 1: between
    1 / (tr H / 2 + lambda_1) and 2 / tr H. Near w*, GLM-tron and SGD themselves have this second moment.
    """
    lam = _risk.spectrum(eigenvalues, "gaussian")
    return moments.stability_edge(lam[lam > 0], UPPER)


def second_moment(
    lam: Tensor, start: Tensor, schedule: list[tuple[float, int]], noise: float, quadratic: float
) -> Float[Tensor, " _d"]:
    """x' = (1 - gamma lambda + quadratic gamma^2 lambda) x + gamma^2 noise lambda, a phase at a time: Bernoulli."""
    x = start
    for gamma, count in schedule:
        rate = 1.0 - quadratic * gamma  # at least 1 / 2; gamma may be tiny
        left = torch.log1p(-gamma * rate * lam.clamp(max=1.0)) * count
        x = left.exp() * x - torch.expm1(left) * (gamma * noise / rate)
    return x


def risk_sandwich(
    eigenvalues: Float[Tensor, " _d"],
    w_star: Float[Tensor, " _d"],
    w0: Float[Tensor, " _d"],
    N: SupportsIndex,
    gamma: float,
    sigma: float,
    design: str,
) -> tuple[float, float]:
    """(lower, upper) bounds on GLM-tron's expected excess risk after N samples: two linear regressions by SGD.

    B starts as that of w_0 - w*. lower = tr(H B) / 4 after steps B -> B - gamma/2 (HB + BH) + gamma^2/4 M(B), upper =
    tr(H B) / 2 after steps with gamma^2/2 M(B); M(B) = E x x^T B x x^T, and each step adds gamma^2 sigma^2 H.
    Costs one decomposition per phase (Gaussian) or a power per phase (Bernoulli), whatever N.

    eigenvalues, w_star and w0 (d,), in the eigenbasis of H; N >= 1 samples with stepsizes gamma / 2^floor(t / K),
    K = N / log2 N; sigma >= 0, standard deviation of the label noise; design "bernoulli" or "gaussian". ValueError for
    gamma outside (0, 1] (Bernoulli) or beyond the stability edge, which it states (Gaussian).
    """
    _risk.choice("design", design, _risk.DESIGNS)
    lam = _risk.spectrum(eigenvalues, design)
    start = (_risk.weights("w0", w0, lam) - _risk.weights("w_star", w_star, lam)).square()
    noise = _risk.noise_level(sigma) ** 2
    gamma = _risk.stepsize(gamma, design, lam, stability_threshold(lam) if design == "gaussian" else None)
    schedule = geometric_schedule(N, gamma)
    if design == "bernoulli":
        lower = second_moment(lam, start, schedule, noise, 0.25)
        upper = second_moment(lam, start, schedule, noise, 0.5)
        return float(lam @ lower) / 4, float(lam @ upper) / 2
    lam, start = lam[lam > 0], start[lam > 0]
    phases = [(g, torch.tensor([float(count)], dtype=torch.float64, device=lam.device)) for g, count in schedule]
    phases = [(g, count) for g, count in phases if g > 1e-100]  # nothing moves any more, and squares would vanish
    sides = [moments.evolve(lam, start[:, None], noise * lam[:, None], phases, side)[:, 0] for side in (LOWER, UPPER)]
    return float(lam @ sides[0]) / 4, float(lam @ sides[1]) / 2


def glmtron_noiseless_risk(
    eigenvalues: Float[Tensor, " _d"], w_star: Float[Tensor, " _d"], N: SupportsIndex, gamma: float
) -> float:
    """Expected excess risk of GLM-tron after N samples without label noise, from w_0 = 0, Bernoulli design: exact.

    No coordinate ever passes its target, so that the risk is sum_i lambda_i w*_i^2 / 2 prod_t (1 - lambda_i (2 gamma_t
    - gamma_t^2) / 2). gamma in (0, 1], halved every N / log2 N steps.
    """
    lam = _risk.spectrum(eigenvalues, "bernoulli")
    w_star = _risk.weights("w_star", w_star, lam)
    gamma = _risk.stepsize(gamma, "bernoulli", lam)
    left = second_moment(lam, w_star.square(), geometric_schedule(N, gamma), 0.0, 0.5)
    return float(lam @ left) / 2

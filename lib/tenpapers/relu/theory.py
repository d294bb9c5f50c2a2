"""Second roads of the derivation: all draws enumerated, recursions step by step, the constants of the proofs."""

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tenpapers.one_pass.schedule import effective_dimension, effective_samples, geometric_schedule

from ._sandwich import second_moment


def all_sequences(
    probabilities: Sequence[float], N: int, noise: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor, Float[Tensor, " leaves"]]:
    """Every sequence of N samples of the Bernoulli design with fair noise in `noise`, and its probability.

    Returns (indices, signs, epsilon), each (leaves, N), for `run_sequence`, and the probabilities (leaves,), which
    sum to 1; leaves = (2 d |noise|)^N.
    """
    draws = list(itertools.product(range(len(probabilities)), (1.0, -1.0), noise))
    table = torch.tensor(draws, dtype=torch.float64)
    weight = torch.tensor([probabilities[i] / (2 * len(noise)) for i, _, _ in draws], dtype=torch.float64)
    leaves = torch.cartesian_prod(*[torch.arange(len(draws))] * N).reshape(-1, N)
    chosen = table[leaves]
    return chosen[..., 0].long(), chosen[..., 1], chosen[..., 2], weight[leaves].prod(dim=1)


def matrix_recursion(
    H: Float[Tensor, "d d"],
    B: Float[Tensor, "d d"],
    noise: float,
    schedule: Sequence[tuple[float, int]],
    fraction: float,
) -> Float[Tensor, "d d"]:
    """B -> B - gamma/2 (HB + BH) + fraction gamma^2 (2 H B H + tr(HB) H) + gamma^2 noise H, a step at a time.

    The second moments of the sandwich for Gaussian features N(0, H), in any basis; fraction 1/2 above, 1/4 below.
    """
    for gamma, count in schedule:
        for _ in range(count):
            HB = H @ B
            fourth = 2 * HB @ H + torch.trace(HB) * H
            B = B - gamma / 2 * (HB + HB.T) + gamma**2 * (fraction * fourth + noise * H)
    return B


def variance_by_steps(
    eigenvalues: Float[Tensor, " d"], schedule: Sequence[tuple[float, int]], fraction: float
) -> Float[Tensor, " d"]:
    """V_i of unit noise after all steps of V -> (1 - gamma lambda + fraction gamma^2 lambda) V + gamma^2 lambda."""
    V = torch.zeros_like(eigenvalues)
    for gamma, count in schedule:
        for _ in range(count):
            V = (1 - gamma * eigenvalues + fraction * gamma**2 * eigenvalues) * V + gamma**2 * eigenvalues
    return V


def profile(q: Float[Tensor, "..."], phases: int = 64) -> Float[Tensor, "..."]:
    """G(q) = sum over l >= 0 of min(2 q_l, q_l^2) exp(-q_l / 2), q_l = q / 2^l, the bound on noise left."""
    scaled = q[..., None] * 2.0 ** -torch.arange(phases, dtype=torch.float64)
    return (torch.minimum(2 * scaled, scaled**2) * torch.exp(-scaled / 2)).sum(-1)


def variance_ratio(eigenvalues: Float[Tensor, " d"], N: int, gamma: float, fraction: float) -> float:
    """sum_i lambda_i V_i over D_eff / N_eff, for unit noise and the Bernoulli design; fraction 1/2 above, 1/4 below."""
    V = second_moment(eigenvalues, torch.zeros_like(eigenvalues), geometric_schedule(N, gamma), 1.0, fraction)
    return float(eigenvalues @ V) / (effective_dimension(eigenvalues, N, gamma) / effective_samples(N))


def direction_ratio(eigenvalues: Float[Tensor, " d"], N: int, gamma: float, fraction: float) -> Float[Tensor, " d"]:
    """lambda_i V_i over the share min(1, (N_eff gamma lambda_i)^2) / N_eff of that direction in D_eff / N_eff.

    Unit noise, Bernoulli design. The ratio of `variance_ratio` is a weighted mean of these, whatever the spectrum.
    """
    V = second_moment(eigenvalues, torch.zeros_like(eigenvalues), geometric_schedule(N, gamma), 1.0, fraction)
    K = effective_samples(N)
    return eigenvalues * V * K / (K * gamma * eigenvalues).square().clamp(max=1.0)


def random_spectrum(generator: torch.Generator) -> Float[Tensor, " d"]:
    """A spectrum of sum 1: a power law, an exponential or a Dirichlet draw, of 5 to 400 coordinates."""
    kind = int(torch.randint(3, (), generator=generator))
    d = int(torch.randint(5, 401, (), generator=generator))
    u = float(torch.rand((), generator=generator))
    index = torch.arange(1, d + 1, dtype=torch.float64)
    if kind == 0:
        lam = index ** -(1.05 + 2.95 * u)
    elif kind == 1:
        lam = torch.exp(-(0.02 + u) * index)
    else:
        lam = -torch.log(torch.rand(d, generator=generator, dtype=torch.float64).clamp(min=1e-12))
        lam = lam ** (1 + 4 * u)
    return lam / lam.sum()


def random_instance(generator: torch.Generator) -> tuple[Float[Tensor, " d"], int, float]:
    """(spectrum, N, gamma): N from 2^5 to 2^14, gamma from 0.05 to 1, evenly on log scales."""
    lam = random_spectrum(generator)
    u, v = torch.rand(2, generator=generator).tolist()
    return lam, round(2 ** (5 + 9 * u)), math.exp(math.log(0.05) * (1 - v))

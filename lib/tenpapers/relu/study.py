"""What the experiments' notebook computes besides calls of the library."""

import math

import numpy as np
import torch
from jaxtyping import Float
from scipy import optimize, special
from torch import Tensor

from tenpapers.one_pass.schedule import geometric_schedule

from ._sandwich import second_moment


def power_law(d: int, decay: float, device: torch.device | str = "cpu") -> Float[Tensor, " d"]:
    """lambda_i proportional to i^-decay, i = 1..d, with sum 1."""
    values = torch.arange(1, d + 1, dtype=torch.float64, device=device) ** -decay
    return values / values.sum()


def endless_sandwich(decay: float, N: int, gamma: float, sigma: float) -> tuple[float, float]:
    """(lower, upper) end of the sandwich for lambda_i = i^-decay / zeta(decay), all i >= 1, w* = 1 and w_0 = 0.

    Bernoulli design.

    Coordinates beyond 1000 are taken in blocks of 2 per cent, with their mean eigenvalue; those beyond 10^18 keep
    their start.
    """
    edges = np.unique(np.geomspace(1001, 1e18, 1750).round())
    primitive = edges ** (1 - decay) / (1 - decay)
    count, mass = np.diff(edges), np.diff(primitive)  # sums by Euler-Maclaurin's first term, off by 10^-7 relatively
    head = np.arange(1.0, 1001.0)
    lam = torch.as_tensor(np.concatenate([head**-decay, mass / count]) / special.zeta(decay))
    weight = torch.as_tensor(np.concatenate([np.ones(1000), count]))
    rest = edges[-1] ** (1 - decay) / (decay - 1) / special.zeta(decay)
    schedule = geometric_schedule(N, gamma)
    ends = []
    for side in (0.25, 0.5):  # the weight of gamma^2 in the recursion is that of the risk
        left = second_moment(lam, torch.ones_like(lam), schedule, sigma**2, side)
        ends.append(side * float((weight * lam) @ left + rest))
    return ends[0], ends[1]


def exponential(d: int) -> Float[Tensor, " d"]:
    """lambda_i proportional to 2^-i, i = 1..d, with sum 1."""
    values = 2.0 ** -torch.arange(1, d + 1, dtype=torch.float64)
    return values / values.sum()


def logarithmic(d: int, beta: float) -> Float[Tensor, " d"]:
    """lambda_i proportional to i^-1 log^-beta(i + 1), i = 1..d, with sum 1."""
    index = torch.arange(1, d + 1, dtype=torch.float64)
    values = 1 / (index * torch.log(index + 1) ** beta)
    return values / values.sum()


# Labels that no neuron makes, from z = x / sqrt(lambda) of shape (..., d), standard normal in every coordinate.
LABELS = {
    "|z1|": lambda z: z[..., 0].abs(),
    "z1^3 + z2/3": lambda z: z[..., 0] ** 3 + z[..., 1] / 3,
    "relu + sign": lambda z: torch.relu(z.sum(-1) / math.sqrt(z.shape[-1])) + 0.5 * torch.sign(z[..., 0]),
    "relu shifted": lambda z: torch.relu(z.sum(-1) / math.sqrt(z.shape[-1]) + 0.7),
}


def best_neuron(
    x: Float[Tensor, "samples d"], y: Float[Tensor, " samples"], starts: int, generator: torch.Generator
) -> Float[Tensor, " d"]:
    """The w of least mean (relu(x.w) - y)^2 among L-BFGS runs from `starts` random points and twice least squares."""
    X, target = x.numpy(), y.numpy()
    ols = np.linalg.lstsq(X, target, rcond=None)[0]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = X @ w
        residual = np.maximum(z, 0.0) - target
        return float(residual @ residual) / len(X), 2 * X.T @ (residual * (z > 0)) / len(X)

    scale = float(np.linalg.norm(ols)) + 1.0
    points = [2 * ols] + [
        scale * torch.randn(len(ols), generator=generator, dtype=torch.float64).numpy() for _ in range(starts)
    ]
    found = [optimize.minimize(loss, point, jac=True, method="L-BFGS-B") for point in points]
    return torch.as_tensor(min(found, key=lambda result: result.fun).x)


def risk_on(x: Float[Tensor, "samples d"], y: Float[Tensor, " samples"], w: Tensor) -> Tensor:
    """Mean (relu(x.w) - y)^2 on the samples, of one w (d,) or each of (runs, d)."""
    predicted = torch.relu(x @ (w if w.ndim == 1 else w.T))
    return (predicted - (y if w.ndim == 1 else y[:, None])).square().mean(dim=0)

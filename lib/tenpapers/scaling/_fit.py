"""The joint power law in M and N, and the compute-optimal split."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import torch
from scipy.optimize import least_squares, nnls

from . import _check
from ._problem import sketched_problem
from ._risk import exact_risk, stability_threshold

_DELTA = 1e-3  # Huber's threshold on log residuals, as in Hoffmann et al. (2022)


@dataclass(frozen=True)
class Law:
    """c_M M^-alpha_M + c_N N^-alpha_N"""

    c_M: float
    alpha_M: float
    c_N: float
    alpha_N: float

    def __call__(self, M: float | np.ndarray, N: float | np.ndarray) -> float | np.ndarray:
        """The law's value at M and N."""
        return self.c_M * M**-self.alpha_M + self.c_N * N**-self.alpha_N


def _positive(name: str, values: Sequence[float] | np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} must be one-dimensional, got entries of different lengths") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be a sequence of real numbers, got {values!r:.60}")
    array = array.astype(np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if not (np.isfinite(array) & (array > 0)).all():
        where = int(np.flatnonzero(~(np.isfinite(array) & (array > 0)))[0])
        raise ValueError(f"{name} must hold positive finite numbers, got {name}[{where}] = {array[where]}")
    return array


def fit_law(
    M: Sequence[float] | np.ndarray | torch.Tensor,
    N: Sequence[float] | np.ndarray | torch.Tensor,
    risk: Sequence[float] | np.ndarray | torch.Tensor,
) -> Law:
    """Fit risk ~ c_M M^-alpha_M + c_N N^-alpha_N, by the Huber loss (delta = 1e-3) on log residuals, multistart.

    M, N, risk: three sequences of one length, one entry per run, risk already without the noise variance. Pass N_eff
    as N to regress on it. Needs at least four runs, two different M and two different N.
    Raises ValueError when lengths disagree, an entry is not positive, or the runs do not determine the law.
    """
    m, n, r = _positive("M", M), _positive("N", N), _positive("risk", risk)
    if not m.size == n.size == r.size:
        raise ValueError(f"M, N and risk must have one length, got {m.size}, {n.size} and {r.size}")
    if r.size < 4 or np.unique(m).size < 2 or np.unique(n).size < 2:
        raise ValueError(
            f"a fit needs at least 4 runs with 2 different M and 2 different N, got {r.size} runs with "
            f"{np.unique(m).size} and {np.unique(n).size}"
        )
    # Centred logarithms: the two amplitudes are those at the middle of the data, which decouples them from the slopes.
    log_m, log_n, log_r = np.log(m), np.log(n), np.log(r)
    mid_m, mid_n = log_m.mean(), log_n.mean()

    def residuals(theta: np.ndarray) -> np.ndarray:
        return np.logaddexp(theta[0] - theta[1] * (log_m - mid_m), theta[2] - theta[3] * (log_n - mid_n)) - log_r

    def jacobian(theta: np.ndarray) -> np.ndarray:
        share = theta[0] - theta[1] * (log_m - mid_m) - residuals(theta) - log_r
        first = np.exp(share)
        return np.stack([first, -first * (log_m - mid_m), 1 - first, -(1 - first) * (log_n - mid_n)], axis=1)

    starts = []
    for alpha_m, alpha_n in itertools.product((0.15, 0.3, 0.5, 0.8, 1.2, 2.0), repeat=2):
        basis = np.stack([np.exp(-alpha_m * (log_m - mid_m)), np.exp(-alpha_n * (log_n - mid_n))], axis=1)
        amplitudes, misfit = nnls(basis / r[:, None], np.ones_like(r))  # least squares of relative residuals
        floor = 1e-6 * r.min()
        logs = np.log(np.maximum(amplitudes, floor))
        starts.append((misfit, (logs[0], alpha_m, logs[1], alpha_n)))
    best = None
    for _, start in sorted(starts)[:6]:
        theta = np.array(start)
        for delta in (0.1, 0.01, _DELTA):  # the near-absolute loss is reached through smoother ones
            fit = least_squares(
                residuals, theta, jac=jacobian, loss="huber", f_scale=delta, xtol=1e-14, ftol=1e-14, gtol=1e-14,
                max_nfev=500,
            )  # fmt: skip
            theta = fit.x
        if best is None or fit.cost < best.cost:
            best = fit
    assert best is not None
    log_cm, alpha_m, log_cn, alpha_n = (float(t) for t in best.x)
    return Law(math.exp(log_cm + alpha_m * mid_m), alpha_m, math.exp(log_cn + alpha_n * mid_n), alpha_n)


def optimal_allocation(
    compute: SupportsIndex,
    a: float,
    b: float,
    gamma: float = 0.1,
    noise_variance: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[int, int, float]:
    """Compute-optimal (M, N, risk) at M N <= compute: M by a search, risk the mean over fresh sketches at that M.

    compute from 1 to 10^18 counts parameter updates, C = M N; a, b, gamma, noise_variance as in `sketched_problem` and
    `exact_risk`; generator seeds the sketches (None: a CPU generator with seed 0) and is advanced. Sketches have
    d = max(2000, 16 M) explicit modes and the rest through their mean. At every M of the search the risk is averaged
    over 160 / M sketches, between 1 and 16; M is searched downhill on a grid of ratio sqrt(2), then taken from
    a parabola through the logarithms of the 13 reducible risks within a factor 1.7. The risk that is returned
    averages max(4, 640 / M) sketches, at most 64, that the search has not seen, so that the choice of M does not
    flatter it.
    What remains is scatter: for compute = 3000 and a = b = 2, ten generators gave M = 11 to 14, where the minimum is
    flat, and reducible risks within 3 % of their mean 0.378 (single sketches: 10 % standard deviation).
    Raises ValueError for an argument out of range or a gamma at or beyond the stability edge of a sketch at that M.
    """
    compute = _check.integer("compute", compute, 1)
    a = _check.real("a", a, above=1.0)
    b = _check.real("b", b, above=1.0)
    gamma = _check.real("gamma", gamma, above=0.0)
    noise_variance = _check.real("noise_variance", noise_variance, minimum=0.0)
    generator = torch.Generator().manual_seed(0) if generator is None else _check.random(generator)
    device = generator.device
    seed, fresh = torch.randint(2**62, (2,), generator=generator, device=device, dtype=torch.int64).tolist()
    risks: dict[int, float] = {}

    def mean_risk(M: int, sketches: int, seed: int) -> tuple[float, float]:
        """Mean of the total risk over sketches, infinite if one is unstable, and the lowest stability edge."""
        source, total, edge = torch.Generator(device).manual_seed(seed), 0.0, math.inf
        for _ in range(sketches):
            problem = sketched_problem(a, b, M, max(2000, 16 * M), noise_variance, source)
            edge = min(edge, stability_threshold(problem))
            total += exact_risk(problem, compute // M, gamma).total if gamma < edge else math.inf
        return total / sketches, edge

    def risk(M: int) -> float:
        if M not in risks:  # one seed for all, so that the value at M does not depend on the order of the search
            risks[M], _ = mean_risk(M, min(16, max(1, 160 // M)), seed)
        return risks[M]

    def grid(centre: int, ratio: float, reach: int) -> list[int]:
        return sorted({min(compute, max(1, round(centre * ratio**k))) for k in range(-reach, reach + 1)})

    best = min(compute, max(1, round(compute ** (1.0 / (1.0 + max(a, b))))))
    while (better := min(grid(best, math.sqrt(2.0), 1), key=risk)) != best:  # downhill
        best = better
    around = [M for M in grid(best, 2.0**0.125, 6) if math.isfinite(risk(M))]
    if len(around) > 4:  # the minimum of a parabola through many sketches is steadier than the best of them
        logs = np.log(around)
        curvature, slope, _ = np.polyfit(logs - math.log(best), np.log([risk(M) - noise_variance for M in around]), 2)
        if curvature > 0:
            vertex = math.log(best) - slope / (2.0 * curvature)
            best = round(math.exp(min(max(vertex, logs[0]), logs[-1])))
    total, edge = mean_risk(best, min(64, max(4, 640 // best)), fresh)
    if math.isinf(total):
        limit, given = _check.apart(edge, gamma)
        raise ValueError(
            f"gamma must be below the stability edge {limit} of the sketched problem at M = {best}, got {given}"
        )
    return best, compute // best, total

"""The approximation error without a sketch: its deterministic equivalent and the fixed point kappa."""

import math
from typing import SupportsIndex

import numpy as np
from scipy.optimize import brentq

from . import _check

_LARGEST_M = 10**250

_HEAD = 4096  # modes summed one by one before Euler-Maclaurin takes over
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def approximation_constant(a: float, b: float, M: SupportsIndex) -> float:
    """Predicted E Approx at M for lambda_i = i^-a, c_i = i^(a-b), 1 < b < a + 1, to leading order in M.

        kappa^((b-1)/a) (pi/a) / sin(pi (b-1)/a),   kappa = (((pi/a) / sin(pi/a)) / M)^a ,

    so it is a constant times M^(1-b); for b = a it is M kappa. It diverges at b = a + 1, where the theorem's range
    ends (beyond, the rate freezes at M^-a). With tr H = 1 (`normalised=True`) divide it by zeta(a).
    Raises ValueError for a <= 1, b outside (1, a + 1) or M < 1.
    """
    a = _check.real("a", a, above=1.0)
    M = _check.integer("M", M, 1, _LARGEST_M)
    b = _check.real("b", b, above=1.0, below=a + 1.0)
    root = math.pi / a / math.sin(math.pi / a) / M  # kappa^(1/a)
    return root ** (b - 1.0) * (math.pi / a) / math.sin(math.pi * (b - 1.0) / a)


def _spectrum(i: np.ndarray, a: float, logarithmic: bool) -> np.ndarray:
    return 1.0 / (i * np.log2(i + 1.0) ** a) if logarithmic else i**-a


def _log_spectrum(u: float, a: float, logarithmic: bool) -> float:
    """log lambda at i = e^u, for real u."""
    return -u - a * math.log(math.log1p(math.exp(u)) / math.log(2.0)) if logarithmic else -a * u


def _moment(kappa: float, a: float, b: float, logarithmic: bool) -> float:
    """sum_(i>=1) lambda_i c_i / (lambda_i + kappa) with c_i = i^(a-b), by Euler-Maclaurin beyond the first modes."""

    def term(i: np.ndarray) -> np.ndarray:
        return i ** (a - b) / (1.0 + kappa / _spectrum(i, a, logarithmic))

    low = math.log(_HEAD + 0.5)
    turn = brentq(lambda u: _log_spectrum(u, a, logarithmic) - math.log(kappa), -60.0, 700.0)  # lambda = kappa
    high = max(low, turn) + 40.0  # beyond, lambda_i / kappa is below 1e-16 and the summand is lambda_i c_i / kappa
    panels = np.linspace(low, high, math.ceil(high - low) + 1)  # about one unit of u = log i each
    half = np.diff(panels)[:, None] / 2
    u = panels[:-1, None] + half * (1.0 + _NODES)  # (panels, nodes)
    body = float((half * _WEIGHTS * np.exp(u) * term(np.exp(u))).sum())
    if logarithmic:
        tail = math.log(2.0) ** a * high ** (1.0 - a) / (a - 1.0) / kappa
    else:
        tail = math.exp((1.0 - b) * high) / (b - 1.0) / kappa
    modes = np.arange(1, _HEAD + 1, dtype=np.float64)
    slope = float(np.diff(term(np.array([_HEAD, _HEAD + 1.0])))[0]) / 24.0
    return float(term(modes)[::-1].sum()) + body + tail + slope


def fixed_point(a: float, M: SupportsIndex, logarithmic: bool = False) -> float:
    """kappa, the solution of sum_i lambda_i / (lambda_i + kappa) = M, for M from 1 to 10^15 and beyond.

    lambda_i = i^-a, or 1 / (i log2(i + 1)^a) when logarithmic; a > 1. Relative accuracy about 1e-10.
    Raises ValueError when M is so large that kappa, of order M^-a, leaves the range of a float.
    """
    a = _check.real("a", a, above=1.0)
    M = _check.integer("M", M, 1, _LARGEST_M)
    logarithmic = _check.flag("logarithmic", logarithmic)
    low = _log_spectrum(math.log(2.0 * M), a, logarithmic)  # 2M summands of at least 1/2
    if low < math.log(1e-300):
        raise ValueError(
            f"M must be so small that kappa stays above 1e-300, got about 10^{len(str(M)) - 1} at a = {a:g}"
        )
    high = low + 1.0
    while _moment(math.exp(high), a, a, logarithmic) > M:
        high += 1.0
    log = brentq(lambda k: _moment(math.exp(k), a, a, logarithmic) / M - 1.0, low, high, xtol=1e-13, rtol=1e-14)
    return math.exp(log)


def approximation_equivalent(a: float, M: SupportsIndex, b: float | None = None, logarithmic: bool = False) -> float:
    """E Approx of an infinite-dimensional sketch up to its fluctuations: kappa sum_i lambda_i c_i / (lambda_i + kappa).

    kappa = fixed_point(a, M, logarithmic); c_i = i^(a-b), b = a (the isotropic prior, where this is M kappa) when
    None. b > 1; a logarithmic spectrum takes the isotropic prior only.
    Unlike `approximation_constant` it includes the corrections at small M.
    """
    if b is not None and _check.flag("logarithmic", logarithmic):
        raise ValueError(f"b must be None for the logarithmic spectrum (isotropic prior), got {b!r}")
    kappa = fixed_point(a, M, logarithmic)
    if b is None:
        return _check.integer("M", M, 1, _LARGEST_M) * kappa
    b = _check.real("b", b, above=1.0)
    return kappa * _moment(kappa, float(a), b, False)

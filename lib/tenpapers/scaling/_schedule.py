"""The geometrically decaying stepsize of the paper (section 3)."""

import itertools
import math
from fractions import Fraction
from typing import SupportsIndex

from . import _check


def _logarithm(N: int, base: float) -> Fraction | float:
    """log_base N: a Fraction where the logarithm is rational (so that phase boundaries are exact), else a float."""
    approximate = math.log(N) / math.log(base)
    if float(base).is_integer():
        nearest = Fraction(approximate).limit_denominator(64)
        if N**nearest.denominator == int(base) ** nearest.numerator:
            return nearest
    return approximate


def geometric_schedule(N: SupportsIndex, gamma: float, base: float = 2.0) -> list[tuple[float, int]]:
    """Phases of the stepsize gamma_t = gamma / 2^floor(t / K), K = N / log_base N, t = 1..N (Eq. (3) of the paper).

    Parameters: N, number of steps, at least 1; gamma, first stepsize, positive; base, base of the logarithm in K,
    above 1 (the paper's logarithms have base 2). Whatever the base, each phase halves the stepsize.

    Returns the list of (stepsize, count) with counts that sum to N; a phase without a step is left out. Because t
    starts at 1, the first phase is one step shorter than K. N = 1 is one step at gamma (its K is infinite).

    Raises ValueError or TypeError when N, gamma or base is outside its range.
    """
    N = _check.integer("N", N, 1)
    gamma = _check.real("gamma", gamma, above=0.0)
    base = _check.real("base", base, above=1.0)
    log = _logarithm(N, base)
    if log > N:  # more phases than steps (base close to 1): step t is alone in its phase
        return [(math.ldexp(gamma, -math.floor(t * log / N)), 1) for t in range(1, N + 1)]
    # phase l holds the t with l <= t * log / N < l + 1, so it starts at t = ceil(l * N / log)
    starts = [1, *(math.ceil(level * N / log) for level in range(1, math.floor(log) + 1)), N + 1]
    counts = [after - before for before, after in itertools.pairwise(starts)]
    return [(math.ldexp(gamma, -level), count) for level, count in enumerate(counts) if count > 0]


def effective_samples(N: SupportsIndex, base: float = 2.0) -> float:
    """N_eff = N / log_base N, the length of a phase; never more than N (which matters for N < base only)."""
    N = _check.integer("N", N, 1)
    base = _check.real("base", base, above=1.0)
    return float(N / max(1.0, float(_logarithm(N, base))))

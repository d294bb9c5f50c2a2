"""The two-player reduction: a sparse approximate CCE in Markov policies holds an approximate Nash equilibrium."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from tenpapers import check

from ._gaps import stage_gaps
from ._mixtures import HistoryFreeMixture
from .aggregation import delta


class Nash(NamedTuple):
    """A stage profile x (n1,), y (n2,) of a mixture, its `nash_gap`, and the policy t and step h that it stands at."""

    x: Float[np.ndarray, "n1"]
    y: Float[np.ndarray, "n2"]
    gap: float
    t: int
    h: int


def extract_nash(mixture: HistoryFreeMixture, A: ArrayLike, B: ArrayLike) -> Nash:
    """The stage profile (x_h^t, y_h^t) with the smallest `nash_gap`, found by looking at all T H of them.

    By the reduction's theorem its gap is at most `bound(T, H, epsilon)` when the mixture is an epsilon-CCE of the
    repeated game. Ties go to the smallest t, then the smallest h.
    """
    gaps = stage_gaps(mixture, A, B).max(axis=2)
    t, h = (int(i) for i in np.unravel_index(int(gaps.argmin()), gaps.shape))
    return Nash(mixture.X1[t, h], mixture.X2[t, h], float(gaps[t, h]), t, h)


def bound(T: int, H: int, epsilon: float) -> float:
    """2 epsilon + 4 sqrt(log T / (2H)), which bounds the average over t and h of the two players' summed stage gaps."""
    return 2 * check.real("epsilon", epsilon, minimum=-1.0) + 4 * delta(T, H)

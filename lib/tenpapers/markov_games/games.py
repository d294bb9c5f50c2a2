"""The small games of the chapter: payoffs (A, B) in [0, 1], row player first."""

import numpy as np

from tenpapers import check

from . import _check
from ._check import Array


def shapley() -> tuple[Array, Array]:
    """Shapley's game: whoever is one step ahead in the circle of three wins 1. Its only equilibrium is uniform: 1/3."""
    forward = np.roll(np.eye(3), 1, axis=1)
    return forward, forward.T.copy()


def chicken() -> tuple[Array, Array]:
    """Chicken with payoffs 0, 2, 6, 7, divided by 7; the first action dares."""
    A = np.array([[0.0, 7.0], [2.0, 6.0]]) / 7
    return A, A.T.copy()


def pennies() -> tuple[Array, Array]:
    """Asymmetric matching pennies, constant-sum: A = [[1, 0], [0, 1/2]], B = 1 - A."""
    A = np.array([[1.0, 0.0], [0.0, 0.5]])
    return A, 1 - A


def dilemma() -> tuple[Array, Array]:
    """A prisoner's dilemma: cooperation (action 0) pays both 0.6, defection both 0.2, temptation 1, the sucker 0."""
    A = np.array([[0.6, 0.0], [1.0, 0.2]])
    return A, A.T.copy()


def random_game(n1: int, n2: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Independent uniform payoffs."""
    n1, n2, generator = check.integer("n1", n1, 1), check.integer("n2", n2, 1), _check.numpy_generator(generator)
    return generator.random((n1, n2)), generator.random((n1, n2))


def grim_trigger(H: int) -> list[list[Array]]:
    """Grim trigger for `dilemma`, T = 1: cooperate until anyone has defected; policies[j][h] of shape (1, 4^h, 2).

    The first joint action is (cooperate, cooperate), so the untouched history has index 0 at every step.
    """
    H = check.integer("H", H, 1)
    steps = []
    for h in range(H):
        step = np.tile([0.0, 1.0], (1, 4**h, 1))
        step[0, 0] = [1.0, 0.0]
        steps.append(step)
    return [steps, [step.copy() for step in steps]]


def long_path(d: int) -> tuple[Array, Array]:
    """A d x d game on which Lemke-Howson walks exponentially far, whatever label it drops first (d even).

    Both best-response polytopes are the dual cyclic polytope with 2d facets {x : m_k x <= 1}, m_k the points of
    the trigonometric moment curve; player 1 labels its facets 1..2d in order, player 2 exchanges neighbours (all but
    facets 1 and d). Payoffs are rescaled to [0, 1] per player. In double precision the path can be followed up to
    d = 16; beyond, rounding leads it in a circle. Source: Savani and von Stengel (2006).
    """
    d = check.integer("d", d, 2)
    if d % 2:
        raise ValueError(f"d must be even, got {d}")
    angles = np.pi * (np.arange(2 * d) + 0.5) / d
    frequencies = np.arange(1, d // 2 + 1)[:, None]
    m = np.concatenate([np.cos(frequencies * angles), np.sin(frequencies * angles)])  # (d, 2d)
    k = np.arange(1, 2 * d + 1)
    sign = np.where(k % 2 == 0, 1, -1)
    label = np.where(k > d, k - sign, np.where((k == 1) | (k == d), k, k + sign))
    facet = np.argsort(label)  # facet[l - 1] carries player 2's label l
    B = _payoffs_of(m[:, :d], m[:, d:]).T
    A = _payoffs_of(m[:, facet[d:]], m[:, facet[:d]])
    return (A - A.min()) / np.ptp(A), (B - B.min()) / np.ptp(B)


def _payoffs_of(own: Array, other: Array) -> Array:
    """C with {y >= 0 : C y <= 1} the polytope whose facets `own` (d, d) meet in the vertex that becomes y = 0."""
    G = np.linalg.solve(own, other)
    return (-G / (1 - G.sum(axis=0))).T

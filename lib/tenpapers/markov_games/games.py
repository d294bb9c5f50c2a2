"""The small games of the chapter: payoffs (A, B) in [0, 1], row player first."""

import numpy as np

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
    n1, n2 = _check.integer("n1", n1, 1), _check.integer("n2", n2, 1)
    return generator.random((n1, n2)), generator.random((n1, n2))


def grim_trigger(H: int) -> list[list[Array]]:
    """Grim trigger for `dilemma`, T = 1: cooperate until anyone has defected; policies[j][h] of shape (1, 4^h, 2).

    The first joint action is (cooperate, cooperate), so the untouched history has index 0 at every step.
    """
    H = _check.integer("H", H, 1)
    steps = []
    for h in range(H):
        step = np.tile([0.0, 1.0], (1, 4**h, 1))
        step[0, 0] = [1.0, 0.0]
        steps.append(step)
    return [steps, [step.copy() for step in steps]]

"""Payoffs that are known only by asking, and a game in which a pure equilibrium takes exponentially many questions."""

import operator
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tenpapers import check

from . import _check

Oracle = Callable[[int, tuple[int, ...]], float]


class QueryCounter:
    """An m-player game behind a counter: `counter(player, joint_action)` looks up one payoff, `.count` says how often.

    payoffs  m arrays (n_1, ..., n_m) in [0, 1], or a function (player, joint_action) -> payoff for games too large
             for a table
    """

    def __init__(self, payoffs: Sequence[ArrayLike] | Oracle) -> None:
        self.count = 0
        self._function: Oracle
        if callable(payoffs):
            self._function = payoffs
            return
        self._tables = _check.game(payoffs)
        self._function = self._look_up

    def _look_up(self, player: int, joint_action: tuple[int, ...]) -> float:
        shape = self._tables[0].shape
        if not 0 <= player < len(self._tables):
            raise ValueError(f"player must be in 0..{len(self._tables) - 1}, got {player}")
        if len(joint_action) != len(shape) or not all(0 <= a < n for a, n in zip(joint_action, shape, strict=True)):
            raise ValueError(f"joint_action must hold one action per player, below {shape}, got {joint_action}")
        return float(self._tables[player][joint_action])

    def __call__(self, player: int, joint_action: Sequence[int]) -> float:
        """The payoff M_player(joint_action). Raises ValueError, and counts nothing, where there is no such payoff."""
        try:
            place = operator.index(player), tuple(operator.index(a) for a in joint_action)
        except TypeError:
            raise TypeError(
                f"a query is an integer player and a sequence of integer actions, got {player!r}, {joint_action!r}"
            ) from None
        payoff = self._function(*place)
        self.count += 1
        return payoff


def snake(m: int, generator: np.random.Generator) -> Oracle:
    """An identical-interest game of m players with two actions whose payoff rises along a hidden random walk.

    The walk starts at a random corner of {0, 1}^m and flips a random coordinate 2^(m/2) times. A corner pays the time
    of the walk's last visit, or, off the walk, minus its distance from the start; rescaled to [0, 1]. Its pure
    equilibria are the local maxima, and only the walk leads to one.
    """
    m, generator = check.integer("m", m, 1), _check.numpy_generator(generator)
    length = round(2 ** (m / 2))
    place = generator.integers(2, size=m)
    start = place.copy()
    visited = {tuple(place.tolist()): 0}
    for step, flipped in enumerate(generator.integers(m, size=length), 1):
        place[flipped] ^= 1
        visited[tuple(place.tolist())] = step

    def payoff(player: int, joint_action: tuple[int, ...]) -> float:
        height = visited.get(joint_action, -int(np.sum(np.array(joint_action) != start)))
        return (height + m) / (length + m)

    return payoff


def aldous_search(oracle: Oracle, m: int, generator: np.random.Generator) -> tuple[int, ...]:
    """A pure equilibrium of an identical-interest game of m players with two actions (Aldous 1983).

    Ask 2^(m/2) random corners, start from the best, and move to the best neighbour until none is better.
    """
    m, generator = check.integer("m", m, 1), _check.numpy_generator(generator)
    corners = generator.integers(2, size=(round(2 ** (m / 2)), m))
    height, place = max((oracle(0, tuple(corner.tolist())), tuple(corner.tolist())) for corner in corners)
    while True:
        neighbours = [(*place[:j], 1 - place[j], *place[j + 1 :]) for j in range(m)]
        best, found = max((oracle(0, corner), corner) for corner in neighbours)
        if best <= height:
            return place
        height, place = best, found

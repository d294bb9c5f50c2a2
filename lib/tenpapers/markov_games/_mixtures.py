"""Uniform mixtures of T product policies: draw t once per episode, then everyone plays policy t of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from numpy.typing import ArrayLike

from tenpapers import check

from . import _check


@dataclass(frozen=True, eq=False, init=False)
class HistoryFreeMixture:
    """T product policies of two players that ignore history (Markov policies of the repeated game), in equal parts.

    X1  (T, H, n1)   X1[t, h] is player 1's distribution at step h of an episode played with policy t
    X2  (T, H, n2)   the same for player 2

    The index t is drawn once per episode and stays hidden from the players. Raises ValueError when a row is not a
    distribution (nothing is normalised), T or H is 0, or the two horizons or numbers of policies differ.
    """

    X1: Float[np.ndarray, "T H n1"]
    X2: Float[np.ndarray, "T H n2"]

    def __init__(self, X1: ArrayLike, X2: ArrayLike) -> None:
        shapes = [_check.array(name, X).shape for name, X in (("X1", X1), ("X2", X2))]
        for name, shape in zip(("X1", "X2"), shapes, strict=True):
            if len(shape) != 3:
                raise ValueError(f"{name} must have shape (T, H, n), got {shape}")
        _agree(shapes[0][:2], shapes[1][:2])
        object.__setattr__(self, "X1", _check.distributions("X1", X1, 3))
        object.__setattr__(self, "X2", _check.distributions("X2", X2, 3))

    @property
    def T(self) -> int:
        """Number of policies."""
        return self.X1.shape[0]

    @property
    def H(self) -> int:
        """Number of steps of an episode."""
        return self.X1.shape[1]


@dataclass(frozen=True, eq=False, init=False)
class PureMixture:
    """T pure history-free policies: player i of policy t plays the action S_i[t, h] at step h.

    S1  (T, H) integers in 0..n1-1      S2  (T, H) integers in 0..n2-1      actions  (n1, n2)

    What `HistoryFreeMixture` holds in T H n numbers, in one small integer each: for T in the millions.
    """

    S1: Integer[np.ndarray, "T H"]
    S2: Integer[np.ndarray, "T H"]
    actions: tuple[int, int]

    def __init__(self, S1: ArrayLike, S2: ArrayLike, actions: tuple[int, int]) -> None:
        if not isinstance(actions, Sequence) or len(actions) != 2:
            raise TypeError(f"actions must be the two players' numbers of actions (n1, n2), got {actions!r}")
        n1, n2 = (check.integer(f"actions[{j}]", n, 1) for j, n in enumerate(actions))
        object.__setattr__(self, "actions", (n1, n2))
        for name, given, n in (("S1", S1, n1), ("S2", S2, n2)):
            S = _check.actions(name, given, n)
            object.__setattr__(self, name, S.astype(np.min_scalar_type(n - 1), copy=False))
        _agree(self.S1.shape, self.S2.shape)

    @property
    def T(self) -> int:
        """Number of policies."""
        return self.S1.shape[0]

    @property
    def H(self) -> int:
        """Number of steps of an episode."""
        return self.S1.shape[1]

    def dense(self) -> HistoryFreeMixture:
        """The same mixture with every action as a distribution."""
        return HistoryFreeMixture(np.eye(self.actions[0])[self.S1], np.eye(self.actions[1])[self.S2])


@dataclass(frozen=True, eq=False, init=False)
class GeneralMixture:
    """T product policies that may depend on the whole history of joint actions, in equal parts.

    policies[j][h]  (T, N_h, n_j)   player j's distributions at step h, one per policy and history;
                                    N_h = (number of joint actions)^h, history index = row-major flattening of the
                                    earlier joint actions, oldest first; (T, 1, n_j) where history is ignored

    Raises ValueError when a row is not a distribution, or horizons or shapes disagree.
    """

    policies: list[list[Float[np.ndarray, "T _ _"]]]

    def __init__(self, policies: Sequence[Sequence[ArrayLike]]) -> None:
        object.__setattr__(self, "policies", _check.policies(policies))

    @property
    def T(self) -> int:
        """Number of policies."""
        return self.policies[0][0].shape[0]

    @property
    def H(self) -> int:
        """Number of steps of an episode."""
        return len(self.policies[0])

    @property
    def actions(self) -> tuple[int, ...]:
        """Number of actions of each player."""
        return tuple(player[0].shape[2] for player in self.policies)


def general(mixture: HistoryFreeMixture) -> GeneralMixture:
    """A history-free mixture in the form of a general one (every policy with the single row that ignores history)."""
    return GeneralMixture([[X[:, h, None, :] for h in range(mixture.H)] for X in (mixture.X1, mixture.X2)])


def pure(mixture: Any) -> PureMixture:
    """The sequences of a mixture of pure policies; ValueError when a policy mixes."""
    if isinstance(mixture, PureMixture):
        return mixture
    for name, X in (("X1", mixture.X1), ("X2", mixture.X2)):
        if not np.all((X == 0.0) | (X == 1.0)):
            t, h, _ = (int(i) for i in np.argwhere((X != 0.0) & (X != 1.0))[0])
            raise ValueError(
                f"method 'trie' takes pure policies only, and {name}[{t}, {h}] mixes: use 'exact' or 'monte_carlo'"
            )
    actions = (mixture.X1.shape[2], mixture.X2.shape[2])
    return PureMixture(mixture.X1.argmax(2).astype(np.int8), mixture.X2.argmax(2).astype(np.int8), actions)


def _agree(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """Both players have T policies over H steps, T and H at least 1."""
    for name, i in (("T", 0), ("H", 1)):
        if first[i] != second[i]:
            what = "policies" if name == "T" else "steps (the horizon)"
            raise ValueError(
                f"the players' mixtures must have one number {name} of {what}, got {first[i]}, {second[i]}"
            )
        if first[i] == 0:
            raise ValueError(f"a mixture must have {name} of at least 1, got {name} = 0")

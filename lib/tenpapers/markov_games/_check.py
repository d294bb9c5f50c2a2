"""Arguments that a reader may get wrong: one sentence with the name, the value and what is accepted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TOLERANCE = 1e-9  # how far a distribution's sum may be from 1
Array = NDArray[np.float64]


def array(name: str, value: Any) -> Array:
    """`value` as a float64 array on the CPU; a tensor may live anywhere and require a gradient."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    try:
        if np.iscomplexobj(value):
            raise TypeError
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be an array of real numbers, got {type(value).__name__}") from None


def actions(name: str, value: Any, n: int) -> NDArray[np.integer]:
    """`value` as an array (T, H) of integers in 0..n-1, T and H at least 1."""
    try:
        S = np.asarray(value)
    except ValueError:
        raise TypeError(f"{name} must be an array of integers of shape (T, H), got ragged rows") from None
    if S.ndim != 2 or not np.issubdtype(S.dtype, np.integer):
        raise ValueError(f"{name} must be an array of integers of shape (T, H), got {S.dtype} {S.shape}")
    if S.size and not (S.min() >= 0 and S.max() < n):
        raise ValueError(f"{name} must hold actions in 0..{n - 1}, got {S.min()} to {S.max()}")
    return S


def payoffs(name: str, value: Any, players: int | None = None) -> Array:
    """A payoff array with entries in [0, 1], one axis per player."""
    payoff = array(name, value)
    if payoff.ndim < 1 or payoff.size == 0 or (players is not None and payoff.ndim != players):
        wanted = "one axis per player" if players is None else f"{players} axes, one per player"
        raise ValueError(f"{name} must have {wanted} and at least one action each, got shape {payoff.shape}")
    if not (payoff.min() >= 0.0 and payoff.max() <= 1.0):  # also false for NaN
        where = tuple(int(i) for i in np.argwhere(~((payoff >= 0) & (payoff <= 1)))[0])
        raise ValueError(f"{name} must hold payoffs in [0, 1], got {payoff[where]} at {where}; rescale it first")
    return payoff


def bimatrix(A: Any, B: Any) -> tuple[Array, Array]:
    """Both players' payoffs, of one shape (n1, n2)."""
    A, B = payoffs("A", A, 2), payoffs("B", B, 2)
    if A.shape != B.shape:
        raise ValueError(f"A and B must have one shape (n1, n2), row player first, got {A.shape} and {B.shape}")
    return A, B


def game(value: Any) -> tuple[Array, ...]:
    """m players' payoffs, arrays of one shape (n_1, ..., n_m) in [0, 1]."""
    if not isinstance(value, Sequence | np.ndarray | torch.Tensor):
        raise TypeError(f"payoffs must be a list with one array per player, got {type(value).__name__}")
    if len(value) == 0:
        raise ValueError("payoffs is empty; there must be one array per player")
    M = tuple(payoffs(f"payoffs[{j}]", payoff, len(value)) for j, payoff in enumerate(value))
    if len({payoff.shape for payoff in M}) > 1:
        raise ValueError(f"payoffs must have one shape (n_1, ..., n_m), got {[payoff.shape for payoff in M]}")
    return M


def distributions(name: str, value: Any, ndim: int | None = None) -> Array:
    """An array whose last axis holds probability distributions; nothing is normalised."""
    rows = array(name, value)
    if rows.ndim == 0 or (ndim is not None and rows.ndim != ndim):
        raise ValueError(f"{name} must have {ndim or 'at least 1'} axes, the last one the actions, got {rows.shape}")
    if rows.size == 0:
        raise ValueError(f"{name} is empty: its shape is {rows.shape}, and every axis must be at least 1")
    off = np.abs(rows.sum(axis=-1) - 1.0)
    if rows.min() >= 0.0 and off.max() <= TOLERANCE:  # both are false when a NaN is in it
        return rows
    wrong = ~((rows >= 0).all(axis=-1) & (off <= TOLERANCE))
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    row = rows[where]
    fault = "a NaN" if np.isnan(row).any() else "a negative entry" if row.min() < 0 else f"the sum {row.sum():.12g}"
    raise ValueError(
        f"{name} must hold probability distributions along its last axis (entries at least 0, sum 1 within "
        f"{TOLERANCE:g}), got {fault} at row {where}"
    )


def policies(value: Any) -> list[list[Array]]:
    """`policies[j][h]` of shape (T, N_h, n_j), with N_h = (number of joint actions)^h or 1 where history is ignored."""
    if not isinstance(value, Sequence) or not value or not all(isinstance(p, Sequence) for p in value):
        raise TypeError("policies must be a list with one list per player, which holds one array per step")
    H = len(value[0])
    if any(len(player) != H for player in value):
        raise ValueError(f"policies must have one horizon, got the lengths {[len(player) for player in value]}")
    if H == 0:
        raise ValueError("policies has the horizon H = 0; there must be at least one step")
    found = [
        [distributions(f"policies[{j}][{h}]", step, 3) for h, step in enumerate(player)]
        for j, player in enumerate(value)
    ]
    T, actions = found[0][0].shape[0], [player[0].shape[2] for player in found]
    joint = int(np.prod(actions))
    for j, player in enumerate(found):
        for h, step in enumerate(player):
            if step.shape not in ((T, joint**h, actions[j]), (T, 1, actions[j])):
                raise ValueError(
                    f"policies[{j}][{h}] must have shape {(T, joint**h, actions[j])}, that is (T, N_h, n_j) with "
                    f"N_h = {joint}^{h} histories (or N_h = 1 where history is ignored), got {step.shape}"
                )
    return found


def numpy_generator(generator: Any) -> np.random.Generator:
    """`generator` itself, a NumPy generator."""
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"generator must be a numpy.random.Generator, got {type(generator).__name__}")
    return generator


def random(generator: Any) -> torch.Generator:
    """A torch generator: `generator` itself, one seeded from a NumPy generator, or a fresh one of seed 0 for None."""
    if generator is None:
        return torch.Generator().manual_seed(0)
    if isinstance(generator, np.random.Generator):
        return torch.Generator().manual_seed(int(generator.integers(2**62)))
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch or a NumPy generator, got {type(generator).__name__}")
    return generator

"""Exact values and best responses on the full tree of joint actions, for mixtures of history-dependent policies."""

import math

import numpy as np

from ._check import Array

LIMIT = 2**27  # entries of the widest level of the tree: 1 GB


def check_size(T: int, H: int, actions: tuple[int, ...]) -> None:
    """Refuse a tree that would not fit, before anything is allocated."""
    joint = math.prod(actions)
    if T * joint**H > LIMIT:
        nodes = sum(joint**h for h in range(H))
        raise ValueError(
            f"the tree of histories is too large for the exact method: {nodes} nodes with {T} policies each; shorten H "
            "or, for policies that ignore history, use method 'monte_carlo'"
        )


def joint_probabilities(policies: list[list[Array]], h: int, skip: int | None = None) -> Array:
    """prod_j policies[j][h] over all players but `skip`, shape (T, N_h or 1, n_1, ..., n_m) (1 on the skipped axis)."""
    players = len(policies)
    product: Array | None = None
    for j in range(players):
        if j == skip:
            continue
        step = policies[j][h]
        shape = [*step.shape[:2], *(1 for _ in range(players))]
        shape[2 + j] = step.shape[2]
        factor = step.reshape(shape)
        product = factor if product is None else product * factor
    return np.ones((1,) * (players + 2)) if product is None else product


def values(policies: list[list[Array]], rewards: Array) -> Array:
    """(players,) expected reward per step of everyone when the mixture is played; rewards (players, n_1, ..., n_m)."""
    T, H, actions = _sizes(policies)
    weight = np.full((T, 1), 1.0 / T)
    total = np.zeros(len(rewards))
    for h in range(H):
        reach = weight.reshape(T, -1, *(1 for _ in actions)) * joint_probabilities(policies, h)
        total += np.tensordot(rewards, reach.sum(axis=(0, 1)), axes=len(actions))
        weight = reach.reshape(T, -1)
    return total / H


def best_response(policies: list[list[Array]], rewards: Array, player: int) -> float:
    """The most reward per step that `player` can get by any history-dependent policy that does not see t.

    rewards (n_1, ..., n_m) of that player. Weights over t are the others' likelihoods alone: under a deviation the
    deviator's own actions say nothing about t. They are never normalised, so nodes of probability 0 need no care.
    """
    T, H, actions = _sizes(policies)
    weight = np.ones((T, 1)) / T
    beliefs = []
    for h in range(H):
        reach = weight.reshape(T, -1, *(1 for _ in actions)) * joint_probabilities(policies, h, skip=player)
        reach = np.broadcast_to(reach, (*reach.shape[:2], *actions))
        beliefs.append(reach.sum(axis=0))  # (N_h, n_1, ..., n_m): sum over t of weight times the others' probabilities
        weight = reach.reshape(T, -1) if h + 1 < H else weight
    others = tuple(1 + j for j in range(len(actions)) if j != player)
    below = (beliefs[-1] * rewards).sum(axis=others).max(axis=1)  # (N_h,) value of a node from step h on
    for belief in reversed(beliefs[:-1]):
        below = (belief * rewards + below.reshape(belief.shape)).sum(axis=others).max(axis=1)
    return float(below[0]) / H


def _sizes(policies: list[list[Array]]) -> tuple[int, int, tuple[int, ...]]:
    T, H = policies[0][0].shape[0], len(policies[0])
    actions = tuple(player[0].shape[2] for player in policies)
    check_size(T, H, actions)
    return T, H, actions

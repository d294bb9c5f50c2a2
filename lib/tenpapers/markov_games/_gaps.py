"""What a player can gain by deviating from a mixture: to a Markov policy, or to any policy that remembers."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tenpapers import check

from . import _check, _tree
from ._check import Array
from ._mixtures import GeneralMixture, HistoryFreeMixture, PureMixture, general, pure

METHODS = ("exact", "monte_carlo", "trie")
_LEAVES = 2**24  # sequences of opponent actions that the exact method will hold
_WORK = 2**37  # multiplications that it will do
_ROUNDING = 1e-12  # the least standard error: where all draws agree, sums still round
_BLOCK = 2**20  # entries handled at once, so that they stay in the processor's cache


class Gap(NamedTuple):
    """How much a deviation gains per step over playing along, the payoffs being in [0, 1].

    value           max over players; negative where even the best deviation loses (it is never clipped at 0)
    per_player      (players,)
    standard_error  of the Monte-Carlo estimate, the larger of the players'; 0.0 where the value is exact
    """

    value: float
    per_player: Float[np.ndarray, "players"]
    standard_error: float


def nash_gap(x: ArrayLike, y: ArrayLike, A: ArrayLike, B: ArrayLike) -> float:
    """The most that a player gains by leaving the profile (x, y) of the bimatrix game (A, B).

    x (n1,), y (n2,) distributions; A, B (n1, n2) payoffs in [0, 1] of the row and the column player.
    max of max_a (A y)_a - x A y and max_b (x B)_b - x B y; zero exactly at a Nash equilibrium.
    """
    A, B = _check.bimatrix(A, B)
    x, y = _check.distributions("x", x, 1), _check.distributions("y", y, 1)
    if (len(x), len(y)) != A.shape:
        raise ValueError(f"x and y must have {A.shape[0]} and {A.shape[1]} entries, got {len(x)} and {len(y)}")
    row, column = A @ y, x @ B
    return float(max(row.max() - x @ row, column.max() - column @ y))


def stage_gaps(mixture: HistoryFreeMixture, A: ArrayLike, B: ArrayLike) -> Float[np.ndarray, "T H 2"]:
    """Each player's gain from leaving the stage profile (x_h^t, y_h^t), for every policy t and step h."""
    if not isinstance(mixture, HistoryFreeMixture):
        hint = "; use its .dense()" if isinstance(mixture, PureMixture) else ""
        raise TypeError(f"mixture must be a HistoryFreeMixture here, got {type(mixture).__name__}{hint}")
    A, B = _fitting(mixture, A, B)
    gains = []
    for own, opponent, U in ((mixture.X1, mixture.X2, A), (mixture.X2, mixture.X1, B.T)):
        payoff = opponent @ U.T  # (T, H, n_own)
        gains.append(payoff.max(axis=2) - (own * payoff).sum(axis=2))
    return np.stack(gains, axis=2)


def markov_gap(mixture: HistoryFreeMixture | PureMixture | GeneralMixture, A: ArrayLike, B: ArrayLike) -> Gap:
    """The gap against deviations that ignore history: per step, the best reply to the opponent's average policy.

    It is also the gap against all deviations when t is drawn afresh at every step. Exact, O(T H n).
    """
    if isinstance(mixture, GeneralMixture):
        raise TypeError("markov_gap takes a HistoryFreeMixture or a PureMixture, got a GeneralMixture")
    A, B = _fitting(mixture, A, B)
    if isinstance(mixture, PureMixture):
        averages = [_counts(S, n) / mixture.T for S, n in zip((mixture.S1, mixture.S2), A.shape, strict=True)]
    else:
        averages = [mixture.X1.mean(axis=0), mixture.X2.mean(axis=0)]
    best = [(averages[1] @ A.T).max(axis=1).mean(), (averages[0] @ B).max(axis=1).mean()]
    return _gap(np.array(best), _values(mixture, A, B))


def general_gap(
    mixture: HistoryFreeMixture | PureMixture | GeneralMixture,
    A: ArrayLike,
    B: ArrayLike,
    method: str = "exact",
    samples: int = 2000,
    generator: torch.Generator | np.random.Generator | None = None,
) -> Gap:
    """The gap against all deviations, history-dependent ones included: general regret divided by T (and H).

    The deviator sees the opponent's past actions, not t. Against policies that ignore history its best policy is
    greedy for the Bayes prediction of the opponent's next action.

    method     "exact": all n^H sequences of opponent actions (or the tree of joint actions of a GeneralMixture);
               "monte_carlo": `samples` episodes, unbiased, with a standard error; runs on the generator's device;
               "trie": exact for pure policies, one sort of the T sequences.
    generator  for "monte_carlo"; None is a fresh generator of seed 0

    Raises ValueError for payoffs outside [0, 1], a tree too large for "exact", and mixed policies with "trie".
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; valid: {', '.join(METHODS)}")
    A, B = _fitting(mixture, A, B)
    if isinstance(mixture, GeneralMixture):
        if method != "exact":
            raise ValueError(f"a GeneralMixture's gap has the method 'exact' only, got {method!r}")
        replies = [_tree.best_response(mixture.policies, U, i) for i, U in enumerate((A, B))]
        return _gap(np.array(replies), _tree.values(mixture.policies, np.stack([A, B])))
    if method == "trie":
        sequences = pure(mixture)
        replies = [trie_value(sequences.S2, A), trie_value(sequences.S1, B.T)]
        return _gap(np.array(replies), _values(sequences, A, B))
    dense = mixture.dense() if isinstance(mixture, PureMixture) else mixture
    if method == "exact":
        replies = [exact_value(dense.X2, A), exact_value(dense.X1, B.T)]
        return _gap(np.array(replies), _values(dense, A, B))
    samples = check.integer("samples", samples, 2)
    generator = _check.random(generator)
    drawn = [sampled_values(X, U, samples, generator) for X, U in ((dense.X2, A), (dense.X1, B.T))]
    errors = [float(d.std()) / samples**0.5 for d in drawn]
    means = np.array([float(d.mean()) for d in drawn])
    return _gap(means, _values(dense, A, B), max(*errors, _ROUNDING))


def exact_value(X: Array, U: Array) -> float:
    """The best deviation's reward per step against the opponent's mixture X (T, H, n); U (n_own, n).

    All n^H opponent sequences' probabilities come from one matrix product of two half-length tables (meet in the
    middle), and each level's unnormalised predictions are a sum over the levels below.
    """
    X, U = _deviation(X, U)
    T, H, n = X.shape
    if n**H > _LEAVES or T * n**H > _WORK:
        nodes = sum(n**h for h in range(H))
        raise ValueError(
            f"the tree of opponent actions is too large for the exact method: {nodes} nodes with {T} policies each; "
            "use method 'monte_carlo' (or 'trie' for pure policies)"
        )
    joint = np.zeros(n**H)
    rows = max(1, 2 * _BLOCK // n ** ((H + 1) // 2))
    for start in range(0, T, rows):
        part = X[start : start + rows]
        early, late = _paths(part[:, : H // 2]), _paths(part[:, H // 2 :])
        joint += (early.T @ late).ravel()
    total = 0.0
    for _ in range(H):
        predictions = joint.reshape(-1, n)  # P(history and next action), deepest step first
        total += float((predictions @ U.T).max(axis=1).sum())
        joint = predictions.sum(axis=1)
    return total / (T * H)


def _deviation(X: Array, U: Array) -> tuple[Array, Array]:
    """The opponent's policies and the deviator's payoffs, checked against each other."""
    X, U = _check.distributions("X", X, 3), _check.payoffs("U", U, 2)
    if U.shape[1] != X.shape[2]:
        raise ValueError(f"U must have one column per action of the opponent, {X.shape[2]}, got shape {U.shape}")
    return X, U


def _paths(X: Array) -> Array:
    """(T, n^k) probabilities of all sequences of the k = X.shape[1] steps under each policy."""
    table = np.ones((len(X), 1))
    for h in range(X.shape[1]):
        table = (table[:, :, None] * X[:, h, None, :]).reshape(len(X), -1)
    return table


def sampled_values(X: Array, U: Array, samples: int, generator: torch.Generator) -> Float[Tensor, "samples"]:
    """Rewards per step of `samples` episodes of the best deviation against the opponent's mixture X (T, H, n).

    In each episode t and the opponent's actions are drawn. The posterior weights are carried for k steps at a time: one
    product with the table of all n^k sequences gives the probabilities of everything that can happen in these steps,
    and the deviator is paid its expected reward over them, given the actions seen before. That is unbiased, and varies
    less than the reward that is realised. Policies with a posterior below 1e-100 are dropped. There are at least two
    blocks, so that the spread of the draws tells the error.
    """
    X, U = _deviation(X, U)
    device = generator.device
    policies = torch.as_tensor(X, dtype=torch.float64, device=device)
    payoff = torch.as_tensor(np.pad(U.T, ((0, 0), (0, 1)), constant_values=1.0), dtype=torch.float64, device=device)
    T, H, n = policies.shape
    k = min(max(1, H // 2), max(1, int(math.log(64) / math.log(max(n, 2)))))
    starts = range(0, H, k)
    keep = T * n**k * len(starts) < 2**26  # all tables at once, or each when its turn comes
    tables = [_path_table(policies[:, h : h + k]) for h in starts] if keep else []
    edges = policies.cumsum(dim=2)
    chunk = max(1, (_BLOCK if device.type == "cpu" else 2**29) // (4 * T))
    found = []
    for start in range(0, samples, chunk):
        N = min(chunk, samples - start)
        t = torch.randint(T, (N,), generator=generator, device=device)
        actions = _draw(edges[t], generator)  # (N, H)
        weights = torch.full((N, T), 1.0 / T, dtype=torch.float64, device=device)
        likelihood = torch.empty_like(weights)
        total = torch.zeros(N, dtype=torch.float64, device=device)
        for b, h in enumerate(starts):
            table = tables[b] if keep else _path_table(policies[:, h : h + k])
            joint = weights @ table.T  # (N, n^k) weights of what can follow
            total += _expected(joint, payoff)
            if h + k < H:
                path = torch.zeros(N, dtype=torch.int64, device=device)
                for i in range(h, h + k):
                    path = path * n + actions[:, i]
                weights *= torch.index_select(table, 0, path, out=likelihood)
                if b % 4 == 3:  # normalise, and drop what is ruled out: denormal numbers would be very slow
                    weights /= weights.sum(dim=1, keepdim=True)
                    torch.threshold_(weights, 1e-100, 0.0)
        found.append(total / H)
    return torch.cat(found)


def _path_table(X: Tensor) -> Tensor:
    """(n^k, T) probabilities of all sequences of the k = X.shape[1] steps under each policy."""
    table = torch.ones(1, len(X), dtype=X.dtype, device=X.device)
    for h in range(X.shape[1]):
        table = (table[:, None, :] * X[:, h].T[None]).reshape(-1, len(X))
    return table.contiguous()


def _expected(joint: Tensor, payoff: Tensor) -> Tensor:
    """(N,) what the greedy deviator expects over the next k steps; joint (N, n^k) weights of their sequences.

    The last column of `payoff` (n, n_own + 1) is 1, so that one product gives every action's value and the weight of
    the history, deepest step first; sums of few columns are products too, because those are faster.
    """
    N, n = len(joint), len(payoff)
    earned = torch.zeros(N, dtype=joint.dtype, device=joint.device)
    for _ in range(max(1, round(math.log(joint.shape[1]) / math.log(max(n, 2))))):
        both = joint.reshape(-1, n) @ payoff  # (histories, n_own + 1)
        best = both[:, :-1].amax(dim=1).reshape(N, -1)
        earned += best @ torch.ones(best.shape[1], dtype=best.dtype, device=best.device)
        joint = both[:, -1].reshape(N, -1)
    return earned / joint[:, 0]


def _draw(edges: Tensor, generator: torch.Generator) -> Tensor:
    """One action per row of cumulated probabilities (..., n); an action of probability 0 is never drawn."""
    top = edges[..., -1]
    u = torch.rand(top.shape, generator=generator, dtype=edges.dtype, device=edges.device) * top
    u = torch.minimum(u, torch.nextafter(top, torch.zeros_like(top)))
    return (edges <= u[..., None]).sum(dim=-1)


def trie_value(S: Integer[np.ndarray, "T H"], U: Array) -> float:
    """The best deviation's reward per step against T pure opponent sequences S (T, H) in equal parts; exact.

    A deviator that knew the sequence would earn max_a U[a, s] at each step. It falls short only where several
    different continuations share the history, so it is enough to visit histories shared by two or more sequences:
    sort the sequences once, as integers, and count the next actions of every group of equal prefixes, until no prefix
    is shared. O(T log T + T H) time; sequences longer than one integer are sorted in pieces, group number first.
    """
    U = _check.payoffs("U", U, 2)
    n = U.shape[1]
    S = _check.actions("S", S, n)
    T, H = S.shape
    if S.size == 0:
        raise ValueError(f"S must hold at least one sequence of at least one step, got shape {S.shape}")
    bits = max(1, (n - 1).bit_length())
    ideal = sum(float(best) * np.count_nonzero(action == S) for action, best in enumerate(U.max(axis=0)))
    shortfall, rows, group, h = 0.0, None, np.zeros(T, dtype=np.int64), 0
    while h < H and len(group) > 1:
        steps = min(H - h, (62 - int(group.max()).bit_length()) // bits)
        key = _packed(S, rows, h, steps, bits)
        if h:
            key |= group << (bits * steps)
        order = None
        if h + steps < H:
            order = np.argsort(key, kind="stable")
            key = key[order]
        else:
            key.sort()
        lost, shared, group = _shared_prefixes(key, steps, bits, U, track=order is not None)
        shortfall += lost
        if order is not None:
            rows = order[shared] if rows is None else rows[order[shared]]
        h += steps
    return (ideal - shortfall) / (T * H)


def _packed(S: NDArray[np.integer], rows: Any, h: int, steps: int, bits: int) -> NDArray[np.int64]:
    """Steps h..h+steps-1 of each sequence as one integer, `bits` bits a step, a thousand rows at a time."""
    T = len(S) if rows is None else len(rows)
    key = np.empty(T, dtype=np.int64)
    half = steps // 2  # in two halves, each of which a float64 holds exactly
    weights = [2.0 ** (bits * np.arange(size)[::-1]) for size in (half, steps - half)]
    for start in range(0, T, 1024):
        part = S[start : start + 1024] if rows is None else S[rows[start : start + 1024]]
        part = part[:, h : h + steps].astype(np.float64)
        early, late = (part[:, :half] @ weights[0]).astype(np.int64), (part[:, half:] @ weights[1]).astype(np.int64)
        key[start : start + 1024] = (early << (bits * (steps - half))) | late
    return key


def _shared_prefixes(
    key: NDArray[np.int64], steps: int, bits: int, U: Array, track: bool
) -> tuple[float, NDArray[np.int64], NDArray[np.int64]]:
    """Shortfall over `steps` steps of sorted keys; positions (if tracked) and groups of those still shared then."""
    best, mask = U.max(axis=0), (1 << bits) - 1
    level = _levels(key, steps, bits)
    positions = np.arange(len(key)) if track else np.zeros(0, dtype=np.int64)
    lost = 0.0
    for i in range(steps):
        children = np.flatnonzero(level <= i + 1)  # where a group of equal history and next action begins
        sizes = np.diff(children, append=len(key))
        symbol = (key[children] >> (bits * (steps - 1 - i))) & mask
        first = np.flatnonzero(level[children] <= i)  # each history's first child
        paid = np.add.reduceat(U[0][symbol] * sizes, first)
        for row in U[1:]:
            np.maximum(paid, np.add.reduceat(row[symbol] * sizes, first), out=paid)
        lost += float(best[symbol] @ sizes - paid.sum())
        if 2 * len(children) > len(key):  # many stand alone now: they leave
            shared = np.repeat(sizes > 1, sizes)
            key, level, positions = key[shared], level[shared], positions[shared] if track else positions
            if not len(key):
                break
    return lost, positions, np.cumsum(level <= steps, dtype=np.int64) - 1


def _levels(key: NDArray[np.int64], steps: int, bits: int) -> NDArray[np.int8]:
    """From which depth on each sorted key stands apart from the one before: 0 another group, steps + 1 never."""
    level = np.zeros(len(key), dtype=np.int8)
    for start in range(1, len(key), 4096):
        differing = key[start : start + 4096] ^ key[start - 1 : start - 1 + len(key[start : start + 4096])]
        differing &= ~(differing >> 1)  # keeps the highest bit, and a float64 cannot round it up
        highest = np.frexp(differing.astype(np.float64))[1]
        level[start : start + 4096] = np.maximum(0, steps - (highest - 1) // bits)
    return level


def _counts(S: NDArray[np.integer], n: int) -> Array:
    """(H, n) how often each action stands at each step."""
    return np.stack([np.bincount(S[:, h], minlength=n) for h in range(S.shape[1])]).astype(np.float64)


def _values(mixture: HistoryFreeMixture | PureMixture, A: Array, B: Array) -> Array:
    """(2,) rewards per step when the mixture is played."""
    if isinstance(mixture, PureMixture):
        cells = np.zeros(A.size)
        for h in range(mixture.H):
            cells += np.bincount(mixture.S1[:, h].astype(np.int64) * A.shape[1] + mixture.S2[:, h], minlength=A.size)
        joint = cells.reshape(A.shape) / (mixture.T * mixture.H)
    else:
        T, H, n1 = mixture.X1.shape
        joint = mixture.X1.reshape(-1, n1).T @ mixture.X2.reshape(T * H, -1) / (T * H)
    return np.array([(joint * A).sum(), (joint * B).sum()])


def _gap(best: Array, values: Array, standard_error: float = 0.0) -> Gap:
    gains = best - values
    return Gap(float(gains.max()), gains, standard_error)


def _fitting(mixture: Any, A: ArrayLike, B: ArrayLike) -> tuple[Array, Array]:
    """The payoffs, checked against the mixture's numbers of actions."""
    A, B = _check.bimatrix(A, B)
    if isinstance(mixture, HistoryFreeMixture):
        actions: tuple[int, ...] = (mixture.X1.shape[2], mixture.X2.shape[2])
    elif isinstance(mixture, PureMixture | GeneralMixture):
        actions = tuple(mixture.actions)
    else:
        raise TypeError(
            f"mixture must be a HistoryFreeMixture, PureMixture or GeneralMixture, got {type(mixture).__name__}"
        )
    if actions != A.shape:
        raise ValueError(f"the payoffs have shape {A.shape}, but the mixture's players have {actions} actions")
    return A, B


__all__ = ["Gap", "general", "general_gap", "markov_gap", "nash_gap", "stage_gaps"]

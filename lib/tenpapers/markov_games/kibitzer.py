"""The Kibitzer game: m players and an onlooker who says, at every step, what one of them should have played.

The Kibitzer names a player j and an action a'_j. Player j pays the Kibitzer M_j(a'_j, a_-j) - M_j(a), what the advice
would have gained; nobody else pays. The game is zero-sum in total, and its point is that no threat deters the Kibitzer:
whatever history-dependent policies the players use, a sparse approximate CCE gives away an approximate Nash equilibrium
of M.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike

from tenpapers import check

from . import _check, _tree
from ._check import Array
from ._mixtures import GeneralMixture
from .aggregation import BayesPredictor, delta
from .queries import Oracle


@dataclass(frozen=True, eq=False)
class KibitzerGame:
    """The Kibitzer game of m payoff arrays over H steps; made by `game`.

    payoffs  m arrays (n_1, ..., n_m) in [0, 1]
    rewards  (m + 1, n_1, ..., n_m, K), the Kibitzer last, not divided by H; K = n_1 + ... + n_m and the Kibitzer's
             actions (j, a'_j) are ordered player 1's first
    """

    payoffs: tuple[Array, ...]
    H: int
    rewards: Float[np.ndarray, "..."]

    @property
    def m(self) -> int:
        """Number of players, the Kibitzer not counted."""
        return len(self.payoffs)

    @property
    def actions(self) -> tuple[int, ...]:
        """Numbers of actions, the Kibitzer's last."""
        return self.rewards.shape[1:]

    @property
    def advice(self) -> list[tuple[int, int]]:
        """(j, a'_j) of each action of the Kibitzer."""
        return [(j, a) for j, n in enumerate(self.actions[:-1]) for a in range(n)]

    def mixture(self, policies: Sequence[Sequence[ArrayLike]]) -> "KibitzerMixture":
        """T product policies of all m + 1 players in equal parts, the Kibitzer last.

        policies[j][h] of shape (T, N_h, n_j), N_h = (n_1 ... n_m K)^h, as in `GeneralMixture`; (T, 1, n_j) where
        history is ignored. Raises ValueError when players, horizon or shapes do not fit the game.
        """
        found = GeneralMixture(policies)
        if len(found.policies) != self.m + 1:
            raise ValueError(f"policies must hold {self.m + 1} players, the Kibitzer last, got {len(found.policies)}")
        if found.H != self.H:
            raise ValueError(f"policies must have the game's horizon H = {self.H}, got {found.H}")
        if found.actions != self.actions:
            raise ValueError(f"the players must have {self.actions} actions, the Kibitzer last, got {found.actions}")
        return KibitzerMixture(self, found)


@dataclass(frozen=True, eq=False)
class KibitzerMixture:
    """A mixture of product policies of a Kibitzer game; made by `KibitzerGame.mixture`."""

    game: KibitzerGame
    policies: GeneralMixture


class Gaps(NamedTuple):
    """Per step and player (m + 1,), the Kibitzer last: the value of playing along, of the best deviation, the gain."""

    values: Float[np.ndarray, "players"]
    best_responses: Float[np.ndarray, "players"]
    gaps: Float[np.ndarray, "players"]


class Extraction(NamedTuple):
    """What the Kibitzer's aggregating deviation finds.

    value            its reward per step
    average_gap      E (1/H) sum_h NashGap of the predictions q_h: at most `bound(T, H, m, epsilon)`
    minimum_gap      the smallest NashGap of a prediction on the way
    total_variation  (m,) average TV between each player's policy and its prediction: at most sqrt(log T / (2H)) each
    profile          the m predictions (n_j,) with that smallest gap: an approximate Nash equilibrium of M
    """

    value: float
    average_gap: float
    minimum_gap: float
    total_variation: Float[np.ndarray, "m"]
    profile: tuple[Float[np.ndarray, "n"], ...]


def game(payoffs: Sequence[ArrayLike], H: int) -> KibitzerGame:
    """The Kibitzer game of m players' payoffs, arrays of one shape (n_1, ..., n_m) in [0, 1], over H steps."""
    H = check.integer("H", H, 1)
    M = _check.game(payoffs)
    m = len(M)
    n = M[0].shape
    rewards = np.zeros((m + 1, *n, sum(n)))
    k = 0
    for j in range(m):
        for advised in range(n[j]):
            rewards[j, ..., k] = M[j] - M[j].take([advised], axis=j)
            k += 1
    rewards[m] = -rewards[:m].sum(axis=0)
    return KibitzerGame(M, H, rewards)


def bound(T: int, H: int, m: int, epsilon: float) -> float:
    """(m + 1) epsilon + (2 m^2 - 1) sqrt(log T / (2H)): the most that the extracted average NashGap can be."""
    m = check.integer("m", m, 1)
    return (m + 1) * check.real("epsilon", epsilon, minimum=-2.0) + (2 * m**2 - 1) * delta(T, H)


def profile_gap(profile: Sequence[ArrayLike], payoffs: Sequence[Array]) -> float:
    """NashGap of a product profile in the m-player game: the most that one player gains by leaving it."""
    M = _check.game(payoffs)
    q = [_check.distributions(f"profile[{j}]", part, 1) for j, part in enumerate(profile)]
    if tuple(len(part) for part in q) != M[0].shape:
        raise ValueError(f"profile must hold one distribution per player, over {M[0].shape} actions, got {len(q)}")
    return float(_gains([part[None] for part in q], M)[0].max())


def gaps(mixture: KibitzerMixture) -> Gaps:
    """Everyone's value, best deviation and gain in a mixture, exactly, on the full tree (small H)."""
    _known(mixture)
    policies, rewards = mixture.policies.policies, mixture.game.rewards
    values = _tree.values(policies, rewards)
    best = np.array([_tree.best_response(policies, rewards[i], i) for i in range(len(rewards))])
    return Gaps(values, best, best - values)


def extract(
    mixture: KibitzerMixture,
    method: str = "exact",
    episodes: int = 100,
    generator: torch.Generator | np.random.Generator | None = None,
) -> Extraction:
    """Let the Kibitzer deviate: predict every player by its own Bayes posterior, and advise the largest gain.

    method     "exact": expectations over all histories (small H); "rollout": averages over `episodes` episodes, each
               played with one hidden t, any H whose policies fit in memory
    generator  for "rollout"; None is a fresh generator of seed 0

    The posterior over t of player j uses player j's actions only, given the history that all have seen.
    """
    _known(mixture)
    if method == "exact":
        return _exact(mixture)
    if method != "rollout":
        raise ValueError(f"method is {method!r}; valid: exact, rollout")
    episodes = check.integer("episodes", episodes, 1)
    seed = int(torch.randint(2**62, (1,), generator=_check.random(generator)))
    return _rollout(mixture, episodes, np.random.default_rng(seed))


def _known(mixture: KibitzerMixture) -> None:
    """Refuse what is not a mixture of a Kibitzer game."""
    if not isinstance(mixture, KibitzerMixture):
        raise TypeError(f"mixture must be made by kibitzer.game(...).mixture(...), got {type(mixture).__name__}")


def _exact(mixture: KibitzerMixture) -> Extraction:
    """Walk all histories that the Kibitzer's deviation can meet, with every policy's probability of each."""
    played, policies = mixture.game, mixture.policies.policies
    T, H, m, n = mixture.policies.T, played.H, played.m, played.actions
    _tree.check_size(T, H, n[:-1])
    own = [np.ones((T, 1)) for _ in range(m)]  # (T, nodes) likelihood of each player's own actions
    index = np.zeros(1, dtype=np.int64)  # each node's history, as the policies number it
    value, average, smallest = 0.0, 0.0, math.inf
    best: tuple[Array, ...] = ()
    variation = np.zeros(m)
    for h in range(H):
        reach = np.prod(own, axis=0) / T  # (T, nodes) P(t and history)
        seen = np.flatnonzero(reach.sum(axis=0) > 0)
        reach, index, own = reach[:, seen], index[seen], [w[:, seen] for w in own]
        sigma = [_rows(policies[j][h], index) for j in range(m)]  # (T, nodes, n_j)
        posteriors = [w / w.sum(axis=0) for w in own]
        q = [np.einsum("tx,txa->xa", w, s) for w, s in zip(posteriors, sigma, strict=True)]
        gain = _gains(q, played.payoffs)  # (nodes, K)
        advice = gain.argmax(axis=1)
        gap = gain.max(axis=1)
        average += float(reach.sum(axis=0) @ gap)
        if gap.min() < smallest:
            smallest, best = float(gap.min()), tuple(part[gap.argmin()] for part in q)
        variation += [(reach * np.abs(s - p).sum(axis=2)).sum() / 2 for s, p in zip(sigma, q, strict=True)]
        joint = reach.reshape(*reach.shape, *(1 for _ in range(m))) * _product(sigma)  # (T, nodes, n_1, ..., n_m)
        earned = np.moveaxis(played.rewards[m], -1, 0)[advice]  # (nodes, n_1, ..., n_m)
        value += float((joint.sum(axis=0) * earned).sum())
        own = [
            np.broadcast_to(_along(w[:, :, None] * s, j, m), joint.shape).reshape(T, -1)
            for j, (w, s) in enumerate(zip(own, sigma, strict=True))
        ]
        cells = np.arange(math.prod(n[:-1])) * n[-1]
        index = ((index * math.prod(n))[:, None] + cells + advice[:, None]).ravel()
    return Extraction(value / H, average / H, smallest, variation / H, best)


def _rollout(mixture: KibitzerMixture, episodes: int, generator: np.random.Generator) -> Extraction:
    """Algorithm K: play `episodes` episodes with a hidden t each, and average."""
    played, policies = mixture.game, mixture.policies.policies
    T, H, m, n = mixture.policies.T, played.H, played.m, played.actions
    value, average, smallest = 0.0, 0.0, math.inf
    best: tuple[Array, ...] = ()
    variation = np.zeros(m)
    for _ in range(episodes):
        t, index = int(generator.integers(T)), 0
        predictors = [BayesPredictor(T) for _ in range(m)]
        for h in range(H):
            sigma = [
                step[:, index if step.shape[1] > 1 else 0] for step in (policies[j][h] for j in range(m))
            ]  # (T, n_j)
            q = [predictor.predict(s) for predictor, s in zip(predictors, sigma, strict=True)]
            gain = _gains([part[None] for part in q], played.payoffs)[0]
            advice = int(gain.argmax())
            average += float(gain[advice])
            if gain[advice] < smallest:
                smallest, best = float(gain[advice]), tuple(q)
            variation += [np.abs(s[t] - part).sum() / 2 for s, part in zip(sigma, q, strict=True)]
            own = [s[t] for s in sigma]
            value += float((played.rewards[m][..., advice] * _product([s[None, None] for s in own])[0, 0]).sum())
            drawn = [int(generator.choice(len(s), p=s / s.sum())) for s in own]
            for j, a in enumerate(drawn):
                predictors[j].update(sigma[j][:, a])
            index = index * math.prod(n) + int(np.ravel_multi_index((*drawn, advice), n))
    count = episodes * H
    return Extraction(value / count, average / count, smallest, variation / count, best)


def play(oracle: Oracle, actions: Sequence[int], advised: tuple[int, int]) -> Float[np.ndarray, "players"]:
    """(m + 1,) rewards, not divided by H, of one step of the Kibitzer game of an unknown M, by two payoff queries.

    oracle(j, a) is M_j(a); actions are the m players'; advised is the Kibitzer's (j, a'_j).
    """
    j, better = advised
    if not 0 <= j < len(actions):
        raise ValueError(f"advised must name a player in 0..{len(actions) - 1}, got {j}")
    instead = (*actions[:j], better, *actions[j + 1 :])
    rewards = np.zeros(len(actions) + 1)
    rewards[j] = oracle(j, tuple(actions)) - oracle(j, instead)
    rewards[-1] = -rewards[j]
    return rewards


def bandit_learners(
    oracle: Oracle, actions: Sequence[int], H: int, episodes: int, generator: np.random.Generator
) -> list[list[Array]]:
    """Independent bandit learners (exponential weights) of all m + 1 players who know of M only what `oracle` tells.

    Every step of an episode costs two payoff queries, 2 H in an episode. Returns policies[j][h] of shape
    (episodes, 1, n_j), the Kibitzer last, for `KibitzerGame.mixture`.
    """
    H, episodes = check.integer("H", H, 1), check.integer("episodes", episodes, 1)
    if not len(actions):
        raise ValueError("actions is empty; it must hold each player's number of actions")
    actions = [check.integer(f"actions[{j}]", n, 1) for j, n in enumerate(actions)]
    generator = _check.numpy_generator(generator)
    n = (*actions, sum(actions))
    advice = [(j, a) for j, k in enumerate(actions) for a in range(k)]
    losses = [np.zeros((H, k)) for k in n]
    X = [np.empty((episodes, H, k)) for k in n]
    for t in range(episodes):
        rates = [math.sqrt(math.log(k) / (k * (t + 1))) if k > 1 else 0.0 for k in n]
        for j in range(len(n)):
            weights = np.exp(-rates[j] * (losses[j] - losses[j].min(axis=1, keepdims=True)))
            X[j][t] = weights / weights.sum(axis=1, keepdims=True)
        for h in range(H):
            drawn = [int(generator.choice(k, p=X[j][t, h])) for j, k in enumerate(n)]
            rewards = play(oracle, drawn[:-1], advice[drawn[-1]])
            for j, a in enumerate(drawn):
                losses[j][h, a] += (1 - rewards[j]) / 2 / (X[j][t, h, a] + rates[j])
    return [[x[:, h, None, :] for h in range(H)] for x in X]


def sampled_gap(
    oracle: Oracle, profile: Sequence[ArrayLike], samples: int, generator: np.random.Generator
) -> tuple[float, float]:
    """NashGap of a product profile by payoff queries alone: the estimate, and the standard error of the gain it is.

    `samples` joint actions are drawn; each costs one query per player and one per action of every player.
    """
    q = [_check.distributions(f"profile[{j}]", part, 1) for j, part in enumerate(profile)]
    samples, generator = check.integer("samples", samples, 2), _check.numpy_generator(generator)
    drawn = np.stack([generator.choice(len(part), size=samples, p=part) for part in q], axis=1)
    gains = []
    for j, part in enumerate(q):
        for advised in range(len(part)):
            gains.append([play(oracle, [int(a) for a in row], (j, advised))[-1] for row in drawn])
    found = np.array(gains)
    best = int(found.mean(axis=1).argmax())
    return float(found[best].mean()), float(found[best].std(ddof=1) / math.sqrt(samples))


def _gains(q: Sequence[Array], payoffs: Sequence[Array]) -> Array:
    """(nodes, K) what each advice (j, a'_j) would gain against the product of q_j (nodes, n_j)."""
    m = len(payoffs)
    found = []
    for j, M in enumerate(payoffs):
        u = np.moveaxis(M, j, 0)[None]  # (nodes or 1, n_j, other players' actions): average over one player at a time
        for k in reversed([k for k in range(m) if k != j]):
            u = (u * q[k].reshape(len(q[k]), *(1 for _ in range(u.ndim - 2)), -1)).sum(axis=-1)
        found.append(u - (u * q[j]).sum(axis=1, keepdims=True))
    return np.concatenate(found, axis=1)


def _rows(step: Array, index: np.ndarray) -> Array:
    """(T, nodes, n) a policy's rows at these histories; one row serves all where history is ignored."""
    return step[:, index] if step.shape[1] > 1 else np.broadcast_to(step, (len(step), len(index), step.shape[2]))


def _along(x: Array, j: int, m: int) -> Array:
    """(T, nodes, n_j) with n_j moved to the axis of player j among m."""
    return x.reshape(*x.shape[:2], *(x.shape[2] if k == j else 1 for k in range(m)))


def _product(sigma: Sequence[Array]) -> Array:
    """(T, nodes, n_1, ..., n_m) joint probabilities of independent players."""
    joint = np.ones((1,) * (2 + len(sigma)))
    for j, part in enumerate(sigma):
        joint = joint * _along(part, j, len(sigma))
    return joint

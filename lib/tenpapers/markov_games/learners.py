"""Independent learners in self-play: what each leaves behind is the mixture of its T iterates.

A repeated game's Markov policies meet one fresh copy of the stage game per step h, whose future does not depend on what
is played; a Markov learner is therefore one normal-form learner per step. `jitter` is the standard deviation of the
random initial cumulative payoffs of each step: without it all steps are alike, and a symmetric game starts at its Nash
equilibrium and stays there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike

from tenpapers import check

from . import _check, _tree
from ._check import Array
from ._gaps import Gap, _draw, _gap
from ._mixtures import GeneralMixture, HistoryFreeMixture

Step = Callable[[int, Array, Array], Array]
_LARGE = 1e100  # step sizes and starts beyond would overflow


def hedge(
    A: ArrayLike, B: ArrayLike, T: int, H: int, seed: int = 0, jitter: float = 1.0, eta: float | None = None
) -> HistoryFreeMixture:
    """Hedge at every step: x_t = softmax(eta_t L_t), L_t the cumulative payoffs.

    eta  the step size; None is eta_t = 2 sqrt(log n / (t + 1)), t = 0, 1, ..., each player with its own n
    """
    eta = None if eta is None else check.real("eta", eta, minimum=0.0, maximum=_LARGE)

    def policy(t: int, total: Array, last: Array) -> Array:
        rate = 2 * math.sqrt(math.log(total.shape[1]) / (t + 1)) if eta is None else eta
        return _softmax(rate * total)

    return _self_play(policy, A, B, T, H, seed, jitter)


def optimistic_hedge(
    A: ArrayLike, B: ArrayLike, T: int, H: int, seed: int = 0, jitter: float = 1.0, eta: float | None = None
) -> HistoryFreeMixture:
    """Optimistic Hedge: x_t = softmax(eta (L_t + g_{t-1})), the last payoffs counted twice; eta None is 0.5."""
    rate = 0.5 if eta is None else check.real("eta", eta, minimum=0.0, maximum=_LARGE)
    return _self_play(lambda t, total, last: _softmax(rate * (total + last)), A, B, T, H, seed, jitter)


def _self_play(
    policy: Step, A: ArrayLike, B: ArrayLike, T: int, H: int, seed: int, jitter: float
) -> HistoryFreeMixture:
    """Both players' iterates when each sees, at every step, its payoffs against the other's policy."""
    A, B = _check.bimatrix(A, B)
    T, H, jitter = (
        check.integer("T", T, 1),
        check.integer("H", H, 1),
        check.real("jitter", jitter, minimum=0.0, maximum=_LARGE),
    )
    generator = np.random.default_rng(check.integer("seed", seed, 0))
    totals = [jitter * generator.standard_normal((H, n)) for n in A.shape]
    last = [np.zeros((H, n)) for n in A.shape]
    X = [np.empty((T, H, n)) for n in A.shape]
    for t in range(T):
        for i in (0, 1):
            X[i][t] = policy(t, totals[i], last[i])
        last = [X[1][t] @ A.T, X[0][t] @ B]
        totals = [total + new for total, new in zip(totals, last, strict=True)]
    return HistoryFreeMixture(*X)


def layered_omd(
    A: ArrayLike, B: ArrayLike, T: int, H: int, seed: int = 0, jitter: float = 1.0, eta0: float = 1.0
) -> HistoryFreeMixture:
    """Layered optimistic mirror descent: each step learns faster than the one before it by a factor T^(3 / (3H + 1)).

    Step h = 1..H has the step size eta0 T^(-(3 (H - h) + 1) / (3H + 1)) and the regulariser
    sum_a (x_a + 1/n) log(x_a + 1/n). What early steps reveal about t is only a window of time, and within that window
    later steps have no regret: the general gap vanishes at the rate T^(-3 / (3H + 1)), so T is exponential in H.
    Start: x_1 proportional to exp(jitter times a standard normal), where the source starts from uniform play, an
    equilibrium of Shapley's game. Source: Algorithm 1 of Yorulmaz, Aydin and Basar (2026, arXiv 2609.00504).
    """
    A, B = _check.bimatrix(A, B)
    T, H, jitter = (
        check.integer("T", T, 1),
        check.integer("H", H, 1),
        check.real("jitter", jitter, minimum=0.0, maximum=_LARGE),
    )
    h = np.arange(1, H + 1)[:, None]
    eta = check.real("eta0", eta0, minimum=0.0, maximum=_LARGE) * float(T) ** (-(3 * (H - h) + 1) / (3 * H + 1))
    generator = np.random.default_rng(check.integer("seed", seed, 0))
    centre = [_softmax(jitter * generator.standard_normal((H, n))) for n in A.shape]
    last = [np.zeros((H, n)) for n in A.shape]
    X = [np.empty((T, H, n)) for n in A.shape]
    for t in range(T):
        X[0][t], X[1][t] = _mirror_steps(centre, last, eta)
        last = [X[1][t] @ A.T, X[0][t] @ B]
        centre = _mirror_steps(centre, last, eta)
    return HistoryFreeMixture(*X)


def _mirror_steps(x: list[Array], payoffs: list[Array], eta: Array) -> list[Array]:
    """Both players' mirror steps; in one call where they have equally many actions, which halves the overhead."""
    if x[0].shape != x[1].shape:
        return [mirror_step(centre, eta * payoff) for centre, payoff in zip(x, payoffs, strict=True)]
    both = mirror_step(np.concatenate(x), np.concatenate([eta * payoff for payoff in payoffs]))
    return [both[: len(eta)], both[len(eta) :]]


def mirror_step(x: Float[np.ndarray, "H n"], gain: Float[np.ndarray, "H n"]) -> Float[np.ndarray, "H n"]:
    """argmax_z <gain, z> - D(z, x) over the simplex, D the divergence of sum_a (x_a + 1/n) log(x_a + 1/n); row by row.

    The maximiser is max(0, c u_a - 1/n) with u_a = (x_a + 1/n) exp(gain_a) and c such that it sums to 1.
    """
    n = x.shape[1]
    u = (x + 1 / n) * np.exp(gain - gain.max(axis=1, keepdims=True))
    descending = -np.sort(-u, axis=1)
    scale = (1 + np.arange(1, n + 1) / n) / descending.cumsum(axis=1)  # c if the k largest are positive
    k = (scale * descending > 1 / n).sum(axis=1)
    return np.maximum(0.0, np.take_along_axis(scale, k[:, None] - 1, axis=1) * u - 1 / n)


def regret_matching(A: ArrayLike, B: ArrayLike, T: int, H: int, seed: int = 0) -> GeneralMixture:
    """Regret matching at every node of the tree of joint actions (counterfactual regret minimisation), in self-play.

    Each player plays at each node in proportion to its positive cumulative counterfactual regrets. General regret
    vanishes like 1 / sqrt(T), with (n1 n2)^h nodes at step h: time and memory are exponential in H.
    `seed` draws the first policies.
    """
    A, B = _check.bimatrix(A, B)
    T, H = check.integer("T", T, 1), check.integer("H", H, 1)
    _tree.check_size(T, H, A.shape)
    generator = np.random.default_rng(check.integer("seed", seed, 0))
    n = A.shape
    nodes = [A.size**h for h in range(H)]
    regrets = [[generator.random((N, k)) / H for N in nodes] for k in n]
    policies = [[np.empty((T, N, k)) for N in nodes] for k in n]
    for t in range(T):
        current = [[_positive_part(regrets[j][h]) for h in range(H)] for j in (0, 1)]
        for j in (0, 1):
            for h in range(H):
                policies[j][h][t] = current[j][h]
        reach = _reach(current)
        later = [np.zeros((nodes[-1] * A.size,)) for _ in n]
        for h in reversed(range(H)):
            x, y = current[0][h], current[1][h]
            rows = A / H + later[0].reshape(-1, *n)  # (N, n1, n2) payoff now and later of each joint action
            columns = B / H + later[1].reshape(-1, *n)
            action_values = [np.einsum("nab,nb->na", rows, y), np.einsum("nab,na->nb", columns, x)]
            later = [(q * p).sum(axis=1) for q, p in zip(action_values, (x, y), strict=True)]
            for i in (0, 1):
                regrets[i][h] += reach[1 - i][h][:, None] * (action_values[i] - later[i][:, None])
    return GeneralMixture(policies)


def _reach(current: list[list[Array]]) -> list[list[Array]]:
    """reach[j][h] (N_h,): the probability with which player j's own choices lead to each node."""
    shapes = [(slice(None), slice(None), None), (slice(None), None, slice(None))]
    n = (current[0][0].shape[1], current[1][0].shape[1])
    found: list[list[Array]] = []
    for j in (0, 1):
        levels = [np.ones(1)]
        for step in current[j][:-1]:
            own = (levels[-1][:, None] * step)[shapes[j]]
            levels.append(np.broadcast_to(own, (len(step), *n)).ravel())
        found.append(levels)
    return found


@dataclass(frozen=True, eq=False)
class VLearned:
    """What V-learning leaves: the policies of its K episodes; made by `v_learning`.

    mixture  the K episodes' policies, as a mixture with one index per episode (the sparse reading of them)

    The certified output policy reads them differently: draw k uniformly; at every step move from k to an earlier
    episode l with probability alpha_k^l = alpha_l prod_{l < i <= k} (1 - alpha_i), alpha_i = (H + 1) / (H + i), and
    play episode l's policy there. Both players share k, and its K^H paths make it anything but sparse.
    """

    mixture: HistoryFreeMixture

    def output_gap(
        self, A: ArrayLike, B: ArrayLike, samples: int = 500, generator: torch.Generator | None = None
    ) -> Gap:
        """The general gap of the certified output policy, by Monte Carlo; O(samples K H).

        The deviator sees the opponent's actions but not k: its belief moves back in time with the policy.
        """
        A, B = _check.bimatrix(A, B)
        generator = _check.random(generator)
        samples = check.integer("samples", samples, 2)
        X1, X2 = self.mixture.X1, self.mixture.X2
        K, H, _ = X1.shape
        log_decay = torch.as_tensor(_log_decay(K, H))
        drawn = [_output_values(X, U, log_decay, samples, generator) for X, U in ((X2, A), (X1, B.T))]
        index = torch.full((1, K), 1.0 / K, dtype=torch.float64)
        values = np.zeros(2)
        for h in range(H):
            index = _move_back(index, log_decay)
            joint = (X1[:, h] * index[0].numpy()[:, None]).T @ X2[:, h]
            values += [(joint * A).sum(), (joint * B).sum()]
        errors = [float(d.std()) / samples**0.5 for d in drawn]
        return _gap(np.array([float(d.mean()) for d in drawn]), values / H, max(errors))


def _log_decay(K: int, H: int) -> Array:
    """(K,) log of Q_k = prod_{i = 2..k} (1 - alpha_i), so that alpha_k^l = alpha_l Q_k / Q_l."""
    i = np.arange(2, K + 1)
    return np.concatenate([[0.0], np.cumsum(np.log((i - 1) / (H + i)))])


def _move_back(belief: Float[torch.Tensor, "N K"], log_decay: Float[torch.Tensor, "K"]) -> Float[torch.Tensor, "N K"]:
    """sum_k belief[k] alpha_k^l for every l: a running sum from the last episode to the first."""
    K = len(log_decay)
    alpha = torch.ones(K, dtype=torch.float64)
    alpha[1:] = -torch.expm1(log_decay[1:] - log_decay[:-1])
    if float(log_decay[-1]) > -600.0:  # Q_K is a number of its own: one cumulative sum
        later = (belief * log_decay.exp()).flip(1).cumsum(1).flip(1)
        return later.mul_(alpha * torch.exp(-log_decay))
    moved = torch.empty_like(belief)
    later = torch.zeros(len(belief), dtype=torch.float64)
    for k in reversed(range(K)):  # the same, with the sum rescaled at every episode
        later = later + belief[:, k]
        moved[:, k] = later * alpha[k]
        later = later * (1 - alpha[k])
    return moved


def _output_values(
    X: Array, U: Array, log_decay: torch.Tensor, samples: int, generator: torch.Generator
) -> Float[torch.Tensor, "samples"]:
    """Rewards per step of `samples` episodes of the best deviation against the output policy of X (K, H, n)."""
    K, H, _ = X.shape
    policies, payoff = torch.as_tensor(X), torch.as_tensor(np.ascontiguousarray(U.T))
    index = torch.randint(K, (samples,), generator=generator)
    belief = torch.full((samples, K), 1.0 / K, dtype=torch.float64)
    total = torch.zeros(samples, dtype=torch.float64)
    for h in range(H):
        belief = _move_back(belief, log_decay)
        u = torch.rand(samples, generator=generator, dtype=torch.float64)
        # P(l or earlier) = Q_k / Q_l: the first l at which that reaches u
        index = torch.searchsorted(-log_decay, -(log_decay[index] - torch.log(u))).clamp(max=index)
        total += (belief @ policies[:, h] @ payoff).amax(dim=1)
        actions = _draw(policies[index, h].cumsum(dim=1), generator)
        belief *= policies[:, h].T[actions]
        belief /= belief.sum(dim=1, keepdim=True)
    return total / H


def v_learning(
    A: ArrayLike, B: ArrayLike, episodes: int, H: int, seed: int = 0, bonus: float = 0.1, rate: float = 1.0
) -> VLearned:
    """Bandit V-learning of both players: each sees only its own rewards of the actions it plays.

    At step h of episode k each player draws an action from its exponential weights, is paid r, and feeds the loss
    (H - r - V_{h+1}) / H, divided by the action's probability plus gamma, to the weights; V_h moves by alpha_k =
    (H + 1) / (H + k) towards r + V_{h+1} + bonus sqrt(H^3 n log n / k), truncated to what remains. The exploration
    gamma_k is sqrt(log n / (n k)) and the step size eta_k is `rate` times that. Balancing the two terms of the weighted
    regret bound, H log n / (k eta) + n eta, gives rate = sqrt(H); guarantees are for factors of that order. Rewards
    here are the stage payoffs in [0, 1]. Source: Jin, Liu, Wang and Yu (2021), the constants ours.
    """
    A, B = _check.bimatrix(A, B)
    K, H = check.integer("episodes", episodes, 1), check.integer("H", H, 1)
    bonus, rate = (
        check.real("bonus", bonus, minimum=0.0, maximum=_LARGE),
        check.real("rate", rate, minimum=0.0, maximum=_LARGE),
    )
    generator = np.random.default_rng(check.integer("seed", seed, 0))
    X = [np.empty((K, H, n)) for n in A.shape]
    losses = [np.zeros((H, n)) for n in A.shape]
    V = np.tile(np.arange(H, -1, -1.0), (2, 1))  # optimistic: all that remains
    draws = generator.random((K, H, 2))
    steps = np.arange(H)
    for k in range(1, K + 1):
        alpha = (H + 1) / (H + k)
        rates = [math.sqrt(math.log(n) / (n * k)) if n > 1 else 0.0 for n in A.shape]
        played = []
        for i in (0, 1):
            X[i][k - 1] = _softmax(-rate * rates[i] / alpha * losses[i])
            edges = X[i][k - 1].cumsum(axis=1)
            played.append((edges[:, :-1] <= draws[k - 1, :, i, None]).sum(axis=1))
        rewards = np.stack([A[played[0], played[1]], B[played[0], played[1]]])
        for i in (0, 1):
            n = A.shape[i]
            optimism = bonus * math.sqrt(H**3 * n * math.log(max(n, 2)) / k)
            target = rewards[i] + V[i, 1:]
            V[i, :-1] = np.minimum(H - steps, (1 - alpha) * V[i, :-1] + alpha * (target + optimism))
            losses[i] *= 1 - alpha  # the weights alpha_k^l of the past
            probability = X[i][k - 1][steps, played[i]]
            losses[i][steps, played[i]] += alpha * (H - target) / H / (probability + rates[i])
    return VLearned(HistoryFreeMixture(*X))


def _softmax(z: Array) -> Array:
    weights = np.exp(z - z.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _positive_part(regrets: Array) -> Array:
    """Positive regrets in proportion; uniform where there is none."""
    positive = np.maximum(regrets, 0.0)
    total = positive.sum(axis=1, keepdims=True)
    return np.divide(positive, total, out=np.full_like(positive, 1.0 / positive.shape[1]), where=total > 0)

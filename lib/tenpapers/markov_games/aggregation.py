"""Predicting the opponent: the Bayes mixture (Vovk's aggregating algorithm for log loss) and its divergence bounds."""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike

from tenpapers import check

from . import _check
from ._check import Array
from ._gaps import _draw


class BayesPredictor:
    """The posterior over which of T policies is being played, and the prediction that it makes.

    `posterior` (T,) starts uniform. `predict(P)` mixes the policies' distributions P (T, n) into (n,);
    `update(likelihood)` takes the probability (T,) that each policy gave to what was then seen. Weights are kept as
    logarithms with their maximum at 0, so neither hundreds of steps nor probabilities of 0 do harm.
    """

    def __init__(self, T: int) -> None:
        self.T = check.integer("T", T, 1)
        self._log_weights = np.zeros(self.T)

    @property
    def posterior(self) -> Float[np.ndarray, "T"]:
        """(T,) probabilities of the policies given everything seen."""
        weights = np.exp(self._log_weights)
        return weights / weights.sum()

    def predict(self, P: ArrayLike) -> Float[np.ndarray, "n"]:
        """(n,) the distribution of the next outcome; row t of P (T, n) is policy t's."""
        P = _check.distributions("P", P, 2)
        if len(P) != self.T:
            raise ValueError(f"P must have T = {self.T} rows, got {len(P)}")
        return self.posterior @ P

    def update(self, likelihood: ArrayLike) -> None:
        """Condition on an outcome to which policy t gave the probability likelihood[t]; shape (T,)."""
        likelihood = _check.array("likelihood", likelihood)
        if likelihood.shape != (self.T,):
            raise ValueError(f"likelihood must have shape ({self.T},), got {likelihood.shape}")
        if not (np.isfinite(likelihood).all() and likelihood.min() >= 0.0):
            raise ValueError("likelihood must hold finite numbers of at least 0")
        with np.errstate(divide="ignore"):
            log_weights = self._log_weights + np.log(likelihood)
        top = log_weights.max()
        if top == -np.inf:
            raise ValueError(
                "the outcome is impossible under every policy that is still possible: nothing can explain it"
            )
        self._log_weights = log_weights - top


class Divergences(NamedTuple):
    """How far the prediction is from the policy that is played, step by step, averaged over t and the actions.

    kl  (H,) E KL(p_h^t || q_h), natural logarithm      tv  (H,) E TV(p_h^t, q_h)
    """

    kl: Float[np.ndarray, "H"]
    tv: Float[np.ndarray, "H"]


def delta(T: int, H: int) -> float:
    """sqrt(log T / (2 H)), which bounds the average total variation of the Bayes prediction (aggregation lemma)."""
    return math.sqrt(math.log(check.integer("T", T, 1)) / (2 * check.integer("H", H, 1)))


def divergences(X: ArrayLike) -> Divergences:
    """Exact divergences of the Bayes predictor of a mixture X (T, H, n), by running it down the tree of actions."""
    X = _small_tree(X)
    T, H, n = X.shape
    weights = np.full((1, T), 1.0 / T)  # (nodes, T) P(t and history)
    kl, tv = np.zeros(H), np.zeros(H)
    for h in range(H):
        weights = weights[weights.sum(axis=1) > 0]
        q = weights @ X[:, h] / weights.sum(axis=1, keepdims=True)  # (nodes, n)
        ratio = np.divide(X[:, h], q[:, None, :], out=np.ones((len(q), T, n)), where=X[:, h] * weights[:, :, None] > 0)
        kl[h] = (weights[:, :, None] * X[:, h] * np.log(ratio)).sum()
        tv[h] = (weights * np.abs(X[:, h] - q[:, None, :]).sum(axis=2)).sum() / 2
        weights = (weights[:, None, :] * X[:, h].T[None]).reshape(-1, T)
    return Divergences(kl, tv)


def mutual_information(X: ArrayLike) -> float:
    """I(t; o_1..o_H) in nats of a mixture X (T, H, n), as entropy of the sequence minus entropy of it given t."""
    X = _small_tree(X)
    table = np.ones((len(X), 1))
    for h in range(X.shape[1]):
        table = (table[:, :, None] * X[:, h, None, :]).reshape(len(X), -1)
    return (
        _entropy(table.mean(axis=0)) - float(np.mean([_entropy(row) for row in X.reshape(-1, X.shape[2])])) * X.shape[1]
    )


def posterior_path(X: ArrayLike, t: int, generator: torch.Generator) -> tuple[Array, Array]:
    """One episode with policy t of X (T, H, n): an observer's posteriors (H + 1, T) and predictions (H, n)."""
    X = _check.distributions("X", X, 3)
    t = check.integer("t", t, 0)
    if t >= len(X):
        raise ValueError(f"t must be below T = {len(X)}, got {t}")
    actions = _draw(torch.as_tensor(X[t]).cumsum(dim=1), _check.random(generator)).numpy()
    predictor = BayesPredictor(len(X))
    posteriors, predictions = [predictor.posterior], []
    for h, action in enumerate(actions):
        predictions.append(predictor.predict(X[:, h]))
        predictor.update(X[:, h, action])
        posteriors.append(predictor.posterior)
    return np.array(posteriors), np.array(predictions)


def _small_tree(X: ArrayLike) -> Array:
    """The mixture (T, H, n), refused where its n^H sequences would not fit."""
    X = _check.distributions("X", X, 3)
    T, H, n = X.shape
    if T * n**H > 2**26:
        raise ValueError(
            f"the tree of actions is too large: {sum(n**h for h in range(H))} nodes with {T} policies each"
        )
    return X


def _entropy(p: Array) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())

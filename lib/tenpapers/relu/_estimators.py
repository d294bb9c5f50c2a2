"""GLM-tron and SGD on a ReLU neuron as scikit-learn estimators."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tenpapers import check
from tenpapers.one_pass.schedule import geometric_schedule

from ._risk import choice

SCHEDULES = ("geometric", "constant")
AVERAGING = ("none", "tail")


class _ReLUNeuron(RegressorMixin, BaseEstimator):
    """What both estimators share: parameters, the pass over the rows, prediction. The gate is the subclass's."""

    coef_: NDArray[np.float64]
    n_steps_: int
    _weights: NDArray[np.float64]
    _mean: NDArray[np.float64]
    _averaged: int

    def __init__(
        self,
        stepsize: Any = 0.1,
        schedule: Any = "geometric",
        averaging: Any = "none",
        random_state: Any = None,
    ) -> None:
        self.stepsize = stepsize
        self.schedule = schedule
        self.averaging = averaging
        self.random_state = random_state

    def _gate(self, z: float) -> float:
        raise TypeError("use GLMTron or ReLUSGD")

    def _start(self, d: int) -> NDArray[np.float64]:
        return np.zeros(d)

    def _checked(self) -> float:
        choice("schedule", self.schedule, SCHEDULES)
        choice("averaging", self.averaging, AVERAGING)
        stepsize = check.real("stepsize", self.stepsize)
        if not 0.0 < stepsize <= 1.0:
            raise ValueError(f"stepsize must be in (0, 1], got {stepsize!r}")
        return stepsize

    def _pass(self, X: NDArray[np.float64], y: NDArray[np.float64], stepsizes: list[float], skip: int) -> None:
        """One step per row; with averaging, coef_ is the mean of the iterates after the first `skip` rows."""
        w, mean, averaged = self._weights.copy(), self._mean.copy(), self._averaged
        with np.errstate(over="ignore", invalid="ignore"):
            for t, (x, target, stepsize) in enumerate(zip(X, y, stepsizes, strict=True)):
                z = float(x @ w)
                w -= stepsize * self._gate(z) * (max(z, 0.0) - target) * x
                if self.averaging == "tail" and t >= skip:
                    averaged += 1
                    mean += (w - mean) / averaged
        if not np.isfinite(w).all():
            raise ValueError(
                f"the weights overflowed: stepsize = {self.stepsize:g} times the rows' squared norms (up to "
                f"{float((X**2).sum(axis=1).max()):.3g}) must stay below about 2; scale the rows or lower the stepsize"
            )
        self._weights, self._mean, self._averaged = w, mean, averaged
        self.coef_ = mean.copy() if self.averaging == "tail" else w.copy()
        self.n_steps_ += len(X)

    def _begin(self, d: int) -> None:
        self._weights = self._start(d)
        self._mean, self._averaged, self.n_steps_ = np.zeros(d), 0, 0

    def fit(self, X: Any, y: Any) -> "_ReLUNeuron":
        """One pass over the rows of X (n, d) with targets y (n,), in their order.

        schedule "geometric": stepsize / 2^floor(t / K) at row t = 1..n, K = n / log2 n; "constant": stepsize.
        averaging "tail": coef_ is the mean of the last n // 2 iterates (at least one), "none": the last iterate.
        """
        stepsize = self._checked()
        X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
        n = len(X)
        schedule = geometric_schedule(n, stepsize) if self.schedule == "geometric" else [(stepsize, n)]
        self._begin(X.shape[1])
        stepsizes = [g for g, count in schedule for _ in range(count)]
        self._pass(X, np.asarray(y, dtype=np.float64), stepsizes, n - max(1, n // 2))
        return self

    def partial_fit(self, X: Any, y: Any) -> "_ReLUNeuron":
        """One step of `stepsize` per row, from the weights that are there; the number of rows to come is not known.

        With averaging "tail", coef_ is the mean of all iterates of `partial_fit` so far.
        """
        stepsize = self._checked()
        first = not hasattr(self, "coef_")
        X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64, reset=first)
        if first:
            self._begin(X.shape[1])
        self._pass(X, np.asarray(y, dtype=np.float64), [stepsize] * len(X), 0)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """relu(X coef_), shape (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return np.maximum(X @ self.coef_, 0.0)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # a ReLU neuron without intercept cannot fit negative targets
        return tags


class GLMTron(_ReLUNeuron):
    """GLM-tron for y = relu(x.w) + noise: w <- w - stepsize (relu(x.w) - y) x, from w = 0, no intercept.

    stepsize in (0, 1] multiplies the squared norm of the rows, which should be of order 1: where the product stays
    above 2 the weights grow, and ValueError comes only when they overflow. schedule "geometric" or "constant";
    averaging "none" or "tail" (see `fit`). random_state is accepted so that both estimators take the same
    parameters; nothing is drawn. After fitting: coef_ (d,), n_steps_, n_features_in_. `score` is R^2.
    """

    def _gate(self, z: float) -> float:
        return 1.0


class ReLUSGD(_ReLUNeuron):
    """SGD on (relu(x.w) - y)^2 / 2: GLM-tron's step where x.w > 0 and none elsewhere, no intercept.

    Starts from a small vector, 0.001 N(0, 1) drawn from random_state: at 0 the gate is shut for ever. Other
    parameters and attributes as in `GLMTron`.
    """

    def _start(self, d: int) -> NDArray[np.float64]:
        return 1e-3 * check_random_state(self.random_state).standard_normal(d)

    def _gate(self, z: float) -> float:
        return 1.0 if z > 0.0 else 0.0

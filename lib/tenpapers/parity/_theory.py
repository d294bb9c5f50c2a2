"""The chapter's closed forms: trajectories, moments, batch, width, and the main theorem with its constants."""

import dataclasses
import math
from functools import cache
from statistics import NormalDist

from tenpapers import check

from . import _check


def _threshold(k: int, rho: float) -> float:
    """theta = (rho / k!)^(1/(k-1)): the common size of the features at which the population gradient equals rho."""
    return (rho / _check.factorial(k)) ** (1 / (k - 1))


def _degree(k: int, minimum: int) -> int:
    return check.integer("k", k, minimum, 150)  # k! is a float up to 170


def _rho(rho: float, k: int, *, positive: bool = False) -> float:
    """rho in [0, k!) or (0, k!): the statements need the good neurons' gradient k! to pass the dead zone."""
    limit = float(math.factorial(k))
    return check.real("rho", rho, below=limit, **({"above": 0.0} if positive else {"minimum": 0.0}))


def bad_neuron(t: int, eta: float, k: int, rho: float) -> float:
    """Feature weight, relative to its sign at the start, of a bad neuron after t steps on the population gradient.

    u_0 = 1; u_t = 2 (1 - eta)^t - 1 while the step before saw k! u^(k-1) >= rho; then u shrinks by 1 - eta per step.
    Needs k >= 2, 0 < rho < k! and a step that does not jump over the dead zone: eta < 2 theta / (1 + theta) with
    theta = (rho / k!)^(1/(k-1)); ValueError otherwise.
    """
    t, k = check.integer("t", t, 0), _degree(k, 2)
    rho = _rho(rho, k, positive=True)
    theta = _threshold(k, rho)
    eta = check.real("eta", eta, above=0.0, below=1.0)
    if eta >= 2 * theta / (1 + theta):
        raise ValueError(f"eta must be below 2 theta/(1 + theta) = {2 * theta / (1 + theta):.4g}, got {eta}: it jumps "
                         f"over the dead zone of rho = {rho:g}, whose edge is at theta = {theta:.4g}")  # fmt: skip
    end = math.ceil(math.log((1 + theta) / 2) / math.log1p(-eta))
    for _ in range(2):  # t*, the first time at which u < theta (u = theta still ties): the logarithms are rounded
        end += 2 * (1 - eta) ** end - 1 >= theta
        end -= end > 0 and 2 * (1 - eta) ** (end - 1) - 1 < theta
    pushed = min(t, end)
    return (2 * (1 - eta) ** pushed - 1) * (1 - eta) ** (t - pushed)


def rademacher_moment(d: int, n: int) -> float:
    """E S_d^n of a sum S_d of d fair signs: exact integers, rounded once at the end; 0 for odd n."""
    d, n = check.integer("d", d, 1), check.integer("n", n, 0)
    try:
        return _moment(d, n)
    except OverflowError:
        raise ValueError(f"E S_d^n is too large for a float at d = {d}, n = {n}") from None


@cache
def _moment(d: int, n: int) -> float:
    return sum(math.comb(d, i) * abs(d - 2 * i) ** n for i in range(d + 1)) / 2**d if n % 2 == 0 else 0.0


def absolute_moment(k: int) -> float:
    """E |S_k|^k of a sum S_k of k fair signs: 2, 7.5, 40 for k = 2, 3, 4. At least k!."""
    k = _degree(k, 1)
    return sum(math.comb(k, i) * abs(k - 2 * i) ** k for i in range(k + 1)) / 2**k


def _second_moment(k: int, d: int, exact: bool) -> float:
    """E Z^2 of one sample's gradient entry at W in {-1, +1}^d: k^2 E S_d^(2k-2), or its bound k^2 (2k-3)!! d^(k-1)."""
    if exact:
        return k**2 * rademacher_moment(d, 2 * k - 2)
    try:
        return float(k**2 * math.prod(range(1, 2 * k - 2, 2)) * d ** (k - 1))
    except OverflowError:
        raise ValueError(f"the second moment is too large for a float at k = {k}, d = {d}") from None


def sign_probability(k: int, d: int, rho: float, batch: int, exact: bool = False) -> float:
    """Probability that a good neuron's feature gets its right sign at the first step: Phi((k! - rho)/s).

    s^2 = k^2 (2k-3)!! d^(k-1) / batch, or with the exact second moment k^2 E S_d^(2k-2). Normal approximation.
    """
    d, k = check.integer("d", d, 1), _degree(k, 1)
    rho, batch = _rho(rho, k), check.integer("batch", batch, 1)
    s = math.sqrt(_second_moment(_check.degree(k, d), d, exact) / batch)
    return NormalDist().cdf((math.factorial(k) - rho) / s)


def batch_for_sign(k: int, d: int, rho: float, p: float, exact: bool = False) -> float:
    """Batch at which `sign_probability` is p: k^2 (2k-3)!! d^(k-1) (Phi^-1(p) / (k! - rho))^2.

    `exact` puts the exact moment k^2 E S_d^(2k-2) in place of its bound. Needs 0 <= rho < k! and 1/2 < p < 1.
    """
    d, k = check.integer("d", d, 1), _degree(k, 1)
    rho, p = _rho(rho, k), check.real("p", p, above=0.5, below=1.0)
    quantile = NormalDist().inv_cdf(p) / (math.factorial(k) - rho)
    return _second_moment(_check.degree(k, d), d, exact) * quantile**2


def width_for_coverage(k: int, delta: float, alpha: float | None = None) -> int:
    """Neurons m with which all 2^k counts of good neurons lie within (1 +- alpha) m/2^(k+1), except w.p. delta.

    Chernoff and a union over patterns: m = 3 2^(k+1) log(2^(k+1)/delta) / alpha^2. alpha=None is k!/(4 E|S_k|^k), at
    which the features alone give y f >= 3 m k!/8.
    """
    k, delta = _degree(k, 1), check.real("delta", delta, above=0.0, below=1.0)
    if alpha is None:
        alpha = math.factorial(k) / (4 * absolute_moment(k))
    alpha = check.real("alpha", alpha, above=0.0, below=1.0)
    return math.ceil(3 * 2 ** (k + 1) * math.log(2 ** (k + 1) / delta) / alpha**2)


def noise_tolerance(k: int, eta: float, rho: float) -> float:
    """Largest error Delta of a gradient entry under which every neuron does what the main theorem needs.

    Delta = min(rho (1 - c)/(1 + c), k! - rho) with c = (1 - eta)^(k-1). Needs k >= 2, 0 < rho < k! and a step that
    does not jump over the dead zone: eta <= 1/2 and eta <= 2 theta/(1 + 2 theta), theta = ((rho - Delta)/k!)^(1/(k-1)).
    """
    k = _degree(k, 2)
    rho = _rho(rho, k, positive=True)
    eta = check.real("eta", eta, above=0.0, below=1.0)
    c = (1 - eta) ** (k - 1)
    delta = min(rho * (1 - c) / (1 + c), math.factorial(k) - rho)
    theta = _threshold(k, rho - delta)
    edge = min(0.5, 2 * theta / (1 + 2 * theta))
    if eta > edge:
        raise ValueError(f"eta must be at most {edge:.4g} for rho = {rho:g} and k = {k}, got {eta}: larger steps may "
                         "jump over the dead zone")  # fmt: skip
    return delta


@dataclasses.dataclass(frozen=True)
class Guarantee:
    """Sizes under which the main theorem promises y f >= m k!/4 on all but a fraction epsilon of the inputs.

    m neurons, batch per step, steps; tolerance Delta of one gradient entry; samples = batch steps.
    """

    m: int
    batch: int
    steps: int
    tolerance: float

    @property
    def samples(self) -> int:
        return self.batch * self.steps


def guarantee(d: int, k: int, delta: float, epsilon: float, eta: float, rho: float) -> Guarantee:
    """The main theorem with its constants: with these sizes it holds with probability at least 1 - delta.

    m      `width_for_coverage(k, delta/2)`
    steps  log(8 e (k^k/k!) sqrt(2 d log(2m/epsilon))) / eta
    batch  (9/4) k^2 d^(k-1) (2L)^k / Delta^2, L = log(8 m d batch steps/delta), Delta = `noise_tolerance(k, eta, rho)`
    """
    d = check.integer("d", d, 1)
    k = _check.degree(_degree(k, 2), d)
    delta = check.real("delta", delta, above=0.0, below=1.0)
    epsilon = check.real("epsilon", epsilon, above=0.0, below=1.0)
    tolerance = noise_tolerance(k, eta, rho)
    m = width_for_coverage(k, delta / 2)
    spread = math.sqrt(2 * d * math.log(2 * m / epsilon))
    steps = math.ceil(math.log(8 * math.e * k**k / math.factorial(k) * spread) / eta)
    batch = 1.0
    try:
        for _ in range(100):  # the batch enters its own logarithm: a contraction
            L = math.log(8 * m * d * batch * steps / delta)
            batch = 9 / 4 * k**2 * d ** (k - 1) * (2 * L) ** k / tolerance**2
    except OverflowError:
        batch = math.inf
    if not math.isfinite(batch):
        raise ValueError(f"the batch is too large for a float at k = {k}, d = {d}")
    return Guarantee(m, math.ceil(batch * (1 + 1e-12)), steps, tolerance)

"""The sketched regression problem of section 3 and what is left of it once the sketch is drawn."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, SupportsIndex

import torch
from jaxtyping import Float
from scipy.integrate import quad
from scipy.special import zeta
from torch import Tensor

from . import _check

_BLOCK = 2**24  # entries of S held at once while Sigma is built (128 MB)
_HEAD = 4096  # modes of the logarithmic tail that are summed one by one


@dataclass(frozen=True, eq=False)
class Problem:
    """Linear regression on M random measurements S x of a Gaussian x ~ N(0, H), seen in Sigma = S H S^T's eigenbasis.

    eigenvalues         (M,) mu, eigenvalues of Sigma, positive, in descending order
    initial_error       (M,) beta0_i = E (u_i^T v*)^2, second moments of v* = Sigma^-1 S H w* over the prior of w*
    approximation       E Approx, the error of the best v: sum_i lambda_i c_i - tr(Sigma^-1 S H C H S^T)
    noise_variance      sigma^2, the irreducible risk
    spectrum            (d,) lambda, eigenvalues of H            kept only where the sketch is kept
    coefficients        (d,) c_i = E <e_i, w*>^2                 the same
    S                   (M, d) the sketch, entries N(0, 1/M)     the same

    Eigenvalues times error has the unit of the squared target. float64; every tensor lives on one device.
    Raises ValueError when shapes disagree, a number is NaN or negative, or the eigenvalues do not descend.
    """

    eigenvalues: Float[Tensor, "..."]
    initial_error: Float[Tensor, "..."]
    approximation: float
    noise_variance: float
    spectrum: Float[Tensor, "..."] | None = None
    coefficients: Float[Tensor, "..."] | None = None
    S: Float[Tensor, "..."] | None = None

    def __post_init__(self) -> None:
        mu = _check.vector("eigenvalues", self.eigenvalues, positive=True)
        beta0 = _check.vector("initial_error", self.initial_error)
        if mu.shape != beta0.shape:
            raise ValueError(
                f"initial_error must have one entry per eigenvalue, got {beta0.numel()} for {mu.numel()} eigenvalues"
            )
        if bool((mu[1:] > mu[:-1]).any()):
            where = int((mu[1:] > mu[:-1]).nonzero()[0])
            raise ValueError(
                f"eigenvalues must be in descending order, got eigenvalues[{where}] = {mu[where].item():g} "
                f"before {mu[where + 1].item():g}"
            )
        _check.same_device(eigenvalues=mu.device, initial_error=beta0.device)
        object.__setattr__(self, "eigenvalues", mu)
        object.__setattr__(self, "initial_error", beta0)
        for name in ("approximation", "noise_variance"):
            object.__setattr__(self, name, _check.real(name, getattr(self, name), minimum=0.0))
        kept = [self.spectrum, self.coefficients, self.S]
        if any(part is None for part in kept) and any(part is not None for part in kept):
            raise ValueError("spectrum, coefficients and S must be given together or not at all")
        if self.S is None:
            return
        spectrum, coefficients = _check.vector("spectrum", kept[0]), _check.vector("coefficients", kept[1])
        S = _check.matrix("S", self.S)
        if S.shape != (mu.numel(), spectrum.numel()) or spectrum.shape != coefficients.shape:
            raise ValueError(
                f"S must have one row per eigenvalue and one column per entry of spectrum and coefficients, got shape "
                f"{tuple(S.shape)} for {mu.numel()}, {spectrum.numel()} and {coefficients.numel()}"
            )
        _check.same_device(
            eigenvalues=mu.device, spectrum=spectrum.device, coefficients=coefficients.device, S=S.device
        )
        for name, tensor in (("spectrum", spectrum), ("coefficients", coefficients), ("S", S)):
            object.__setattr__(self, name, tensor)

    @property
    def M(self) -> int:
        """Number of parameters."""
        return self.eigenvalues.numel()

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.eigenvalues.device


class _Tail(NamedTuple):
    """Sums over the modes i > d: of lambda_i, of lambda_i^2 c_i and of lambda_i c_i."""

    trace: float = 0.0
    second: float = 0.0
    target: float = 0.0


def _solve(
    spectrum: Tensor,
    coefficients: Tensor,
    columns: Callable[[], Iterator[Tensor]],
    M: int,
    tail: _Tail,
) -> tuple[Tensor, Tensor, float]:
    """mu, beta0 and E Approx from the columns of S, read twice, in blocks.

    A tail of modes i > d, if any, enters through its mean: Sigma + tail.trace / M I.
    """
    device = spectrum.device
    Sigma = torch.zeros(M, M, dtype=torch.float64, device=device)
    start = 0
    for block in columns():
        weighted = block * spectrum[start : start + block.shape[1]]
        Sigma.addmm_(weighted, block.T)
        start += block.shape[1]
    raw, U = torch.linalg.eigh(Sigma)
    del Sigma
    floor = torch.finfo(torch.float64).eps * max(16.0, math.sqrt(M)) * float(raw[-1])
    if tail.trace == 0.0 and not float(raw[0]) > floor:
        raise ValueError(
            f"S diag(spectrum) S^T must be invertible in double precision, got a smallest eigenvalue of "
            f"{float(raw[0] / raw[-1]):g} times the largest: the rows of S are (almost) dependent"
        )
    # In the rotated sketch Y = U^T S both quantities are sums of positive terms, so that small ones keep their
    # relative accuracy: mu_i = sum_k lambda_k Y_ik^2, (U^T S H C H S^T U)_ii = sum_k lambda_k^2 c_k Y_ik^2.
    mu = torch.full((M,), tail.trace / M, dtype=torch.float64, device=device)
    g = torch.full((M,), tail.second / M, dtype=torch.float64, device=device)
    weights = torch.stack([spectrum, spectrum**2 * coefficients], dim=1)  # (d, 2)
    start = 0
    for block in columns():
        sums = (U.T @ block).square_() @ weights[start : start + block.shape[1]]
        mu += sums[:, 0]
        g += sums[:, 1]
        start += block.shape[1]
    mu, order = mu.sort(descending=True)
    g = g[order]
    target = float((spectrum * coefficients).sum()) + tail.target
    return mu, g / mu**2, max(0.0, target - float((g / mu).sum()))


def problem_from_sketch(
    spectrum: Float[Tensor, "..."],
    coefficients: Float[Tensor, "..."],
    S: Float[Tensor, "..."],
    noise_variance: float,
) -> Problem:
    """The problem of a given sketch, for any spectrum, for example one measured from real features.

    spectrum      (d,) lambda_i >= 0, eigenvalues of H, in any order
    coefficients  (d,) c_i = E <e_i, w*>^2 >= 0, second moments of w* along H's eigenvectors (uncorrelated)
    S             (M, d) sketch in H's eigenbasis, M at most the number of positive eigenvalues
    noise_variance  sigma^2 >= 0

    There is no correction for modes beyond d. The result keeps spectrum, coefficients and S (as float64).
    Raises ValueError when shapes or devices disagree, a number is NaN or negative, or S H S^T is singular.
    """
    spectrum = _check.vector("spectrum", spectrum)
    coefficients = _check.vector("coefficients", coefficients)
    noise_variance = _check.real("noise_variance", noise_variance, minimum=0.0)
    S = _check.matrix("S", S)
    M, d = S.shape
    if spectrum.numel() != d or coefficients.numel() != d:
        raise ValueError(
            f"spectrum, coefficients and the columns of S must agree, got {spectrum.numel()}, "
            f"{coefficients.numel()} and {d}"
        )
    _check.same_device(spectrum=spectrum.device, coefficients=coefficients.device, S=S.device)
    rank = int((spectrum > 0).sum())
    if not 1 <= M <= rank:
        raise ValueError(f"S must have between 1 and {rank} rows (the positive entries of spectrum), got M = {M}")
    unit = 2.0 ** math.frexp(float(spectrum.max()))[1]  # lambda^2 must not vanish or overflow; no rounding
    mu, beta0, approximation = _solve(spectrum / unit, coefficients, lambda: iter([S]), M, _Tail())
    return Problem(mu * unit, beta0, approximation * unit, noise_variance, spectrum, coefficients, S)


def _draw(M: int, d: int, generator: torch.Generator) -> Callable[[], Iterator[Tensor]]:
    """A function that reads the columns of S ~ N(0, 1/M) in blocks, the same S every time; it advances `generator`."""
    state = generator.get_state()
    width = max(1, _BLOCK // M)

    def columns() -> Iterator[Tensor]:
        generator.set_state(state)
        for start in range(0, d, width):
            shape = (M, min(width, d - start))
            block = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
            yield block.mul_(1.0 / math.sqrt(M))

    return columns


def _sizes(M: SupportsIndex, d: SupportsIndex) -> tuple[int, int]:
    rows, columns = _check.integer("M", M, 1), _check.integer("d", d, 1)
    if columns < rows:
        raise ValueError(f"M must be at most d (S H S^T is singular beyond), got M = {rows} and d = {columns}")
    return rows, columns


def _build(
    spectrum: Tensor, coefficients: Tensor, M: int, noise: float, generator: torch.Generator, tail: _Tail | None
) -> Problem:
    columns = _draw(M, spectrum.numel(), generator)
    if tail is not None:
        return Problem(*_solve(spectrum, coefficients, columns, M, tail), noise)
    S = torch.cat(list(columns()), dim=1)
    return Problem(*_solve(spectrum, coefficients, lambda: iter([S]), M, _Tail()), noise, spectrum, coefficients, S)


def sketched_problem(
    a: float,
    b: float,
    M: SupportsIndex,
    d: SupportsIndex,
    noise_variance: float,
    generator: torch.Generator,
    infinite: bool = True,
    normalised: bool = False,
) -> Problem:
    """A fresh sketch of the power law lambda_i = i^-a, c_i = i^(a-b), so lambda_i c_i = i^-b (Assumptions 2 and 3).

    a > 1, b > 1 (b = a is the isotropic prior E w* w*^T = I); M parameters; d explicit modes, d >= M;
    noise_variance = sigma^2 >= 0; generator draws S and decides the device.

    infinite    True: the modes i > d are not cut off but enter through their mean over S (Hurwitz zeta values):
                for a = 1.5 and d = 20000 they carry 0.014 of the trace. S is read in blocks and not kept.
                False: d modes only; the problem keeps spectrum, coefficients and S.
    normalised  True: the paper's tr H = 1. It divides lambda, and lambda only, by zeta(a) (by the truncated sum
                when infinite=False). The coefficients stay i^(a-b), so approximation and mu are divided by the same
                number, v* and initial_error stay as they are, and a stepsize means that much less.

    Raises ValueError when a, b, M, d or noise_variance is outside its range.
    """
    a = _check.real("a", a, above=1.0)
    b = _check.real("b", b, above=1.0)
    M, d = _sizes(M, d)
    noise = _check.real("noise_variance", noise_variance, minimum=0.0)
    infinite = _check.flag("infinite", infinite)
    index = torch.arange(1, d + 1, dtype=torch.float64, device=_check.random(generator).device)
    spectrum, coefficients = index**-a, index ** (a - b)
    tail = _Tail(zeta(a, d + 1), zeta(a + b, d + 1), zeta(b, d + 1)) if infinite else None
    if _check.flag("normalised", normalised):
        trace = float(zeta(a)) if infinite else float(spectrum.sum())
        spectrum = spectrum / trace
        tail = tail and _Tail(tail.trace / trace, tail.second / trace**2, tail.target / trace)
    return _build(spectrum, coefficients, M, noise, generator, tail)


def _log_spectrum(i: float, a: float) -> float:
    return 1.0 / (i * math.log2(i + 1.0) ** a)


def _first_modes(a: float, start: float, power: int) -> tuple[float, float]:
    """Sum of lambda_i^power over start < i <= stop, and stop + 1/2, from where the midpoint integral is accurate."""
    stop = max(start, float(_HEAD))
    index = torch.arange(start + 1.0, stop + 1.0, dtype=torch.float64, device="cpu")
    return float((1.0 / (index * torch.log2(index + 1.0) ** a) ** power).sum()), stop + 0.5


def _log_tail(a: float, start: float) -> float:
    """Sum of the logarithmic spectrum over i > start: first modes, then the midpoint integral, its slow part closed.

    1 / x = 1 / (x + 1) + 1 / (x (x + 1)); the first integrates to ln2^a ln(x + 1)^(1 - a) / (a - 1).
    """
    head, x = _first_modes(a, start, 1)
    slow = math.log(2.0) ** a * math.log1p(x) ** (1.0 - a) / (a - 1.0)
    fast = _integral(lambda y: _log_spectrum(y, a) / (y + 1.0), x)
    slope = (_log_spectrum(x + 0.5, a) - _log_spectrum(x - 0.5, a)) / 24.0  # Euler-Maclaurin's next term
    return head + slow + fast + slope


def _log_tail_of_squares(a: float, start: float) -> float:
    """Sum of lambda_i^2 over i > start, in the same way."""
    head, x = _first_modes(a, start, 2)
    slope = (_log_spectrum(x + 0.5, a) ** 2 - _log_spectrum(x - 0.5, a) ** 2) / 24.0
    return head + _integral(lambda y: _log_spectrum(y, a) ** 2, x) + slope


def _integral(f: Callable[[float], float], x: float) -> float:
    """Integral of f(y) ~ y^-2 over y > x."""
    value, _ = quad(lambda u: f(x * math.exp(u)) * x * math.exp(u), 0.0, 50.0, epsabs=0.0, epsrel=1e-12, limit=200)
    return float(value)


def logarithmic_problem(
    a: float,
    M: SupportsIndex,
    d: SupportsIndex,
    noise_variance: float,
    generator: torch.Generator,
    infinite: bool = True,
) -> Problem:
    """A fresh sketch of lambda_i = 1 / (i log2(i + 1)^a), c_i = 1 (Assumption 4 of the paper), a > 1.

    Arguments as in `sketched_problem`. The tail i > d falls only like log(d)^(1-a): cutting it off changes every
    number, so infinite=True adds it in closed form.
    """
    a = _check.real("a", a, above=1.0)
    M, d = _sizes(M, d)
    noise = _check.real("noise_variance", noise_variance, minimum=0.0)
    infinite = _check.flag("infinite", infinite)
    index = torch.arange(1, d + 1, dtype=torch.float64, device=_check.random(generator).device)
    spectrum = 1.0 / (index * torch.log2(index + 1.0) ** a)
    tail = None
    if infinite:
        trace = _log_tail(a, d)
        tail = _Tail(trace, _log_tail_of_squares(a, d), trace)
    return _build(spectrum, torch.ones_like(spectrum), M, noise, generator, tail)

"""Online training: thresholded sign-SGD, plain SGD, and both on the population gradient."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tenpapers import check

from . import _check
from ._data import sample, signs
from ._network import dead_zone_sign, good_neurons, gradient_sum, population_gradient

_SIGNS = {"cpu": 2**22, "cuda": 2**28}  # signs drawn at once: a batch of any size runs in bounded memory


class DivergenceError(ArithmeticError):
    """Training left the finite numbers; `step` is the first step (counted from 1) that did."""

    def __init__(self, step: int, words: str) -> None:
        super().__init__(f"training diverged at step {step}: {words}")
        self.step = step


@dataclasses.dataclass(frozen=True)
class Run:
    """What `train` leaves: W (m, d), a (m,), the support, diagnostics by name (one number per step, shape (steps,)).

    good_signs, bad_signs  fraction of the good (bad) neurons' feature gradients whose thresholded sign is the
                           population's; good and bad as of the start; 1 where there is no such neuron. Only where
                           |support| = k and no rotation is used.
    quiet                  fraction of the noise coordinates whose update was 0; the same condition.
    noise_rms              root mean square of the noise weights after the step.
    kept                   fraction of the good neurons all of whose features still have their first sign and at
                           least half their first size.
    history                weights before the first and after every step, (steps + 1, m, d), or None.
    """

    W: Float[Tensor, "m d"]
    a: Float[Tensor, " m"]
    support: tuple[int, ...]
    diagnostics: dict[str, Float[Tensor, " steps"]]
    history: Float[Tensor, "times m d"] | None = None


def start(d: int, m: int, seed: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """W and a of independent fair signs; drawn on the CPU, so that every device starts from the same network."""
    generator = torch.Generator().manual_seed(seed)
    W = signs((m, d), generator, dtype)
    return W.to(device), signs((m,), generator, dtype).to(device)


def train(
    d: int,
    k: int,
    m: int,
    batch: int,
    steps: int,
    eta: float,
    rho: float,
    support: Sequence[int] | None = None,
    seed: int = 0,
    update: Literal["sign", "sgd"] = "sign",
    scale: float = 1.0,
    flip: float = 0.0,
    *,
    rotation: Float[Tensor, "d d"] | None = None,
    history: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Run:
    """Train the network of `m` neurons and activation z^k from W, a in {-1, +1}, with fresh samples at every step.

    update="sign"  W <- (1 - eta) W + eta dead_zone_sign(G, rho): the paper's algorithm (weight decay 1, outside the
                   sign). rho is absolute: 0.1 k!, not a fraction.
    update="sgd"   W <- (1 - eta) W + eta scale G / k!; rho is ignored.
    G is `gradient` on `batch` fresh samples whose labels are flipped with probability `flip`.

    support   coordinates of the parity; None is 0..k-1. Its size may differ from k (an unknown k is tried so).
    rotation  an orthogonal R (d, d): the algorithm is shown R x instead of x, and its weights act on R x.

    Raises ValueError or TypeError for a bad argument; DivergenceError, naming the step, when a number overflows.
    """
    d = check.integer("d", d, 1)
    k = _check.degree(k, d)
    m, batch, steps = (check.integer(n, v, 1) for n, v in (("m", m), ("batch", batch), ("steps", steps)))
    eta = check.real("eta", eta, above=0.0, below=1.0)
    rho = check.real("rho", rho, minimum=0.0)
    scale = check.real("scale", scale, above=0.0)
    flip = check.real("flip", flip, minimum=0.0, below=1.0)
    seed = _check.seed(seed)
    chosen = tuple(range(k)) if support is None else _check.support(support, d)
    if update not in ("sign", "sgd"):
        raise ValueError(f"update must be 'sign' or 'sgd', got {update!r}")
    dtype, device = _check.precision(dtype), _check.device(device)
    R = None if rotation is None else _check.orthogonal("rotation", rotation, d).to(device=device, dtype=dtype)

    W, a = start(d, m, seed, dtype, device)
    generator = torch.Generator(device).manual_seed((seed + 0x9E3779B97F4A7C15) % 2**63)  # far from every other seed
    watch = _Watch(W, a, chosen, k, rho if update == "sign" else 0.0, R)
    past = [W] if history else []
    for step in range(1, steps + 1):
        G = _fresh_gradient(W, a, chosen, k, batch, flip, R, generator)
        if not _check.finite(G):
            raise DivergenceError(step, f"the gradient overflows {dtype}; the weights reach {W.abs().max():.3g}")
        push = dead_zone_sign(G, rho) if update == "sign" else G * (scale / _check.factorial(k))
        new = (1 - eta) * W + eta * push
        if not _check.finite(new):
            raise DivergenceError(step, f"the weights overflow {dtype}; they reached {W.abs().max():.3g} before")
        watch.record(W, torch.sign(push), new)
        W = new
        if history:
            past.append(W)
    return Run(W, a, chosen, watch.diagnostics(), torch.stack(past) if history else None)


def _fresh_gradient(
    W: Tensor,
    a: Tensor,
    support: tuple[int, ...],
    k: int,
    batch: int,
    flip: float,
    R: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """`gradient` on `batch` fresh samples, drawn in blocks."""
    WT = W.T.contiguous()
    total = torch.zeros_like(WT)
    rows = max(1, _SIGNS.get(W.device.type, 2**22) // W.shape[1])
    for first in range(0, batch, rows):
        X, y = sample(min(rows, batch - first), W.shape[1], support, generator, flip, W.dtype)
        total += gradient_sum(WT, X if R is None else X @ R.T, y, k)
    return total.T * (a[:, None] * (k / batch))


class _Watch:
    """The diagnostics of a run, step by step."""

    def __init__(self, W: Tensor, a: Tensor, support: tuple[int, ...], k: int, rho: float, R: Tensor | None) -> None:
        self.a, self.support, self.k, self.rho, self.R = a, support, k, rho, R
        self.first = self.plain(W)
        self.good = good_neurons(self.first, a, support)
        self.noise = torch.ones(W.shape[1], dtype=torch.bool, device=W.device)
        self.noise[list(support)] = False
        self.rows: list[dict[str, Tensor]] = []

    def plain(self, W: Tensor) -> Tensor:
        """Weights in the coordinates of x."""
        return W if self.R is None else W @ self.R

    def record(self, W: Tensor, push: Tensor, new: Tensor) -> None:
        chosen = list(self.support)
        row: dict[str, Tensor] = {}
        if len(chosen) == self.k and self.R is None:
            wanted = dead_zone_sign(population_gradient(W, self.a, self.support, self.k), self.rho)
            right = (push == wanted)[:, chosen]
            row = {
                "good_signs": fraction(right[self.good]),
                "bad_signs": fraction(right[~self.good]),
                "quiet": fraction(push[:, self.noise] == 0),
            }
        new = self.plain(new)
        noise, features, first = new[:, self.noise], new[:, chosen][self.good], self.first[:, chosen][self.good]
        row["noise_rms"] = noise.double().square().mean().sqrt() if noise.numel() else new.new_zeros(()).double()
        row["kept"] = fraction((features * torch.sign(first) >= first.abs() / 2).all(dim=1))
        self.rows.append(row)

    def diagnostics(self) -> dict[str, Tensor]:
        return {name: torch.stack([row[name] for row in self.rows]).cpu() for name in self.rows[0]}


def fraction(truths: Tensor) -> Tensor:
    """Mean of a boolean tensor as float64; 1 when it is empty."""
    return truths.double().mean() if truths.numel() else torch.ones((), dtype=torch.float64, device=truths.device)


def population_path(
    W: Float[Tensor, "m d"],
    a: Float[Tensor, " m"],
    support: Sequence[int],
    steps: int,
    eta: float,
    rho: float,
    update: Literal["sign", "sgd"] = "sign",
    scale: float = 1.0,
) -> Float[Tensor, "times m d"]:
    """Weights of `train`'s recursion when G is the population gradient: shape (steps + 1, m, d), the start included."""
    W, a = _check.network(W, a)
    chosen = _check.support(support, W.shape[1])
    steps, k = check.integer("steps", steps, 0), len(chosen)
    eta = check.real("eta", eta, above=0.0, below=1.0)
    scale = check.real("scale", scale, above=0.0)
    if update not in ("sign", "sgd"):
        raise ValueError(f"update must be 'sign' or 'sgd', got {update!r}")
    path = [W]
    for step in range(1, steps + 1):
        try:
            G = population_gradient(W, a, chosen, k)
        except ArithmeticError as error:
            raise DivergenceError(step, str(error)) from None
        W = (1 - eta) * W + eta * (dead_zone_sign(G, rho) if update == "sign" else G * (scale / _check.factorial(k)))
        if not _check.finite(W):
            raise DivergenceError(step, f"the population weights overflow {W.dtype}")
        path.append(W)
    return torch.stack(path)

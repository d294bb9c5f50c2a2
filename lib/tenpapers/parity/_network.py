"""The network f(W, x) = sum_r a_r <w_r, x>^k: gradient, prediction, and what its neurons have learned."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenpapers import check

from . import _check
from ._data import sample

# Entries of the (rows, m) block of preactivations that is alive at once: 1 MB stays in a CPU's second-level cache.
_BLOCK = {"cpu": 2**17, "cuda": 2**24}


def gradient(
    W: Float[Tensor, "m d"], a: Float[Tensor, " m"], X: Float[Tensor, "batch d"], y: Float[Tensor, " batch"], k: int
) -> Float[Tensor, "m d"]:
    """Ascent direction of the correlation: row r is the batch mean of sigma'(<w_r, x>) a_r y x, sigma(z) = z^k.

    The loss is 1 - y f(W, x), so this is minus its gradient. Rows of X are taken in blocks that fit the cache: beside
    X itself the memory needed does not depend on the batch. Raises TypeError for half precision, integers and complex
    numbers; ValueError for an empty batch or shapes that do not fit; ArithmeticError when the result overflows.
    """
    W, a = _check.network(W, a)
    X = _check.inputs(X, W)
    y = _check.labels(y, X)
    k = _check.degree(k, W.shape[1])
    G = gradient_sum(W.T.contiguous(), X, y, k).T * (a[:, None] * (k / X.shape[0]))
    if not _check.finite(G):
        raise ArithmeticError(f"the gradient overflows {G.dtype}: the weights reach {W.abs().max():.3g} with k = {k}")
    return G


def gradient_sum(WT: Tensor, X: Tensor, y: Tensor, k: int) -> Tensor:
    """sum over rows of x y <w_r, x>^(k-1), shape (d, m): the inner loop, without checks."""
    rows = max(1, min(X.shape[0], _BLOCK.get(X.device.type, 2**17) // WT.shape[1]))
    block = X.new_empty(rows, WT.shape[1])
    power = torch.empty_like(block)
    total = X.new_zeros(X.shape[1], WT.shape[1])
    yx = X.new_empty(rows, X.shape[1])
    for start in range(0, X.shape[0], rows):
        x = X[start : start + rows]
        Z, P = block[: len(x)], power[: len(x)]
        torch.mm(x, WT, out=Z)  # (rows, m)
        integer_power(Z, k - 1, P)
        torch.mul(x, y[start : start + rows, None], out=yx[: len(x)])
        total.addmm_(yx[: len(x)].T, P)
    return total


def integer_power(Z: Tensor, n: int, out: Tensor) -> None:
    """out = Z^n by multiplications; torch.pow does so in one pass for n <= 3 and calls a slow pow above."""
    torch.pow(Z, min(n, 3), out=out)
    for _ in range(n - 3):
        out.mul_(Z)


def population_gradient(
    W: Float[Tensor, "m d"], a: Float[Tensor, " m"], support: Sequence[int], k: int
) -> Float[Tensor, "m d"]:
    """The expectation of `gradient` over fresh noiseless samples, in closed form.

    For k = |A|: a_r k! prod_{i in A, i != j} w_{r,i} for j in A, exactly 0 elsewhere. For k < |A| and k = |A| + 1 it
    vanishes. For k > |A| + 1 there is no such product (noise coordinates move too): ValueError. ArithmeticError when
    the result overflows.
    """
    W, a = _check.network(W, a)
    chosen = list(_check.support(support, W.shape[1]))
    k = _check.degree(k, W.shape[1])
    if k > len(chosen) + 1:
        raise ValueError(f"k must be at most |support| + 1 = {len(chosen) + 1} for the closed form, got {k}")
    G = torch.zeros_like(W)
    if k == len(chosen):
        for j in chosen:
            others = [i for i in chosen if i != j]
            G[:, j] = _check.factorial(k) * a * W[:, others].prod(dim=1)
    if not _check.finite(G):
        raise ArithmeticError(f"the gradient overflows {G.dtype}: the weights reach {W.abs().max():.3g} with k = {k}")
    return G


def dead_zone_sign(G: Tensor, rho: float) -> Tensor:
    """+1 where G >= rho, -1 where G <= -rho, 0 in the dead zone between; rho = 0 is the plain sign.

    Ties at rho count. rho is absolute (0.1 k!, not a fraction). Any shape; the precision of G.
    """
    rho = check.real("rho", rho, minimum=0.0)
    G = _check.tensor("G", G, G.ndim if isinstance(G, Tensor) else 2)
    return torch.sign(G) if rho == 0 else (rho <= G).to(G.dtype) - (-rho >= G).to(G.dtype)


def outputs(W: Tensor, a: Tensor, X: Tensor, k: int) -> Tensor:
    """f(W, x) per row of X, in blocks of rows."""
    W, a = _check.network(W, a)
    X = _check.inputs(X, W)
    k = _check.degree(k, W.shape[1])
    rows = max(1, _BLOCK.get(X.device.type, 2**17) // W.shape[0])
    found = []
    for start in range(0, X.shape[0], rows):
        Z = X[start : start + rows] @ W.T
        P = torch.empty_like(Z)
        integer_power(Z, k, P)
        found.append(P @ a)
    f = torch.cat(found)
    if not _check.finite(f):
        raise ArithmeticError(f"the output overflows {f.dtype}: the weights reach {W.abs().max():.3g} with k = {k}")
    return f


def predict(
    W: Float[Tensor, "m d"], a: Float[Tensor, " m"], X: Float[Tensor, "batch d"], k: int
) -> Float[Tensor, " batch"]:
    """The predicted label of each row, -1 or +1, and 0 where the output is exactly 0 (an error, not a class)."""
    return torch.sign(outputs(W, a, X, k))


def margin(
    W: Float[Tensor, "m d"],
    a: Float[Tensor, " m"],
    X: Float[Tensor, "batch d"],
    y: Float[Tensor, " batch"],
    k: int,
) -> Float[Tensor, " batch"]:
    """y f(W, x) / (m k!) per row: 1/2 in the ideal network, at least 1/4 under the main theorem."""
    return outputs(W, a, X, k) * _check.labels(y, X) / (W.shape[0] * _check.factorial(k))


def accuracy(
    W: Float[Tensor, "m d"],
    a: Float[Tensor, " m"],
    support: Sequence[int],
    k: int,
    inputs: int,
    generator: torch.Generator,
    rotation: Float[Tensor, "d d"] | None = None,
) -> float:
    """Fraction of `inputs` fresh noiseless samples whose label is predicted; an output of 0 is an error.

    With `rotation` R the network sees R x, as in `train`.
    """
    W, a = _check.network(W, a)
    inputs = check.integer("inputs", inputs, 1)
    if rotation is not None:
        rotation = _check.orthogonal("rotation", rotation, W.shape[1]).to(W)
    right, left = 0, inputs
    while left:  # blocks bound the memory
        X, y = sample(min(left, 2**16), W.shape[1], support, generator, dtype=W.dtype)
        seen = X if rotation is None else X @ rotation.T
        right += int((predict(W, a, seen, k) == y).sum())
        left -= len(X)
    return right / inputs


def good_neurons(W: Float[Tensor, "m d"], a: Float[Tensor, " m"], support: Sequence[int]) -> Tensor:
    """Whether a_r = prod_{j in support} sign(w_{r,j}), shape (m,), bool. A feature weight of 0 makes no good neuron."""
    W, a = _check.network(W, a)
    _check.signs("a", a)
    chosen = list(_check.support(support, W.shape[1]))
    return torch.sign(W[:, chosen]).prod(dim=1) == a


def coverage(W: Float[Tensor, "m d"], a: Float[Tensor, " m"], support: Sequence[int]) -> Int[Tensor, " patterns"]:
    """Number of good neurons with each of the 2^k sign patterns on the support, k = |support|.

    Patterns are in the order of itertools.product([-1, 1], repeat=k), coordinates in the order of `support`; k <= 24.
    """
    good = good_neurons(W, a, support)
    chosen = list(_check.support(support, W.shape[1]))
    if len(chosen) > 24:
        raise ValueError(f"support must name at most 24 coordinates to count 2^k patterns, got {len(chosen)}")
    places = 2 ** torch.arange(len(chosen) - 1, -1, -1, device=W.device)
    pattern = ((W[:, chosen] > 0).long() * places).sum(dim=1)
    return torch.bincount(pattern[good], minlength=2 ** len(chosen))


def read_support(W: Float[Tensor, "m d"], k: int) -> list[int]:
    """The k columns of W with the largest sum of squares, sorted: where the network put its features."""
    W = _check.tensor("W", W, 2)
    k = _check.degree(k, W.shape[1])
    return sorted(W.square().sum(dim=0).topk(k).indices.tolist())

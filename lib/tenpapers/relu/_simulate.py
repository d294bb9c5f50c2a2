"""GLM-tron and SGD themselves: many runs at once, and on given draws."""

from collections.abc import Callable
from typing import SupportsIndex

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from tenpapers import check
from tenpapers.one_pass.schedule import geometric_schedule

from . import _risk
from ._sandwich import stability_threshold

_NUMBERS = {"cpu": 2**21, "cuda": 2**27}  # random numbers drawn at once: what a CPU's cache holds; what fills a GPU


def gradient_gate(algorithm: str, z: Tensor, at_zero: float) -> Tensor | float:
    """The factor of x in the step: 1 for GLM-tron; the indicator of z > 0 for SGD, with `at_zero` at z = 0."""
    return 1.0 if algorithm == "glmtron" else torch.where(z == 0, at_zero, (z > 0).to(z.dtype))


def run_sequence(
    algorithm: str,
    indices: Integer[Tensor, "... _N"],
    signs: Float[Tensor, "... _N"] | Int[Tensor, "... _N"],
    noise: Float[Tensor, "... _N"],
    w_star: Float[Tensor, " _d"],
    w0: Float[Tensor, "... _d"],
    gamma: float,
    *,
    gate_at_zero: float = 0.0,
) -> Float[Tensor, "... _d"]:
    """Final weights (d,) or (batch, d) of one pass over given samples of the Bernoulli design.

    Sample t is x = signs[t] e_indices[t] with label y = relu(x.w*) + noise[t]: noise is the raw epsilon. indices, signs
    (+1 or -1) and noise are (N,) or (batch, N); w_star is (d,), w0 (d,) or (batch, d); the stepsizes are gamma, in
    (0, 1], halved every N / log2 N steps. gate_at_zero: SGD's gate at x.w = 0, from 0 (strict, the default) to 1.
    """
    _risk.choice("algorithm", algorithm, _risk.ALGORITHMS)
    at_zero = _risk.gate(gate_at_zero)
    for name, value in (("indices", indices), ("signs", signs), ("noise", noise)):
        if not isinstance(value, Tensor) or value.is_complex() or value.dtype == torch.bool:
            kind = f"a {value.dtype} tensor" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} must be a real torch tensor, got {kind}")
    if indices.is_floating_point():
        raise TypeError(f"indices must be a tensor of integers, got a {indices.dtype} tensor")
    if not (indices.shape == signs.shape == noise.shape) or indices.ndim not in (1, 2):
        raise ValueError(
            "indices, signs and noise must have one shape, (N,) or (batch, N), got "
            f"{tuple(indices.shape)}, {tuple(signs.shape)} and {tuple(noise.shape)}"
        )
    if not isinstance(w_star, Tensor) or w_star.ndim != 1 or w_star.numel() == 0:
        got = f"shape {tuple(w_star.shape)}" if isinstance(w_star, Tensor) else type(w_star).__name__
        raise TypeError(f"w_star must be a torch tensor of shape (d,) with at least one entry, got {got}")
    d = w_star.numel()
    uniform = torch.full((d,), 1.0 / d, dtype=torch.float64, device=w_star.device)
    w_star, w0 = _risk.weights("w_star", w_star, uniform), _risk.weights("w0", w0, uniform, batched=True)
    if w0.ndim > indices.ndim or (w0.ndim == 2 and w0.shape[0] not in (1, indices.shape[0])):
        raise ValueError(
            f"w0 must be one start ({d},) or one for each of the batch, got shape {tuple(w0.shape)} "
            f"for indices of shape {tuple(indices.shape)}"
        )
    check.same_device(w_star=w_star.device, indices=indices.device, signs=signs.device, noise=noise.device)
    if not bool(torch.isfinite(noise).all()):
        raise ValueError(f"noise must hold finite numbers only, got {noise[~torch.isfinite(noise)][0].item()}")
    _risk.moderate("noise", noise)
    indices = indices.long()
    if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < d):
        raise ValueError(f"indices must be between 0 and {d - 1}, got {int(indices.min())} to {int(indices.max())}")
    if bool((signs.double().abs() != 1).any()):
        raise ValueError("signs must be +1 or -1")
    gamma = _risk.stepsize(gamma, "bernoulli", uniform)
    batch, N = indices.shape[:-1], indices.shape[-1]
    w = w0.expand(*batch, d).clone()  # (batch, d)
    step = 0
    for stepsize, count in geometric_schedule(N, gamma):
        for t in range(step, step + count):
            where, sign, epsilon = (
                indices[..., t, None],
                signs[..., t, None].to(w.dtype),
                noise[..., t, None].to(w.dtype),
            )
            z = sign * w.gather(-1, where)  # x.w
            z_star = sign * w_star.expand(*batch, d).gather(-1, where)
            residual = torch.relu(z) - torch.relu(z_star) - epsilon
            w.scatter_add_(-1, where, -stepsize * residual * gradient_gate(algorithm, z, at_zero) * sign)
        step += count
    return w


def simulate(
    algorithm: str,
    design: str,
    eigenvalues: Float[Tensor, " _d"],
    w_star: Float[Tensor, " _d"],
    w0: Float[Tensor, "... _d"],
    N: SupportsIndex,
    gamma: float,
    sigma: float,
    seeds: SupportsIndex,
    generator: torch.Generator,
    *,
    gate_at_zero: float = 0.0,
) -> Float[Tensor, " seeds"]:
    """Excess risk (seeds,) after one pass over N fresh samples, for each of `seeds` independent runs.

    algorithm "glmtron" or "sgd"; design "bernoulli" (x = +e_i or -e_i with probability lambda_i / 2 each) or "gaussian"
    (x ~ N(0, diag(lambda))); y = relu(x.w*) + sigma N(0, 1). eigenvalues and w_star are (d,), w0 is (d,) or (seeds, d).
    Stepsizes gamma / 2^floor(t / K), K = N / log2 N. Everything is drawn from `generator`, on the eigenvalues' device.
    gate_at_zero: SGD's gate at x.w = 0, from 0 (strict, the default) to 1.

    Bernoulli samples touch one coordinate each, and within a phase the order of hits of different coordinates does not
    matter: the number of hits of every (run, coordinate) is drawn first, then all pairs take their steps side by
    side. Exact in distribution; the work is one seed-step per sample, whatever d.

    ValueError for gamma outside (0, 1] (Bernoulli) or beyond the stability edge, which it states (Gaussian).
    """
    _risk.choice("algorithm", algorithm, _risk.ALGORITHMS)
    _risk.choice("design", design, _risk.DESIGNS)
    lam = _risk.spectrum(eigenvalues, design)
    w_star, start = _risk.weights("w_star", w_star, lam), _risk.weights("w0", w0, lam, batched=True)
    N, seeds = check.integer("N", N, 1), check.integer("seeds", seeds, 1)
    if start.ndim > 2 or (start.ndim == 2 and start.shape[0] not in (1, seeds)):
        raise ValueError(f"w0 must be one start (d,) or one for each of {seeds} seeds, got shape {tuple(start.shape)}")
    sigma = _risk.noise_level(sigma)
    at_zero = _risk.gate(gate_at_zero)
    gamma = _risk.stepsize(gamma, design, lam, stability_threshold(lam) if design == "gaussian" else None)
    check.same_device(eigenvalues=lam.device, generator=check.random(generator).device)
    if design == "gaussian":

        def label(x: Tensor) -> Tensor:
            noise = sigma * normal(generator, *x.shape[:-1]) if sigma > 0 else 0.0
            return torch.relu(x @ w_star) + noise

        w = gaussian_pass(algorithm, lam, label, start, N, gamma, seeds, generator, at_zero)
        return _risk.excess_risk_gaussian(w, w_star, lam)
    start = start.expand(seeds, lam.numel())
    schedule = geometric_schedule(N, gamma)
    longest = max(count for _, count in schedule)
    group = max(1, 2 * _NUMBERS.get(lam.device.type, 2**21) // max(lam.numel(), min(longest, 2**10)))
    risks = []
    for first in range(0, seeds, group):
        w = _bernoulli_pass(algorithm, lam, w_star, start[first : first + group], schedule, sigma, generator, at_zero)
        risks.append(_risk.excess_risk_bernoulli(w, w_star, lam))
    return torch.cat(risks)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers, drawn with 24 bits (4 times as fast; fourth moment exact to 1e-5) and used with 53."""
    return torch.randn(shape, generator=generator, dtype=torch.float32, device=generator.device).double()


def _bernoulli_pass(
    algorithm: str,
    lam: Tensor,
    w_star: Tensor,
    start: Tensor,
    schedule: list[tuple[float, int]],
    sigma: float,
    generator: torch.Generator,
    at_zero: float,
) -> Float[Tensor, "seeds d"]:
    """Final weights of len(start) runs of the Bernoulli design."""
    seeds, d = start.shape
    flip = torch.where(w_star < 0, -1.0, 1.0)  # x -> -x in a coordinate: targets are non-negative from here on
    w = (start * flip).reshape(-1)  # (seeds * d,)
    target = w_star.abs().expand(seeds, d).reshape(-1)
    for gamma, count in schedule:
        hits = _hits(lam, seeds, count, generator)
        chosen = hits.nonzero()[:, 0]
        number, order = hits[chosen].sort(descending=True)
        chosen = chosen[order]
        w[chosen] = _steps(algorithm, w[chosen], target[chosen], number, gamma, sigma, generator, at_zero)
    return w.reshape(seeds, d) * flip


def _hits(lam: Tensor, seeds: int, count: int, generator: torch.Generator) -> Int[Tensor, " pairs"]:
    """How often each (run, coordinate) is drawn in `count` samples per run, flattened from (seeds, d)."""
    d = lam.numel()
    edges = lam.cumsum(0)
    edges[-1] = torch.inf  # a uniform number above the rounded sum belongs to the last coordinate
    total = torch.zeros(seeds * d, dtype=torch.int64, device=lam.device)
    offset = d * torch.arange(seeds, device=lam.device)[:, None]
    block = max(1, _NUMBERS.get(lam.device.type, 2**21) // seeds)
    for first in range(0, count, block):
        shape = (seeds, min(block, count - first))
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=lam.device)
        pairs = torch.searchsorted(edges, uniform, right=True) + offset
        total += torch.bincount(pairs.reshape(-1), minlength=seeds * d)
    return total


def _steps(
    algorithm: str,
    w: Float[Tensor, " pairs"],
    target: Float[Tensor, " pairs"],
    number: Int[Tensor, " pairs"],
    gamma: float,
    sigma: float,
    generator: torch.Generator,
    at_zero: float,
) -> Float[Tensor, " pairs"]:
    """number[i] steps of the chain of w[i] >= or < 0 towards target[i] >= 0; `number` is in descending order.

    Step j moves the first `active` chains, those with more than j hits. With x = s e_i, s a fair sign, the move is
    -gamma s (relu(s w) - relu(s target) - epsilon), and s epsilon is again N(0, sigma^2), independent of s.
    """
    longest = int(number[0]) if number.numel() else 0
    active = number.numel() - torch.bincount(number, minlength=longest + 1).cumsum(0)[:longest]  # (longest,)
    widths = active.tolist()
    step = 0
    while step < longest:
        stop, drawn = step, 0
        while stop < longest and (drawn == 0 or drawn + widths[stop] <= _NUMBERS.get(w.device.type, 2**21)):
            drawn += widths[stop]
            stop += 1
        plus = torch.empty(drawn, dtype=torch.bool, device=w.device).random_(generator=generator)
        noise = sigma * normal(generator, drawn) if sigma > 0 else None
        first = 0
        for width in widths[step:stop]:
            last = first + width
            epsilon = None if noise is None else noise[first:last]
            _step(algorithm, w[:width], target[:width], plus[first:last], gamma, epsilon, at_zero)
            first = last
        step = stop
    return w


def _step(
    algorithm: str,
    w: Float[Tensor, " pairs"],
    target: Float[Tensor, " pairs"],
    plus: Bool[Tensor, " pairs"],
    gamma: float,
    noise: Float[Tensor, " pairs"] | None,
    at_zero: float,
) -> None:
    """One step of every chain, in place."""
    move = torch.where(plus, w.clamp(min=0.0).sub_(target), w.clamp(max=0.0))
    if noise is not None:
        move.sub_(noise)
    if algorithm == "sgd":
        gate = plus == (w > 0)  # s w > 0, but for w = 0
        move.mul_(gate if at_zero == 0.0 else torch.where(w == 0, at_zero, gate.double()))
        if at_zero == 0.0:
            move.masked_fill_(w == 0, 0.0)
    w.sub_(move, alpha=gamma)


def gaussian_pass(
    algorithm: str,
    eigenvalues: Float[Tensor, " _d"],
    label: Callable[[Tensor], Tensor],
    w0: Float[Tensor, "... _d"],
    N: int,
    gamma: float,
    seeds: int,
    generator: torch.Generator,
    gate_at_zero: float = 0.0,
    average: bool = False,
) -> Float[Tensor, "seeds d"]:
    """Weights (seeds, d) after one pass over N samples x ~ N(0, diag(eigenvalues)) with labels label(x), any function.

    label maps x (..., d) to y (...,). Stepsizes gamma / 2^floor(t / K), K = N / log2 N; with `average`, the constant
    stepsize gamma and the mean of the last N // 2 iterates. The stepsize is not compared with the stability edge.
    """
    _risk.choice("algorithm", algorithm, _risk.ALGORITHMS)
    gate_at_zero, gamma = _risk.gate(gate_at_zero), check.real("gamma", gamma, above=0.0)
    d = eigenvalues.numel()
    root = eigenvalues.sqrt()
    schedule = [(gamma, N)] if average else geometric_schedule(N, gamma)
    stepsizes = [g for g, count in schedule for _ in range(count)]
    w = w0.expand(seeds, d).clone()
    mean = torch.zeros_like(w)
    kept = max(1, N // 2)
    block = max(1, _NUMBERS.get(w.device.type, 2**21) // (seeds * d))
    for first in range(0, N, block):
        x = normal(generator, min(block, N - first), seeds, d).mul_(root)  # (steps, seeds, d)
        y = label(x)  # (steps, seeds)
        for t in range(x.shape[0]):
            z = (x[t] * w).sum(dim=1)
            move = torch.relu(z).sub_(y[t])
            if algorithm == "sgd":
                move = move * gradient_gate(algorithm, z, gate_at_zero)
            w.addcmul_(x[t], move[:, None], value=-stepsizes[first + t])
            if average and first + t >= N - kept:
                mean += w / kept
    return mean if average else w

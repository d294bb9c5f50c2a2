"""Monte-Carlo SGD: the algorithm itself, many seeds at once."""

import math
from typing import SupportsIndex

import torch
from jaxtyping import Float
from torch import Tensor

from . import _check
from ._problem import Problem
from ._risk import stable_stepsize
from ._schedule import geometric_schedule

_NUMBERS = {"cpu": 2**21, "cuda": 2**27}  # random numbers drawn at once: 16 MB stay in a CPU's cache; 1 GB on a GPU


def simulate(
    problem: Problem,
    N: SupportsIndex,
    gamma: float,
    seeds: SupportsIndex,
    generator: torch.Generator,
    reduced: bool = True,
    base: float = 2.0,
    batch: SupportsIndex = 1,
) -> Float[Tensor, " seeds"]:
    """Total risk R(v_N) of `seeds` independent runs of SGD (shape (seeds,)), each with its own w* from the prior.

    Samples, labels, w* ~ N(0, diag(c)) and noise are Gaussian; stepsizes as in `exact_risk`, `batch` fresh samples
    per step. Everything is drawn from `generator`, which must live on the problem's device.

    reduced  True: M numbers per step. v - v* in Sigma's eigenbasis, with start -sqrt(beta0_i) N(0, 1) and noise of
             variance sigma^2 + Approx: its mean over seeds is `exact_risk(...).total`. Approx is the prior's mean
             in every run, so that the spread over seeds is smaller than that of the algorithm.
             False: the algorithm in its d dimensions, x ~ N(0, H), v_t = v - gamma_t (<v, S x> - y) S x, v_0 = 0;
             needs a problem that keeps its sketch (`problem_from_sketch` or `sketched_problem(infinite=False)`).

    Raises ValueError for a stepsize at or beyond the stability edge, a missing sketch or another bad argument.
    """
    problem, reduced = _check.problem(problem), _check.flag("reduced", reduced)
    N = _check.integer("N", N, 1)
    seeds = _check.integer("seeds", seeds, 1)
    batch = _check.integer("batch", batch, 1)
    gamma = stable_stepsize(problem, gamma, batch)
    _check.same_device(problem=problem.device, generator=_check.random(generator).device)
    stepsizes = [s for stepsize, count in geometric_schedule(N, gamma, base) for s in [stepsize] * count]
    run = _reduced if reduced else _honest
    width = problem.M if reduced or problem.S is None else problem.S.shape[1]
    budget = _NUMBERS.get(problem.device.type, 2**21)
    group = max(1, min(seeds, budget // (width * batch)))
    sizes = [min(group, seeds - start) for start in range(0, seeds, group)]
    return torch.cat([run(problem, stepsizes, size, batch, budget, generator) for size in sizes])


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers, drawn with 24 bits (4 times as fast; fourth moment exact to 1e-5) and used with 53."""
    return torch.randn(shape, generator=generator, dtype=torch.float32, device=generator.device).double()


def _reduced(
    problem: Problem, stepsizes: list[float], seeds: int, batch: int, budget: int, generator: torch.Generator
) -> Tensor:
    mu = problem.eigenvalues
    noise = math.sqrt(problem.noise_variance + problem.approximation)
    # u_i = sqrt(mu_i) (v - v*)_i: <z, v - v*> = <g, u> with z = sqrt(mu) g, and the excess is |u|^2
    u = -(mu * problem.initial_error).sqrt() * _normal(generator, seeds, mu.numel())  # (seeds, M)
    chunk = max(1, budget // (seeds * batch * mu.numel()))
    for start in range(0, len(stepsizes), chunk):
        block = stepsizes[start : start + chunk]
        g = _normal(generator, len(block), seeds, batch, mu.numel())
        epsilon = noise * _normal(generator, len(block), seeds, batch, 1)
        for t, stepsize in enumerate(block):
            misfit = (g[t] * u[:, None]).sum(dim=2, keepdim=True).sub_(epsilon[t])  # (seeds, batch, 1)
            step = g[t].mul_(misfit).sum(dim=1) if batch > 1 else g[t, :, 0].mul_(misfit[:, 0])  # (seeds, M)
            u.addcmul_(step, mu, value=-stepsize / batch)
    return problem.noise_variance + problem.approximation + u.square().sum(dim=1)


def _honest(
    problem: Problem, stepsizes: list[float], seeds: int, batch: int, budget: int, generator: torch.Generator
) -> Tensor:
    spectrum, coefficients, S = problem.spectrum, problem.coefficients, problem.S
    if spectrum is None or coefficients is None or S is None:
        raise ValueError(
            "reduced=False needs a problem that keeps its sketch S: build it with problem_from_sketch or with "
            "sketched_problem(..., infinite=False)"
        )
    d = spectrum.numel()
    w = coefficients.sqrt() * _normal(generator, seeds, d)  # (seeds, d) w*
    v = torch.zeros(seeds, problem.M, dtype=torch.float64, device=problem.device)
    chunk = max(1, budget // (seeds * batch * d))
    for start in range(0, len(stepsizes), chunk):
        block = stepsizes[start : start + chunk]
        x = _normal(generator, len(block), seeds, batch, d).mul_(spectrum.sqrt())
        epsilon = math.sqrt(problem.noise_variance) * _normal(generator, len(block), seeds, batch, 1)
        y = torch.matmul(x, w[:, :, None]) + epsilon  # (steps, seeds, batch, 1)
        z = x @ S.T  # (steps, seeds, batch, M)
        for t, stepsize in enumerate(block):
            misfit = torch.matmul(z[t], v[:, :, None]).sub_(y[t])
            v.sub_(torch.matmul(z[t].transpose(1, 2), misfit)[:, :, 0], alpha=stepsize / batch)
    return problem.noise_variance + ((v @ S - w).square() @ spectrum)

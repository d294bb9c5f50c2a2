"""Excess risk of a weight vector, in closed form, and what every function here asks of its arguments."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenpapers import check

ALGORITHMS = ("glmtron", "sgd")
DESIGNS = ("bernoulli", "gaussian")
LARGEST = 1e100  # of weights, noise and eigenvalues


def choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """`value`, which must be one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return str(value)


def moderate(name: str, value: Tensor) -> None:
    """ValueError for entries beyond LARGEST, whose squares and products would overflow."""
    largest = float(value.detach().abs().max()) if value.numel() else 0.0
    if largest > LARGEST:
        raise ValueError(f"{name} must hold numbers up to {LARGEST:g}, got {largest:.6g}")


def spectrum(eigenvalues: Any, design: str) -> Float[Tensor, " _d"]:
    """Eigenvalues (d,) of H = E x x^T as float64: non-negative, with sum 1 for the Bernoulli design."""
    values = check.vector("eigenvalues", eigenvalues)
    moderate("eigenvalues", values)
    total = float(values.sum())
    if design == "bernoulli" and abs(total - 1.0) > 1e-6:  # float32 input passes
        raise ValueError(
            f"eigenvalues must sum to 1 for the Bernoulli design (they are probabilities), got {total:.9g}: "
            "divide them by their sum, or add a coordinate that takes the rest"
        )
    if total == 0.0:
        raise ValueError("eigenvalues must hold at least one positive number, got zeros only")
    return values


def weights(name: str, value: Any, eigenvalues: Float[Tensor, " _d"], batched: bool = False) -> Tensor:
    """A finite float64 vector (d,), or with `batched` any (..., d), on the device of the eigenvalues."""
    d = eigenvalues.numel()
    if not isinstance(value, Tensor) or value.is_complex():
        raise TypeError(f"{name} must be a real torch tensor, got {type(value).__name__}")
    if value.ndim == 0 or value.shape[-1] != d or (value.ndim > 1 and not batched):
        wanted = f"({d},) or (..., {d})" if batched else f"({d},)"
        raise ValueError(f"{name} must have shape {wanted}, one entry per eigenvalue, got {tuple(value.shape)}")
    check.same_device(**{"eigenvalues": eigenvalues.device, name: value.device})
    value = value.to(torch.float64)
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} must hold finite numbers only, got {value[~torch.isfinite(value)][0].item()}")
    moderate(name, value)
    return value


def noise_level(sigma: Any) -> float:
    """sigma, a standard deviation from 0 to LARGEST."""
    number = check.real("sigma", sigma, minimum=0.0)
    if number > LARGEST:
        raise ValueError(f"sigma must be at most {LARGEST:g}, got {number:g}")
    return number


def gate(at_zero: Any) -> float:
    """SGD's gate at x.w = 0, between 0 (strict) and 1."""
    number = check.real("gate_at_zero", at_zero)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"gate_at_zero must be between 0 (strict) and 1, got {number!r}")
    return number


def stepsize(gamma: Any, design: str, eigenvalues: Float[Tensor, " _d"], edge: float | None = None) -> float:
    """gamma in (0, 1] for the Bernoulli design, below the stability edge for the Gaussian one."""
    number = check.real("gamma", gamma)
    if design == "bernoulli":
        if not 0.0 < number <= 1.0:
            raise ValueError(f"gamma must be in (0, 1] for the Bernoulli design, got {number!r}")
    elif edge is not None and not 0.0 < number < edge:
        below, found = check.apart(edge, number)
        raise ValueError(
            f"gamma must be above 0 and below the stability edge {below} of this Gaussian design, got {found}"
        )
    return number


def excess_risk_bernoulli(
    w: Float[Tensor, "... _d"], w_star: Float[Tensor, " _d"], eigenvalues: Float[Tensor, " _d"]
) -> Float[Tensor, "..."]:
    """E (relu(x.w) - relu(x.w*))^2 for x = +e_i or -e_i, each with probability lambda_i / 2.

    The sum over i of lambda_i / 2 [(relu(w_i) - relu(w*_i))^2 + (relu(-w_i) - relu(-w*_i))^2]. w (..., d) and w_star
    (d,); eigenvalues (d,) are non-negative and sum to 1. ValueError otherwise.
    """
    lam = spectrum(eigenvalues, "bernoulli")
    w, w_star = weights("w", w, lam, batched=True), weights("w_star", w_star, lam)
    plus = w.clamp(min=0.0) - w_star.clamp(min=0.0)
    minus = w.clamp(max=0.0) - w_star.clamp(max=0.0)
    return ((plus.square() + minus.square()) @ lam) / 2


def excess_risk_gaussian(
    w: Float[Tensor, "... _d"], w_star: Float[Tensor, " _d"], eigenvalues: Float[Tensor, " _d"]
) -> Float[Tensor, "..."]:
    """E (relu(x.w) - relu(x.w*))^2 for x ~ N(0, diag(eigenvalues)), by the arc-cosine kernel.

    With p = x.w, q = x.w*, of standard deviations s and s* and angle theta,

        E (relu(p) - relu(q))^2 = E (p - q)^2 / 2 - s s* (sin theta - theta cos theta) / pi .

    The second term is what opposite signs take away. It is 0 at theta = 0 and for w = 0, and s s* at theta = pi. The
    angle is 2 atan2(|u - v|, |u + v|) for the unit vectors u, v, and small angles use the series theta^3 / 3 - ...,
    so that no accuracy is lost near w*. w (..., d), w_star (d,), eigenvalues (d,) non-negative.
    """
    lam = spectrum(eigenvalues, "gaussian")
    w, w_star = weights("w", w, lam, batched=True), weights("w_star", w_star, lam)
    p, q = w * lam.sqrt(), w_star * lam.sqrt()
    s, s_star = torch.linalg.vector_norm(p, dim=-1), torch.linalg.vector_norm(q, dim=-1)
    tiny = torch.finfo(torch.float64).tiny
    u, v = p / s.clamp(min=tiny)[..., None], q / s_star.clamp(min=tiny)
    theta = 2 * torch.atan2(torch.linalg.vector_norm(u - v, dim=-1), torch.linalg.vector_norm(u + v, dim=-1))
    series = theta**3 * (
        1 / 3 - theta**2 * (1 / 30 - theta**2 * (1 / 840 - theta**2 * (1 / 45360 - theta**2 / 3991680)))
    )
    defect = torch.where(theta < 0.3, series, theta.sin() - theta * theta.cos())
    return (p - q).square().sum(dim=-1) / 2 - s * s_star * defect / math.pi


def excess_risk(design: str, w: Tensor, w_star: Tensor, eigenvalues: Tensor) -> Tensor:
    """The excess risk of that design."""
    function = excess_risk_bernoulli if design == "bernoulli" else excess_risk_gaussian
    return function(w, w_star, eigenvalues)


def matching_loss(z: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """relu(z)^2 / 2 - y z, the integral of relu(s) - y from 0 to z: convex in z, with gradient relu(z) - y.

    Its gradient in w at z = x.w is (relu(z) - y) x, GLM-tron's update; that of (relu(z) - y)^2 / 2 is SGD's. z and y
    are tensors of one shape, or one of them has a single entry.
    """
    for name, value in (("z", z), ("y", y)):
        if not isinstance(value, Tensor) or value.is_complex():
            raise TypeError(f"{name} must be a real torch tensor, got {type(value).__name__}")
    if z.shape != y.shape and z.numel() != 1 and y.numel() != 1:
        raise ValueError(f"z and y must have one shape, got {tuple(z.shape)} and {tuple(y.shape)}")
    return torch.relu(z).square() / 2 - y * z

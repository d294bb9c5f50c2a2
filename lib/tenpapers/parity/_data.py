"""Samples of a sparse parity."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tenpapers import check

from . import _check


def sample(
    batch: int,
    d: int,
    support: Sequence[int],
    generator: torch.Generator,
    flip: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Float[Tensor, "batch d"], Float[Tensor, " batch"]]:
    """`batch` fresh samples: X uniform on {-1, +1}^d, y = prod_{j in support} x_j, each label flipped w.p. `flip`.

    Lives on the generator's device. Sixty-four signs come from one random word: data cost 1/15 of a gradient step.
    Raises ValueError for batch < 1, a support with repeats or out of 0..d-1, flip outside [0, 1).
    """
    batch, d = check.integer("batch", batch, 1), check.integer("d", d, 1)
    chosen = _check.support(support, d)
    flip = check.real("flip", flip, minimum=0.0, below=1.0)
    if batch * d > 2**62:
        raise ValueError(f"batch times d must be at most 2^62 = {2**62}, got {batch} times {d}")
    X = signs((batch, d), check.random(generator), _check.precision(dtype))
    y = X[:, list(chosen)].prod(dim=1)
    if flip > 0:
        y = torch.where(torch.rand(batch, generator=generator, device=generator.device) < flip, -y, y)
    return X, y


def signs(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Independent fair signs of that shape, unpacked from random words."""
    device, number = generator.device, int(torch.Size(shape).numel())
    words = torch.empty((number + 63) // 64, dtype=torch.int64, device=device)
    words.random_(-(2**63), None, generator=generator)  # all 64 bits
    octets = torch.arange(256, device=device)[:, None] >> torch.arange(8, device=device)
    table = (octets & 1).to(dtype).mul_(2).sub_(1)  # (256, 8): the eight signs of every byte
    return table.index_select(0, words.view(torch.uint8).int()).view(-1)[:number].view(shape)


def all_inputs(
    d: int, dtype: torch.dtype = torch.float64, device: str | torch.device = "cpu"
) -> Float[Tensor, "inputs d"]:
    """All 2^d points of {-1, +1}^d as rows, in the order of itertools.product([-1, 1], repeat=d); d <= 24."""
    d = check.integer("d", d, 1, 24)
    device = _check.device(device)
    places = torch.arange(d - 1, -1, -1, device=device)
    bits = (torch.arange(2**d, device=device)[:, None] >> places) & 1
    return bits.to(_check.precision(dtype)).mul_(2).sub_(1)

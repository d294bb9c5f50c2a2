"""Gaussian elimination over GF(2): what noiseless parity costs when single samples may be read."""

import torch
from jaxtyping import Float
from torch import Tensor

from . import _check


def solve_gf2(X: Float[Tensor, "n d"], y: Float[Tensor, " n"]) -> list[int]:
    """The support A, sorted, of the one parity with y_i = prod_{j in A} x_ij for every sample.

    X and y hold signs. With x_j = (-1)^(b_j) the labels are linear equations over GF(2) in the indicator of A.
    Raises ValueError when the samples contradict every parity (as noise does) or leave more than one possible.
    """
    X = _check.tensor("X", X, 2)
    y = _check.labels(y, X)
    _check.signs("X", X)
    _check.signs("y", y)
    d = X.shape[1]
    bits = (torch.cat([X, y[:, None]], dim=1) < 0).int().tolist()
    rows = [sum(bit << j for j, bit in enumerate(row)) for row in bits]  # bit d is the label
    pivots: dict[int, int] = {}  # column -> the row that starts there
    for row in rows:
        for column in range(d):
            if row >> column & 1:
                if column not in pivots:
                    pivots[column] = row
                    break
                row ^= pivots[column]
        else:
            if row:  # 0 = 1
                raise ValueError(f"the {len(y)} samples contradict every parity: some label is wrong")
    if len(pivots) < d:
        raise ValueError(f"the {len(y)} samples do not determine the parity: rank {len(pivots)} of {d}")
    solution = 0
    for column in reversed(range(d)):
        row = pivots[column]
        parity = (row >> d & 1) ^ ((row & solution & ((1 << d) - 1)).bit_count() & 1)
        solution |= parity << column
    return [j for j in range(d) if solution >> j & 1]

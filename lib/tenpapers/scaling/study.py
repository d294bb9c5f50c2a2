"""Tables and fits of the experiments: many risks as one tidy table, slopes over sketches, fits over windows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ._approximation import approximation_constant
from ._fit import fit_law
from ._problem import Problem
from ._risk import Risk, averaged_risk, risk_curve
from ._schedule import effective_samples
from .theory import bias_constant


def curve(problem: Problem, N: Sequence[int], gamma: float, averaged: bool = False) -> dict[str, Any]:
    """The parts of the risk at every N, as columns: N, noise, approximation, bias, variance.

    averaged: constant stepsize and the average of the iterates instead of the decaying stepsize's last one.
    """
    if averaged:
        risks: list[Risk] = [averaged_risk(problem, n, gamma) for n in N]
    else:
        risks = risk_curve(problem, N, gamma)
    return {
        "N": list(N),
        "noise": [r.irreducible for r in risks],
        "approximation": [r.approximation for r in risks],
        "bias": [r.bias for r in risks],
        "variance": [r.variance for r in risks],
    }


def tidy(names: Sequence[str], items: Sequence[Sequence[Any]], pieces: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One table of many pieces (columns by name), each marked with its item's entries under `names`."""
    frames = [
        pd.DataFrame(piece).assign(**dict(zip(names, item, strict=True)))
        for item, piece in zip(items, pieces, strict=True)
    ]
    table = pd.concat(frames, ignore_index=True)
    return table[[*names, *(column for column in table.columns if column not in names)]]


def with_scales(table: pd.DataFrame, gamma: float, averaged: bool = False) -> pd.DataFrame:
    """`table` (columns of `curve`, and a) with the quantities that the theorems speak of.

    N_eff = N / log2 N (N itself for averaged iterates), scaled = N_eff gamma, k = scaled^(1/a), the number of learned
    directions, reducible = risk - sigma^2, rest = approximation + bias, unit_variance = variance / (sigma^2 + Approx).
    """
    N_eff = table["N"].astype(float) if averaged else table["N"].map(lambda n: effective_samples(int(n)))
    rest = table["approximation"] + table["bias"]
    return table.assign(
        N_eff=N_eff,
        scaled=N_eff * gamma,
        k=(N_eff * gamma) ** (1 / table["a"]),
        reducible=rest + table["variance"],
        rest=rest,
        unit_variance=table["variance"] / (table["noise"] + table["approximation"]),
    )


def law(a: float, b: float, M: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """c_1 M^-(b-1) + c_2 (N_eff gamma)^-((b-1)/a) with the derived constants; scaled = N_eff gamma."""
    c_1 = approximation_constant(a, b, 1)
    return c_1 * np.asarray(M, dtype=float) ** (1 - b) + bias_constant(a, b) * np.asarray(scaled) ** ((1 - b) / a)


def against_law(table: pd.DataFrame, column: str) -> pd.Series:
    """`column` of `table` (columns a, b, M, scaled) divided by `law`."""
    result = pd.Series(np.nan, index=table.index)
    for a, b in table[["a", "b"]].drop_duplicates().itertuples(index=False):
        part = table[(table["a"] == a) & (table["b"] == b)]
        result[part.index] = part[column] / law(a, b, part["M"].to_numpy(), part["scaled"].to_numpy())
    return result


def slope(table: pd.DataFrame, x: str, y: str) -> tuple[float, float]:
    """Log-log slope of y in x, fitted sketch by sketch: mean and standard deviation over the sketches.

    NaN where there are fewer than two different x.
    """
    if table[x].nunique() < 2:
        return float("nan"), float("nan")
    slopes = [np.polyfit(np.log(part[x]), np.log(part[y]), 1)[0] for _, part in table.groupby("sketch")]
    return float(np.mean(slopes)), float(np.std(slopes, ddof=1)) if len(slopes) > 1 else float("nan")


def minimum(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Where y is least, and that y: the vertex of the parabola through the best point and its neighbours in log-log.

    x ascending; NaN entries of y are passed over; (NaN, NaN) when the best point is the first or the last.
    """
    there = np.isfinite(y)
    u, v = np.log(np.asarray(x, dtype=float)[there]), np.log(np.asarray(y, dtype=float)[there])
    best = int(v.argmin()) if v.size else 0
    if not 0 < best < v.size - 1:
        return float("nan"), float("nan")
    parabola = np.polyfit(u[best - 1 : best + 2] - u[best], v[best - 1 : best + 2], 2)
    vertex = -parabola[1] / (2 * parabola[0])
    return float(np.exp(u[best] + vertex)), float(np.exp(np.polyval(parabola, vertex)))


def fit_windows(
    table: pd.DataFrame,
    sample: str,
    M_low: Sequence[int],
    M_high: Sequence[int],
    N_low: Sequence[int],
    N_high: Sequence[int],
) -> pd.DataFrame:
    """The joint fit in every window M_low <= M <= M_high, N_low <= N <= N_high of a table with M, N and reducible.

    sample names the column that the fit takes for N (N itself, or N_eff). Columns: the window, alpha_M, alpha_N, c_M,
    c_N.
    """
    rows = []
    for low, high, fewest, most in itertools.product(M_low, M_high, N_low, N_high):
        part = table[table["M"].between(low, high) & table["N"].between(fewest, most)]
        if part["M"].nunique() < 3 or part["N"].nunique() < 3:  # four unknowns and no freedom left
            continue
        fit = fit_law(part["M"].to_numpy(), part[sample].to_numpy(), part["reducible"].to_numpy())
        rows.append([low, high, fewest, most, fit.alpha_M, fit.alpha_N, fit.c_M, fit.c_N])
    return pd.DataFrame(rows, columns=["M_low", "M_high", "N_low", "N_high", "alpha_M", "alpha_N", "c_M", "c_N"])


def recursion_path(
    mu: np.ndarray, start: np.ndarray, noise: float, stepsizes: np.ndarray, steps: Sequence[int]
) -> np.ndarray:
    """Excess risk at each of `steps` (ascending) under constant stepsizes, one step at a time: (stepsizes, steps).

    The recursion of the second moments (batch 1, Gaussian features), with nothing of the fast evaluation in it; mu and
    start have shape (M,). It is followed beyond the stability edge, up to 1e200, where it is held.
    """
    step = stepsizes[:, None] * mu  # (stepsizes, M)
    keep = 1 - 2 * step + 2 * step**2
    push = stepsizes[:, None] * step
    beta = np.broadcast_to(start, step.shape).copy()
    found = np.empty((len(stepsizes), len(steps)))
    at = 0
    for t in range(1, steps[-1] + 1):
        beta = np.minimum(keep * beta + push * ((beta @ mu)[:, None] + noise), 1e200)
        while at < len(steps) and steps[at] == t:
            found[:, at] = beta @ mu
            at += 1
    return found

"""One look for all figures of the book.

A figure's title states its finding, its axes carry names and units, error bars show the spread over seeds, and a number
that the paper reports is drawn as a star (filled when read in the paper, hollow when only recalled).
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

# Okabe and Ito's colours, which stay apart for every common kind of colour vision, without the yellow (too light).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Markers and line styles that keep the series apart in greyscale too.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def use() -> None:
    """Set the look for every figure drawn from now on in this process."""
    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 4.2),
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "figure.facecolor": "white",  # stays white in the dark theme, so that black text stays legible
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "axes.prop_cycle": cycler(color=COLORS) + cycler(marker=MARKERS),
            "lines.markersize": 4.5,
            "lines.linewidth": 1.6,
            "legend.frameon": False,
            "legend.fontsize": 9.5,
            "errorbar.capsize": 2.5,
        }
    )


def axes(rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float | None = None, **options: Any) -> Any:
    """`plt.subplots` at the book's sizes: `width` inches for the whole figure, `height` by default 4.2 inches a row."""
    return plt.subplots(rows, columns, figsize=(width, 4.2 * rows if height is None else height), **options)


def errorbar(ax: Axes, x: ArrayLike, y: ArrayLike, spread: ArrayLike | None, **options: Any) -> Any:
    """A line through (x, y) with error bars of half-width `spread` (the caller says of what in label or caption)."""
    return ax.errorbar(np.asarray(x), np.asarray(y), yerr=None if spread is None else np.asarray(spread), **options)


def slope_guide(
    ax: Axes,
    x: ArrayLike,
    slope: float,
    through: tuple[float, float],
    label: str | None = None,
    **options: Any,
) -> Any:
    """A dashed power law y = y0 (x/x0)^slope over the range of `x`, through the point (x0, y0), on log axes."""
    ends = np.array([np.min(np.asarray(x)), np.max(np.asarray(x))], dtype=float)
    style: dict[str, Any] = {"color": "0.35", "linestyle": "--", "linewidth": 1.2, "marker": "none"} | options
    return ax.plot(ends, through[1] * (ends / through[0]) ** slope, label=label, **style)


def paper(ax: Axes, x: ArrayLike, y: ArrayLike, label: str, recalled: bool = False, **options: Any) -> Any:
    """The paper's own number(s) as stars: filled when verified at the source, hollow when only recalled."""
    style: dict[str, Any] = {
        "marker": "*",
        "markersize": 14,
        "linestyle": "none",
        "color": "black",
        "markerfacecolor": "none" if recalled else "black",
        "label": f"{label} (recalled)" if recalled else label,
        "zorder": 5,
    }
    return ax.plot(np.atleast_1d(np.asarray(x)), np.atleast_1d(np.asarray(y)), **(style | options))

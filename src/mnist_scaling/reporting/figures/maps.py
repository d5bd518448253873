"""A map of the grid: one coloured, numbered square for each cell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from mnist_scaling.reporting.figures import style

MOST_COLUMNS = 10
"""Numbers are left out of wider maps, where they would overlap."""


def draw_map(
    axes: Axes,
    table: pd.DataFrame,
    palette: str,
    norm: Normalize,
    words: Callable[[float], str],
    labels: tuple[Callable[[float], str], Callable[[float], str]],
) -> None:
    """Draw a table as squares; a missing cell stays empty.

    Parameters
    ----------
    table : pandas.DataFrame
        First row on top.
    palette : str
        Any name that seaborn knows.
    norm : matplotlib.colors.Normalize
    words : callable
        The number written into a square.
    labels : pair of callable
        Tick labels of rows and of columns.
    """
    values = np.ma.masked_invalid(table.to_numpy(float))
    rows, columns = values.shape
    colours = sns.color_palette(palette, as_cmap=True)
    axes.pcolormesh(values, cmap=colours, norm=norm, edgecolors="white", linewidth=1.5)
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=7.5)
    axes.set_xticks(np.arange(columns) + 0.5, [labels[1](v) for v in table.columns])
    axes.set_yticks(np.arange(rows) + 0.5, [labels[0](v) for v in table.index])
    if columns > MOST_COLUMNS:
        return
    for (y, x), value in np.ndenumerate(values.filled(np.nan)):
        if np.isfinite(value):
            ink = style.INK if _luminance(colours(norm(value))) > 0.45 else "white"
            axes.text(x + 0.5, y + 0.5, words(value), ha="center", va="center", fontsize=7, color=ink)


def _luminance(rgba: tuple[float, ...]) -> float:
    return float(np.dot(rgba[:3], (0.299, 0.587, 0.114)))

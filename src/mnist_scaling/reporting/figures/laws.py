"""Exponents by every law and method, and the joint laws' residuals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.maps import draw_map
from mnist_scaling.reporting.prepare.laws import Exponents, Residuals
from mnist_scaling.reporting.text import short

COLOURS = {"one-variable law": style.KINDS[0], "joint law": style.KINDS[1], "frontier": style.KINDS[2]}


def draw_exponents(data: Exponents) -> Figure:
    """A row for each law: point and 95 % interval; agreement is overlap."""
    rows = max(len(table) for table in data.groups.values())
    figure = style.new_figure(height=1.0 + 0.24 * rows)
    panels = figure.subplots(1, len(data.groups), squeeze=False)[0]
    for axes, (title, table) in zip(panels, data.groups.items(), strict=True):
        for y, row in enumerate(table.itertuples()):
            colour = COLOURS.get(str(row.kind), style.INK)
            if np.isfinite([row.low, row.high]).all():
                axes.plot([row.low, row.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
                _arrows(axes, row.low, row.high, y, colour, _limits(table))
            axes.plot(row.value, y, "o", color=colour)
        axes.set_yticks(range(len(table)), table["label"])
        axes.set_ylim(rows - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_title(title, fontsize=8.5, fontweight="normal", loc="right" if len(data.groups) > 1 else "left")
        axes.set_xlim(*_limits(table))
        axes.xaxis.set_major_locator(
            MaxNLocator(4 if len(data.groups) < 3 else 3, steps=[1, 2, 2.5, 5, 10], prune="both")
        )
    return figure


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """The points and their arms, but no arm that would squeeze all others."""
    low, high = table["value"].min(), table["value"].max()
    reach = max(3 * (high - low), 0.8 * abs(high), 0.02)
    ends = table[["value", "low", "high"]].to_numpy(float)
    left, right = max(np.nanmin(ends), low - reach), min(np.nanmax(ends), high + reach)
    margin = 0.07 * max(right - left, 0.02)
    return left - margin, right + margin


def _arrows(axes: Axes, low: float, high: float, y: int, colour: str, limits: tuple[float, float]) -> None:
    """Say where an arm goes on beyond the axes."""
    for end, limit, marker in ((low, limits[0], "<"), (high, limits[1], ">")):
        if not limits[0] <= end <= limits[1]:
            axes.plot(limit, y, marker, color=colour, markersize=5, clip_on=False)


def draw_residuals(data: Residuals) -> Figure:
    """A map of the grid for each law; red where the cell is worse than the law says."""
    count = len(data.laws)
    columns = 2 if count in (2, 4) else min(count, 3)
    lines = int(np.ceil(count / columns))
    rows = max(len(table) for table in data.laws.values())
    figure = style.new_figure(height=lines * (0.95 + 0.27 * rows))
    grid = figure.subplots(lines, columns, squeeze=False)
    most = 100 * max(float(np.nanmax(np.abs(table.to_numpy()))) for table in data.laws.values())
    for i, axes in enumerate(grid.flat):
        if i >= count:
            axes.set_axis_off()
            continue
        name, table = list(data.laws.items())[i]
        draw_map(axes, 100 * table, "vlag", Normalize(-most, most), _percent, (short, short))
        axes.set_title(f"{name.replace('_', ' ')}, {100 * data.rmse[name]:.1f} %", fontsize=8)
        axes.set(
            xlabel="examples seen D" if i >= count - columns else "", ylabel="parameters N" if i % columns == 0 else ""
        )
    return figure


def _percent(value: float) -> str:
    return f"{round(value):+d}".replace("-", "−") if round(value) else "0"

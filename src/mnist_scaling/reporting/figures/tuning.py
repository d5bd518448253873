"""What tuning changed, and how it went."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from mnist_scaling.reporting.documents.loading import axis_value
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.maps import draw_map
from mnist_scaling.reporting.prepare.change import Change, Direction
from mnist_scaling.reporting.prepare.tuning import Curse, Grid, Grids, History
from mnist_scaling.reporting.text import estimate
from mnist_scaling.study.columns import label

SIZES = {"N": "parameters N", "D": "training examples seen D"}
NAMES = {"N": "model size", "D": "data"}
LOOKS: dict[str, dict[str, Any]] = {
    "untuned": {"color": style.UNTUNED, "marker": "o", "mfc": "white", "linestyle": (0, (4, 1.5))},
    "tuned": {"color": style.TUNED, "marker": "o", "linestyle": "-"},
}
"""Hollow and dashed against filled and solid: told apart in black and white as well."""


def draw_change(data: Change) -> Figure:
    """Top: loss of the smallest and the largest level, untuned and tuned. Bottom: every slope."""
    count = len(data.directions)
    if all(len(direction.slices) == 1 for direction in data.directions):
        return _one_line(data)
    figure = style.new_figure(style.TEXT_WIDTH if count > 1 else 4.5, 5.4)
    grid = figure.subplots(2, count, squeeze=False, height_ratios=[1.35, 1])
    for top, bottom, direction in zip(grid[0], grid[1], data.directions, strict=True):
        _curves(top, direction)
        _slopes(bottom, direction)
    for letter, axes in zip("abcd", grid.flat, strict=False):
        axes.set_title(f"{letter}   {axes.get_title(loc='left')}", loc="left")
    if count > 1:
        low = min(a.get_ylim()[0] for a in grid[0])
        high = max(a.get_ylim()[1] for a in grid[0])
        for axes in grid[0]:
            style.log_axis(axes.yaxis, low, high, pad=0)
    return figure


def _one_line(data: Change) -> Figure:
    """A grid of one axis: the two curves, with their exponents in the legend."""
    figure = style.new_figure(height=3.3)
    axes, direction = figure.subplots(), data.directions[0]
    _curves(axes, direction)
    exponents, symbol = direction.slices[0].exponents, "α" if direction.variable == "N" else "β"
    for text, source in zip(axes.get_legend().get_texts(), LOOKS, strict=True):  # type: ignore[union-attr]
        text.set_text(f"{source}: {symbol} = {estimate(exponents[source])}")
    return figure


def _curves(axes: Axes, direction: Direction) -> None:
    ends = direction.slices[:1] + direction.slices[1:][-1:]
    for part in ends:
        points = part.cells
        for source, look in LOOKS.items():
            error = points["tuned_se"].fillna(0) if source == "tuned" else None
            axes.errorbar(points["x"], points[source], error, capsize=2, elinewidth=1, **look)
        last = points.iloc[-1]
        axes.annotate(
            part.label, (last["x"], last["tuned"]), xytext=(6, -2), textcoords="offset points", fontsize=8, va="center"
        )
    for source, look in LOOKS.items():
        axes.plot([], [], label=source, **look)
    levels = np.concatenate([part.cells["x"] for part in ends])
    losses = np.concatenate([part.cells[s] for part in ends for s in LOOKS])
    style.level_axis(axes.xaxis, levels, most=5)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.22 if any(part.label for part in ends) else high)
    style.log_axis(axes.yaxis, losses.min(), losses.max())
    axes.set(xlabel=SIZES[direction.variable], ylabel="validation loss (nats per example)")
    axes.legend(loc="lower left")
    axes.set_title(f"Loss against {NAMES[direction.variable]}", loc="left")


def _slopes(axes: Axes, direction: Direction) -> None:
    """Exponents at every level of the other axis, untuned beside tuned."""
    places = np.arange(len(direction.slices))
    for shift, (source, look) in zip((-0.12, 0.12), LOOKS.items(), strict=True):
        found = [part.exponents[source] for part in direction.slices]
        value, low, high = (np.array([getattr(i, end) for i in found]) for end in ("value", "low", "high"))
        arms = np.nan_to_num(np.array([value - low, high - value]))
        axes.errorbar(places + shift, value, arms, capsize=2.5, elinewidth=1, **(look | {"linestyle": "none"}))
        axes.plot(places + shift, value, color=look["color"], linestyle=look["linestyle"], linewidth=0.8, zorder=1)
    axes.set_xticks(places, [axis_value(p.level, direction.other) if direction.other else "" for p in direction.slices])
    axes.set_xlim(-0.5, len(places) - 0.5)
    symbol = "\\alpha" if direction.variable == "N" else "\\beta"
    axes.set_ylabel(f"exponent ${symbol}$, $L\\propto {direction.variable}^{{-{symbol}}}$")
    by = f", by {label(direction.other)}" if direction.other else ""
    axes.set_title(f"Exponent of {NAMES[direction.variable]}{by}", loc="left")
    axes.set_xlabel(label(direction.other) if direction.other else "")


def draw_hyperparameters(data: Grids) -> Figure:
    """A map of the grid for each tuned setting; a frame marks the edge of a search range."""
    count = len(data.grids)
    columns = min(count, 2)
    lines = int(np.ceil(count / columns))
    rows = data.grids[0].values.shape[0]
    figure = style.new_figure(height=lines * (0.95 + 0.3 * rows))
    grid = figure.subplots(lines, columns, squeeze=False)
    for i, axes in enumerate(grid.flat):
        if i < count:
            _map(axes, data.grids[i], data, left=i % columns == 0, bottom=i >= count - columns)
        else:
            axes.set_axis_off()
    return figure


def _map(axes: Axes, grid: Grid, data: Grids, left: bool, bottom: bool) -> None:
    values = grid.values.astype(float)
    known = values.to_numpy()[np.isfinite(values.to_numpy())]
    norm = LogNorm(known.min(), known.max()) if grid.logarithmic else Normalize(known.min(), known.max())
    palette = "light:#3a8f5c" if grid.percent else "light:#1f6f9f"
    labels = (partial(axis_value, axis=data.rows or ""), partial(axis_value, axis=data.columns or ""))
    draw_map(axes, values, palette, norm, _cell, labels)
    for y, x in zip(*np.nonzero(grid.edges.to_numpy(bool)), strict=True):
        axes.plot([x + 0.08, x + 0.92], [y + 0.9, y + 0.9], color=style.UNTUNED, linewidth=1.6, solid_capstyle="butt")
    axes.set_title(grid.title)
    axes.set_xlabel(label(data.columns) if bottom and data.columns else "")
    axes.set_ylabel(label(data.rows) if left and data.rows else "")


def _cell(value: float) -> str:
    return "" if not np.isfinite(value) else (f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}").replace("-", "−")


def draw_curse(data: Curse) -> Figure:
    """Repeats over selected trial: above the line the trial was lucky."""
    figure = style.new_figure(height=2.9)
    axes = figure.subplots()
    colours = style.ordered_colours(data.cells["level"].dropna(), style.SIZE_PALETTE)
    axes.axhline(0, color=style.INK, linewidth=0.9)
    middle = axes.axhline(100 * data.median, color=style.MUTED, linewidth=1, linestyle=(0, (4, 2)), label="median")
    for level, rows in data.cells.groupby("level", dropna=False):
        arms = (100 * (rows["high"] - rows["ratio"])).fillna(0)
        axes.errorbar(
            rows["selected"], 100 * (rows["ratio"] - 1), arms, fmt="o", capsize=2, elinewidth=1,
            color=colours.get(level, style.TUNED),
        )  # fmt: skip
    style.log_axis(axes.xaxis, data.cells["selected"].min(), data.cells["selected"].max())
    axes.set(xlabel="validation loss of the selected trial (nats per example)", ylabel="repeats are worse by (%)")
    style.level_key(figure, data.cells, label(data.size) if data.size else None, colours, [middle])
    return figure


def draw_history(data: History) -> Figure:
    """A thin line for each cell, a thick one for their median."""
    figure = style.new_figure(height=2.9)
    axes = figure.subplots()
    colours = style.ordered_colours(data.lines["level"].dropna(), style.SIZE_PALETTE)
    for _, rows in data.lines.groupby("cell"):
        colour = colours.get(rows["level"].iloc[0], style.TUNED)
        axes.step(rows["trial"], 100 * (rows["ratio"] - 1), where="post", linewidth=0.8, alpha=0.75, color=colour)
    thick: dict[str, Any] = {"color": style.INK, "linewidth": 2, "label": "median"}
    middle = axes.step(data.median["trial"], 100 * (data.median["ratio"] - 1), where="post", **thick)
    # Linear up to 1 %, logarithmic beyond: a first trial at ten times the best must not flatten what follows.
    axes.set_yscale("symlog", linthresh=1, linscale=0.7)
    highest = 100 * float(np.nanmax(data.lines["ratio"]) - 1)
    ticks = [t for t in (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 1e4) if t <= max(1.5 * highest, 1)]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.15, max(1.2 * highest, 1))
    axes.set(xlabel="trials of the cell", ylabel="best so far above final best (%)")
    trials = data.median["trial"].to_numpy()
    axes.set_xticks(trials if len(trials) <= 12 else trials[:: int(np.ceil(len(trials) / 8))])
    style.level_key(figure, data.lines, label(data.size) if data.size else None, colours, middle)
    return figure

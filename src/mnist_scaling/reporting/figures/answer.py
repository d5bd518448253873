"""The figure of an answer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.colors as mcolors
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.prepare.answer import AnswerFigure, AnswerLine
from mnist_scaling.reporting.text import estimate

PALEST = 0.35
"""Share of its colour that the palest line keeps; the rest is white."""

WIDE = 30
"""Positive numbers that span more than this factor are drawn in their logarithm."""

MOST_IN_A_ROW = 4
"""Panels side by side."""

MOST_TICKS = {1: 7, 2: 6, 3: 5, 4: 4}
"""Tick labels that an axis has room for, by the panels in its row."""

MOST_IN_THE_KEY = 7
"""Numbers that the row above the panels has room for."""


def draw(data: AnswerFigure) -> Figure:
    """Panels of the cells; below them, where there are any, the numbers of the sentence with their intervals."""
    columns = min(len(data.panels), MOST_IN_A_ROW)
    rows = -(-len(data.panels) // columns)
    below = 0.55 + 0.31 * len(data.intervals) if data.intervals else 0.0
    figure = style.new_figure(height=0.35 + 2.7 * rows + below)
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.7 * rows, below]) if below else [figure]
    grid = parts[0].subplots(rows, columns, squeeze=False, sharey=True).ravel()
    colours = _colours(data)
    low, high = _reach([line for lines in data.panels.values() for line in lines])
    for axes, (title, lines) in zip(grid, data.panels.items(), strict=False):
        axes.set_title(style.plain(title))
        for line in lines:
            _line(axes, line, colours[line.colour])
        style.level_axis(axes.xaxis, np.concatenate([line.points["x"] for line in lines]), most=MOST_TICKS[columns])
        axes.set_xlabel(style.plain(data.labels[0]))
    style.log_axis(grid[0].yaxis, low, high)
    grid[0].set_ylabel(style.plain(data.labels[1]))
    for axes in grid[len(data.panels) :]:
        axes.set_visible(False)
    words = {data.colours[value]: colours[value] for value in _named(data)}
    style.key(figure, "; ".join(filter(None, [data.key, data.shades])), words if len(words) > 1 else {})
    if below:
        _intervals(parts[1].subplots(), data)
    return figure


def _reach(lines: Sequence[AnswerLine]) -> tuple[float, float]:
    """Lowest and highest end of an error bar; of a point, where its bar would end below zero."""
    points = pd.concat([line.points for line in lines])
    low, high = points["y"] - points["se"], points["y"] + points["se"]
    return float(low.where(low > 0, points["y"]).min()), float(high.max())


def _named(data: AnswerFigure) -> list[Any]:
    """The colours that the key names: all, or of many numbers the first, the last and some that lie evenly between."""
    values = list(data.colours)
    if not data.numbered or len(values) <= MOST_IN_THE_KEY:
        return values
    return [values[round(i)] for i in np.linspace(0, len(values) - 1, MOST_IN_THE_KEY)]


def _colours(data: AnswerFigure) -> dict[Any, str]:
    if data.numbered:
        return dict(style.ordered_colours(data.colours, style.SIZE_PALETTE))
    return {value: style.KINDS[i % len(style.KINDS)] for i, value in enumerate(data.colours)}


def _line(axes: Axes, line: AnswerLine, colour: str) -> None:
    kept = PALEST + (1 - PALEST) * line.shade
    shade = tuple(1 - kept * (1 - channel) for channel in mcolors.to_rgb(colour))
    points = line.points
    axes.errorbar(
        points["x"], points["y"], points["se"], fmt="o-", color=shade, linewidth=1.1, elinewidth=0.9, capsize=2,
        markersize=4, markeredgecolor="white", markeredgewidth=0.5,
    )  # fmt: skip


def _intervals(axes: Axes, data: AnswerFigure) -> None:
    """One row per number, its words to the left and its text to the right; a line at zero where it is in reach."""
    names = list(data.intervals)
    ends: list[float] = []
    for place, name in enumerate(names):
        found = data.intervals[name]
        if found.known:
            arms = [[found.value - found.low], [found.high - found.value]] if found.bounded else None
            axes.errorbar([found.value], [place], xerr=arms, fmt="o", color=style.INK, capsize=2.5, linewidth=1.1)
            ends += [found.value, *((found.low, found.high) if found.bounded else ())]
    if ends and min(ends) > 0 and max(ends) > WIDE * min(ends):
        axes.set_xscale("log")
    if ends and min(ends) <= 0 <= max(ends):
        axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(names)), [textwrap.fill(style.plain(name), 42) for name in names])
    axes.grid(axis="y", visible=False)
    right = axes.twinx()  # tick labels, for which the layout makes room
    right.set_yticks(range(len(names)), [estimate(data.intervals[name]) for name in names])
    right.tick_params(axis="y", length=0)
    right.grid(visible=False)
    for both in (axes, right):
        both.set_ylim(len(names) - 0.5, -0.5)
    if not ends:
        axes.set_xticks([])

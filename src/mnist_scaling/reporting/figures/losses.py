"""Loss against N and against D, with fitted lines and their exponents."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.prepare.losses import Line, Losses
from mnist_scaling.reporting.text import estimate

SIZES = {"N": "parameters N", "D": "training examples seen D"}


def draw(data: Losses) -> Figure:
    """One row per panel: the lines to the left, the exponent of each line to the right."""
    with_exponents = any(sum(line.law is not None for line in lines) > 1 for lines in data.panels.values())
    figure = style.new_figure(height=0.25 + 2.9 * len(data.panels))
    grid = figure.subplots(
        len(data.panels), 1 + with_exponents, squeeze=False, width_ratios=[2.1, 1] if with_exponents else [1]
    )
    palette = style.DATA_PALETTE if data.variable == "N" else style.SIZE_PALETTE
    colours = style.ordered_colours([x.fixed for lines in data.panels.values() for x in lines], palette)
    for axes, (title, lines) in zip(grid, data.panels.items(), strict=True):
        axes[0].set_title(title)
        _lines(axes[0], data, lines, colours)
        known = [line for line in lines if line.law]
        if with_exponents:
            _exponents(axes[1], data, known, colours)
        elif len(known) == 1:
            text = f"{'α' if data.variable == 'N' else 'β'} = {estimate(known[0].law.exponent)}"  # type: ignore[union-attr]
            axes[0].annotate(text, (0.98, 0.95), xycoords="axes fraction", ha="right", va="top")
    if data.other is not None:
        labels = {line.fixed: line.label for lines in data.panels.values() for line in lines}
        style.key(figure, data.labels[2], {labels[f]: colours[f] for f in sorted(labels)})
    return figure


def _lines(axes: Axes, data: Losses, lines: list[Line], colours: dict[float, str]) -> None:
    largest = max(line.fixed for line in lines)
    for line in lines:
        colour, points = colours[line.fixed], line.points
        if line.law:
            curve = line.law.curve()
            if line.fixed == largest and curve["low"].notna().all():
                axes.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.15, linewidth=0)
            thin: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 0.8} if line.selected is not None else {}
            axes.plot(curve["x"], curve["loss"], color=colour, **thin)
        elif line.selected is None and not line.scattered:
            axes.plot(points["x"], points["loss"], color=colour, alpha=0.5, linewidth=0.9)
        if line.selected is not None:
            axes.plot(line.selected["x"], line.selected["loss"], color=colour)
        error = points["se"].fillna(0)
        axes.errorbar(
            points["x"], points["loss"], error, fmt="o", color=colour, elinewidth=1, capsize=2, capthick=1,
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    style.level_axis(axes.xaxis, np.concatenate([x.points["x"] for x in lines]))
    losses = np.concatenate([x.points["loss"] for x in lines])
    style.log_axis(axes.yaxis, losses.min(), losses.max())
    axes.set(xlabel=style.plain(data.labels[0]), ylabel=style.plain(data.labels[1]))


def _exponents(axes: Axes, data: Losses, known: list[Line], colours: dict[float, str]) -> None:
    """The exponent of every line over the other variable: flat where the law is the same everywhere."""
    for line in known:
        assert line.law is not None
        e = line.law.exponent
        arms = [[e.value - e.low], [e.high - e.value]] if e.bounded else None
        axes.errorbar([line.fixed], [e.value], arms, fmt="o", color=colours[line.fixed], capsize=2.5)
    other = "D" if data.variable == "N" else "N"
    if len({line.fixed for line in known}) > 1:
        values = [x.law.exponent.value for x in known if x.law]
        axes.plot([x.fixed for x in known], values, color=style.MUTED, linewidth=0.7, zorder=1)
    style.level_axis(axes.xaxis, [line.fixed for line in known], pad=0.12, most=4)
    symbol = "\\alpha" if data.variable == "N" else "\\beta"
    axes.set(xlabel=SIZES[other], ylabel=f"exponent ${symbol}$ of $L\\propto {data.variable}^{{-{symbol}}}$")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0) if low < 0.15 else low, high)

"""Loss against compute, the frontier, and isoFLOP curves."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullLocator

from mnist_scaling.fitting.frontier.fronts import METHODS
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.prepare.compute import Compute, IsoFlops, Optima, Optimum, exponent_label
from mnist_scaling.reporting.text import number

MARKERS = "osD^vPX"


def flop_axis(axes: Axes, low: float, high: float) -> None:
    """Training FLOPs as powers of ten; round numbers between them where the range is short."""
    if high / low < 30:
        style.log_axis(axes.xaxis, low, high, most=5)
    else:
        span = (high / low) ** 0.06
        axes.set(xscale="log", xlim=(low / span, high * span))
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        axes.xaxis.set_major_formatter(LogFormatterMathtext())
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("training compute C (FLOPs)")


def draw_compute(data: Compute) -> Figure:
    """Every cell, coloured by model size, and the frontier as a black line below them."""
    figure = style.new_figure(height=3.5)
    axes = figure.subplots()
    colours = style.ordered_colours(data.cells["level"].dropna(), style.SIZE_PALETTE)
    for _, rows in data.cells.groupby("group"):
        colour = colours.get(rows["level"].iloc[0], style.TUNED)
        axes.plot(rows["C"], rows["loss"], color=colour, linewidth=0.9, alpha=0.6)
        axes.errorbar(
            rows["C"], rows["loss"], rows["se"].fillna(0), fmt="o", color=colour, elinewidth=1, capsize=2,
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    lines: list[Line2D] = []
    if len(data.frontier):
        points = data.frontier
        slope = f": slope {number(data.exponent.value, 2)}" if data.exponent.known else ""
        dashed: dict[str, Any] = {"color": style.FRONTIER, "linewidth": 1.2, "linestyle": (0, (4, 2))}
        lines = axes.plot(points["C"], points["loss"], label=METHODS[data.method] + slope, **dashed)
        axes.plot(points["C"], points["loss"], "o", mfc="none", mec=style.FRONTIER, markersize=9, mew=1)
    if data.selected is not None:
        lines += axes.plot(data.selected["x"], data.selected["loss"], color=style.INK, label="selected law")
    flop_axis(axes, data.cells["C"].min(), data.cells["C"].max())
    style.log_axis(axes.yaxis, data.cells["loss"].min(), data.cells["loss"].max())
    axes.set_ylabel(style.plain(data.names[0]))
    style.level_key(figure, data.cells, data.names[1] if data.size else None, colours, lines)
    return figure


def draw_frontier(data: Optima) -> Figure:
    """N*(C) and D*(C) by every method; the band is the range that was run."""
    figure = style.new_figure(height=3.3)
    panels = figure.subplots(1, 2)
    for axes, variable, name in zip(panels, "ND", ("parameters", "examples seen"), strict=True):
        axes.axhspan(*data.ranges[variable], color=style.GRID, alpha=0.45, linewidth=0)
        for i, optimum in enumerate(data.optima):
            _optimum(axes, optimum, variable, i)
        values = np.concatenate([[*data.ranges[variable]], *(o.points[variable] for o in data.optima)])
        flop_axis(axes, *data.ranges["C"])
        style.log_axis(axes.yaxis, values.min(), values.max())
        axes.set_ylabel(f"compute-optimal {name} {variable}*")
        axes.legend(loc="upper left", handlelength=1.6, labelspacing=0.35)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** (0.09 * len(data.optima)))
    return figure


def _optimum(axes: Axes, optimum: Optimum, variable: str, place: int) -> None:
    colour, exponent = style.KINDS[place % len(style.KINDS)], optimum.exponents[variable]
    c, y = np.log(optimum.points["C"].to_numpy()), np.log(optimum.points[variable].to_numpy())
    label = f"{optimum.label}: {exponent_label(variable, exponent)}"
    axes.plot(np.exp(c), np.exp(y), MARKERS[place % len(MARKERS)], color=colour, markersize=4, alpha=0.85, label=label)
    if exponent.known:
        line = y.mean() + exponent.value * (c - c.mean())
        axes.plot(np.exp(c), np.exp(line), color=colour, linewidth=1.1)


def draw_isoflops(data: IsoFlops) -> Figure:
    """Loss over N at each budget, with the polynomial and its minimum."""
    figure = style.new_figure(height=3.4)
    axes = figure.subplots()
    colours = style.ordered_colours([c.budget for c in data.curves], "mako_r" if len(data.curves) > 6 else "crest")
    for curve in data.curves:
        colour = colours[curve.budget]
        axes.plot(curve.points["N"], curve.points["loss"], "o", color=colour, label=number(curve.budget))
        axes.plot(curve.curve["N"], curve.curve["loss"], color=colour, linewidth=1.1)
        if curve.minimum:
            filled = "none" if curve.quality != "ok" else style.FRONTIER
            axes.plot(*curve.minimum, "*", mec=style.FRONTIER, mfc=filled, markersize=10, mew=0.9, zorder=5)
    style.level_axis(axes.xaxis, np.concatenate([c.points["N"] for c in data.curves]))
    losses = np.concatenate([c.points["loss"] for c in data.curves])
    style.log_axis(axes.yaxis, losses.min(), losses.max())
    axes.set(xlabel="parameters N", ylabel=style.plain(data.loss))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles, labels, title="budget (FLOPs)", loc="upper left", bbox_to_anchor=(1, 1.02), alignment="left")
    return figure

"""Drawing of a comparison; nothing here computes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.prepare.two_arms import Curves, Differences, Multiples, Ratios
from mnist_scaling.reporting.text import short

ARMS = {"a": style.KINDS[0], "b": style.KINDS[1]}
"""Blue is always arm a, orange-red always arm b."""

LABELS = {"N": "parameters", "D": "training examples seen", "C": "training compute"}

BEYOND = 0.6
"""Differences of exponents farther out than this are cut off at the edge of the figure."""


def draw_ratios(data: Ratios) -> Figure:
    """One panel per variable: the ratio of each cell, coloured by the other variable, with the plane as lines."""
    figure = style.new_figure(height=3.0)
    axes = figure.subplots(1, len(data.variables), sharey=True, squeeze=False)[0]
    for ax, variable in zip(axes, data.variables, strict=True):
        others = [v for v in data.variables if v != variable]
        palette = style.SIZE_PALETTE if others == ["N"] else style.DATA_PALETTE
        groups = data.points.groupby(others[0]) if others else [(0.0, data.points)]
        colours = style.ordered_colours([level for level, _ in groups], palette)
        for level, rows in groups:
            rows = rows.sort_values(variable)
            ax.plot(rows[variable], rows["ratio"], "o", color=colours[level])
            ax.plot(rows[variable], rows["fitted"], color=colours[level], linewidth=1)
        ax.axhline(1, color=style.MUTED, linewidth=0.8, linestyle=":")
        style.level_axis(ax.xaxis, data.points[variable].to_numpy())
        ax.set_xlabel(LABELS[variable])
        if others:
            few, many = data.points[others[0]].min(), data.points[others[0]].max()
            ax.set_title(f"light to dark: {short(few)} to {short(many)} {LABELS[others[0]]}", fontsize=8)
    low, high = data.points["ratio"].min(), data.points["ratio"].max()
    style.log_axis(axes[0].yaxis, min(low, 1.0), max(high, 1.0))
    axes[0].set_ylabel("loss of b / loss of a")
    return figure


def draw_curves(data: Curves) -> Figure:
    """Cells of both arms over compute, and the least loss at each compute."""
    figure = style.new_figure(height=3.4)
    ax = figure.subplots()
    for arm, colour in ARMS.items():
        points, line = data.points[data.points["arm"] == arm], data.lines[data.lines["arm"] == arm]
        ax.plot(points["C"], points["loss"], "o" if arm == "a" else "s", color=colour, alpha=0.75)
        ax.plot(line["C"], line["loss"], color=colour, linestyle="-" if arm == "a" else "--")
    style.log_axis(ax.xaxis, data.points["C"].min(), data.points["C"].max())
    style.log_axis(ax.yaxis, data.points["loss"].min(), data.points["loss"].max())
    ax.set(xlabel="training FLOPs of one run", ylabel="loss")
    line = Line2D([], [], color=style.MUTED, label="least loss at each compute")
    style.key(figure, "", dict(zip((f"a: {data.names[0]}", f"b: {data.names[1]}"), ARMS.values(), strict=True)), [line])
    return figure


def draw_multiples(data: Multiples) -> Figure:
    """The multiplier with its pointwise interval."""
    figure = style.new_figure(height=2.8)
    ax = figure.subplots()
    line = data.line
    low, high = line["low"].fillna(line["value"]), line["high"].fillna(line["value"])
    ax.fill_between(line["C"], low, high, color=ARMS["b"], alpha=0.18, linewidth=0)
    ax.plot(line["C"], line["value"], color=ARMS["b"])
    ax.axhline(1, color=style.MUTED, linewidth=0.8, linestyle=":")
    style.log_axis(ax.xaxis, line["C"].min(), line["C"].max())
    middle = line["value"]
    style.log_axis(ax.yaxis, max(min(low.min(), 0.95), middle.min() / 5), min(max(high.max(), 1.05), middle.max() * 5))
    ax.set_xlabel("training FLOPs of a")
    ax.set_ylabel("FLOPs of b / FLOPs of a")
    return figure


def draw_differences(data: Differences) -> Figure:
    """One row per exponent, the margin of equivalence shaded."""
    rows = data.rows.iloc[::-1].reset_index(drop=True)
    figure = style.new_figure(height=0.9 + 0.19 * len(rows))
    ax = figure.subplots()
    reach = min(float(np.nanmax(np.abs(rows[["low", "high"]].to_numpy()))), BEYOND) * 1.05
    ax.axvspan(-data.margin, data.margin, color=style.GRID, alpha=0.7, linewidth=0)
    ax.axvline(0, color=style.MUTED, linewidth=0.8)
    for i, row in rows.iterrows():
        differs = not row["low"] <= 0 <= row["high"]
        colour = ARMS["b"] if differs else style.INK
        ax.plot([row["low"], row["high"]], [i, i], color=colour, linewidth=1.3)
        ax.plot(row["value"], i, "o", color=colour, markersize=3.5)
    ax.set(xlim=(-reach, reach), ylim=(-0.7, len(rows) - 0.3), xlabel="difference of exponents, b − a")
    ax.set_yticks(range(len(rows)), list(rows["label"]))
    ax.grid(visible=False, axis="y")
    return figure

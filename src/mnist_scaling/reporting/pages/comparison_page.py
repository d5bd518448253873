"""The page of a comparison: one self-contained HTML file from comparison.json, with its figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.fitting.uncertainty.least_squares import plane
from mnist_scaling.reporting import figure_files
from mnist_scaling.reporting.documents.comparison_json import Pair
from mnist_scaling.reporting.documents.loading import DEFAULT_LABELS
from mnist_scaling.reporting.figures import Plot, style
from mnist_scaling.reporting.figures.compute import flop_axis
from mnist_scaling.reporting.figures.style import View
from mnist_scaling.reporting.pages import draw
from mnist_scaling.reporting.text import Missing, short
from mnist_scaling.reporting.words import conclusion as say
from mnist_scaling.reporting.words.in_short import trusted


def ratios(pair: Pair) -> View | Missing:
    """log(L_b / L_a) of each paired cell over N and over D, with the fitted plane.

    Points have columns N, D where they vary, ratio (L_b / L_a), fitted (that of the plane); `names` the variables.
    """
    if not pair.paired:
        return Missing("The arms share too few cells, so no cell has a ratio of losses.")
    points = pd.DataFrame(pair.points)
    variables = tuple(v for v in ("N", "D", "C") if v in points and points[v].nunique() > 1)[:2]
    points["ratio"] = points["loss_b"] / points["loss_a"]
    points["fitted"] = np.exp(plane(np.log(points["ratio"]), *(np.log(points[v]) for v in variables)).fitted)
    return View(points, names=variables)


def curves(pair: Pair) -> View | Missing:
    """Loss against compute of both arms: columns arm (a or b), C, loss, of the cells and of L*(C); `names` the arms."""
    rows = [
        {"cell": i, "arm": arm, "C": p["C"], "loss": p[f"loss_{arm}"]}
        for i, p in enumerate(pair.points)
        for arm in "ab"
        if p.get("C") and p[f"loss_{arm}"] is not None
    ]
    if not rows:
        return Missing("The tables have no C, so nothing is said of compute.")
    lines = [{"arm": arm, **point} for arm, points in pair.frontiers.items() for point in points]
    return View(pd.DataFrame(rows), pd.DataFrame(lines, columns=["arm", "C", "loss"]), names=pair.names)


def multiples(pair: Pair) -> pd.DataFrame | Missing:
    """The multiplier between the smallest and the largest compute: columns C, value, low, high."""
    line = pd.DataFrame([vars(point) for point in pair.curve], columns=["C", "value", "low", "high"]).astype(float)
    if not line["value"].notna().any():
        return Missing("No loss is reached by both arms inside the compute that they cover, or the tables have no C.")
    return line[line["value"].notna()]


ARMS = {"a": style.KINDS[0], "b": style.KINDS[1]}
"""Blue is always arm a, orange-red always arm b."""


def draw_ratios(data: View) -> Figure:
    """One panel per variable: the ratio of each cell, coloured by the other variable, with the plane as lines."""
    figure = style.new_figure(height=3.0)
    axes = figure.subplots(1, len(data.names), sharey=True, squeeze=False)[0]
    for ax, variable in zip(axes, data.names, strict=True):
        others = [v for v in data.names if v != variable]
        palette = style.SIZE_PALETTE if others == ["N"] else style.DATA_PALETTE
        groups = data.points.groupby(others[0]) if others else [(0.0, data.points)]
        colours = style.ordered_colours([level for level, _ in groups], palette)
        for level, rows in groups:
            rows = rows.sort_values(variable)
            style.identify(ax.plot(rows[variable], rows["ratio"], "o", color=colours[level]), rows.index)
            ax.plot(rows[variable], rows["fitted"], color=colours[level], linewidth=1)
        ax.axhline(1, color=style.MUTED, linewidth=0.8, linestyle=":")
        style.level_axis(ax.xaxis, data.points[variable].to_numpy())
        ax.set_xlabel(DEFAULT_LABELS[variable])
        if others:
            few, many = data.points[others[0]].min(), data.points[others[0]].max()
            ax.set_title(f"light to dark: {short(few)} to {short(many)} {DEFAULT_LABELS[others[0]]}", fontsize=8)
    drawn = data.points[["ratio", "fitted"]].to_numpy()
    style.log_axis(axes[0].yaxis, min(drawn.min(), 1.0), max(drawn.max(), 1.0))
    axes[0].set_ylabel("loss of the second / of the first")
    return figure


def draw_curves(data: View) -> Figure:
    """Cells of both arms over compute, and the least loss at each compute."""
    figure = style.new_figure(height=3.4)
    ax = figure.subplots()
    for arm, colour in ARMS.items():
        points, line = data.points[data.points["arm"] == arm], data.lines[data.lines["arm"] == arm]
        drawn = ax.plot(points["C"], points["loss"], "o" if arm == "a" else "s", color=colour, alpha=0.75)
        style.identify(drawn, points["cell"])
        ax.plot(line["C"], line["loss"], color=colour, linestyle="-" if arm == "a" else "--")
    flop_axis(ax, data.points["C"].min(), data.points["C"].max())
    style.log_axis(ax.yaxis, data.points["loss"].min(), data.points["loss"].max())
    ax.set_ylabel("loss")
    line = Line2D([], [], color=style.MUTED, label="least loss at each compute")
    style.key(figure, "", dict(zip(data.names, ARMS.values(), strict=True)), [line])
    return figure


def draw_multiples(line: pd.DataFrame) -> Figure:
    """The multiplier with its pointwise interval."""
    figure = style.new_figure(height=2.8)
    ax = figure.subplots()
    low, high = line["low"].fillna(line["value"]), line["high"].fillna(line["value"])
    ax.fill_between(line["C"], low, high, color=ARMS["b"], alpha=0.18, linewidth=0)
    ax.plot(line["C"], line["value"], color=ARMS["b"])
    ax.axhline(1, color=style.MUTED, linewidth=0.8, linestyle=":")
    flop_axis(ax, line["C"].min(), line["C"].max())
    middle = line["value"]
    style.log_axis(ax.yaxis, max(min(low.min(), 0.95), middle.min() / 5), min(max(high.max(), 1.05), middle.max() * 5))
    ax.set_xlabel("training FLOPs of the first")
    ax.set_ylabel("FLOPs of the second / of the first")
    return figure


KICKER = SECTION = "Comparison"

PLOTS = (
    Plot(
        "compute", SECTION, "Loss against compute",
        "Every cell of both arms, and the least loss at each compute inside the sizes that both cover, by a smooth "
        "surface through each arm's cells.",
        curves, draw_curves,
    ),
    Plot(
        "ratio", SECTION, "Ratio of the losses, cell by cell",
        "Points are cells, lines the plane that the differences of alpha and beta come from: level lines mean equal "
        "exponents, their distance from 1 is the offset.",
        ratios, draw_ratios,
    ),
    Plot(
        "multiplier", SECTION, "Compute multiplier",
        "The compute that the second arm needs for the first one's loss, over that of the first, with its pointwise "
        "interval. Below 1, the second is cheaper. A sloping line means that the advantage changes with scale.",
        multiples, draw_multiples,
    ),
)  # fmt: skip
"""Figures of a pair, in the order of the page."""


def page(comparison: Pair, title: str) -> str:
    """The whole page as HTML, from comparison.json."""
    return draw(
        "comparison.html.j2",
        kicker=KICKER,
        title=title,
        pairs=[_pair(pair, i) for i, pair in enumerate(comparison.pairs or (comparison,))],
        summary=say.pairs_table(comparison.pairs) if comparison.pairs else None,
        command=comparison.command,
        settings=comparison.settings,
        margin=comparison.margin,
    )


def _pair(pair: Pair, place: int) -> dict[str, Any]:
    cells, plots = say.cell_table(pair, f"{place}-"), [replace(plot, name=f"{plot.name}-{place}") for plot in PLOTS]
    return {
        "pair": pair,
        "slopes": say.slope_table(pair),
        "multiplier": say.multiplier_table(pair),
        "exponents": say.exponent_table(pair),
        "cells": cells,
        "figures": [figure_files.shown(plot, pair, cells.cells, f"{place}-") for plot in plots],
        "noise": say.luck_sentence(pair),
        "trusted": trusted(pair.answer.trust, pair.answer.reasons),
        "decisions": say.decisions(pair),
    }

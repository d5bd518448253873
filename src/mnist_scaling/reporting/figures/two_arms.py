"""The figures of a comparison, made from comparison.json."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.fitting.comparing.comparison import margin_of
from mnist_scaling.fitting.uncertainty.least_squares import plane
from mnist_scaling.reporting.documents.comparison_json import DifferenceRecord, ExponentRecord, Pair
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.compute import flop_axis
from mnist_scaling.reporting.figures.scatter import View, forest
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import short, spaced

MOST_ROWS = 30
"""Differences of exponents that the figure holds; the table has them all."""

SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "γ", "N_exponent": "N* in C", "D_exponent": "D* in C",
           "loss_exponent": "L* in C"}  # fmt: skip
"""What the figure calls exponents; other parameters, such as floors, stand in the table alone."""


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


def differences(pair: Pair) -> View | Missing:
    """Every difference of exponents that has an interval, the paired slopes first, then from narrow to wide.

    Points have columns label, value, low, high, margin (of equivalence).
    """
    rows: list[tuple[str, DifferenceRecord | ExponentRecord]] = [
        (f"{SYMBOLS[k]}, cell by cell" if pair.paired else f"{SYMBOLS[k]}, shared range", found)
        for k, found in pair.slopes.items()
    ]
    head = len([1 for _, found in rows if found.difference.bounded])
    for e in pair.exponents:
        name = _called(e.parameter)
        if name is None:
            continue
        rows.append((f"{name}, {spaced(e.law or e.method)}", e))
    known = [(label, found.difference, margin_of(found.a.value, pair.margin)) for label, found in rows]
    known = [row for row in known if row[1].bounded]
    if not known:
        return Missing("No difference of exponents has an interval.")
    known[head:] = sorted(known[head:], key=lambda row: row[1].high - row[1].low)
    shown = [{"label": label, **vars(found), "margin": margin} for label, found, margin in known[:MOST_ROWS]]
    more = len(known) - len(shown)
    note = f"{more} more, with wider intervals, stand in the table." if more else ""
    return View(pd.DataFrame(shown), note=note)


def _called(parameter: str) -> str | None:
    """An exponent as the figure writes it, such as "α of N" for alpha_N; None for a parameter that is no exponent."""
    head, _, size = parameter.partition("_")
    known = SYMBOLS.get(parameter) or SYMBOLS.get(head)
    return known if known is None or parameter in SYMBOLS else f"{known} of {size}"


ARMS = {"a": style.KINDS[0], "b": style.KINDS[1]}
"""Blue is always arm a, orange-red always arm b."""

LABELS = {"N": "parameters", "D": "training examples seen", "C": "training compute"}

BEYOND = 0.6
"""Differences of exponents farther out than this are cut off at the edge of the figure."""


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
        ax.set_xlabel(LABELS[variable])
        if others:
            few, many = data.points[others[0]].min(), data.points[others[0]].max()
            ax.set_title(f"light to dark: {short(few)} to {short(many)} {LABELS[others[0]]}", fontsize=8)
    low, high = data.points["ratio"].min(), data.points["ratio"].max()
    style.log_axis(axes[0].yaxis, min(low, 1.0), max(high, 1.0))
    axes[0].set_ylabel("loss of b / loss of a")
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
    style.key(figure, "", dict(zip((f"a: {data.names[0]}", f"b: {data.names[1]}"), ARMS.values(), strict=True)), [line])
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
    ax.set_xlabel("training FLOPs of a")
    ax.set_ylabel("FLOPs of b / FLOPs of a")
    return figure


def draw_differences(data: View) -> Figure:
    """One row per exponent, its margin of equivalence shaded."""
    rows = data.points
    figure = style.new_figure(height=0.9 + 0.19 * len(rows))
    ax = figure.subplots()
    reach = min(float(np.nanmax(np.abs(rows[["low", "high"]].to_numpy()))), BEYOND) * 1.05
    ax.barh(rows.index, 2 * rows["margin"], 1, -rows["margin"], color=style.GRID, alpha=0.7, linewidth=0)
    ax.axvline(0, color=style.MUTED, linewidth=0.8)
    differs = (rows["low"] > 0) | (rows["high"] < 0)
    forest(ax, rows, [ARMS["b"] if one else style.INK for one in differs])
    ax.set(xlim=(-reach, reach), xlabel="difference of exponents, b − a")
    return figure

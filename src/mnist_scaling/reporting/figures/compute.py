"""Loss against compute, the frontier N*(C) and D*(C), and the isoFLOP curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, NullLocator

from mnist_scaling.fitting.fronts import METHODS
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.fits_json import OK
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.losses import best_sizes, grouped, selected_law
from mnist_scaling.reporting.figures.style import View
from mnist_scaling.reporting.text import Missing, number, power_of_ten
from mnist_scaling.study.columns import label


@dataclass(frozen=True)
class Compute:
    """Every cell over its training FLOPs, and the cheapest way to each loss."""

    cells: pd.DataFrame
    """Columns C, loss, se, level (of the axis that sets N), label, group (a line)."""
    frontier: pd.DataFrame
    """Columns C, loss: the hull's corners, or the Pareto front's where there is no hull."""
    told: str
    """How the frontier was found, and its slope."""
    note: str
    names: tuple[str, str | None]
    """Of the loss, and of the axis that sets N, if there is one."""
    selected: pd.DataFrame | None
    """Columns x, loss: the selected law, if it is one of compute alone; else the frontier of the law with a misfit."""
    law: str
    """Which of them it is."""
    last: float
    """The largest compute up to which there are examples for it."""


def compute(study: Study) -> Compute | Missing:
    """Loss against training FLOPs with the frontier of fits.json."""
    rows = study.cells.dropna(subset=["loss", "C"])
    if rows.empty and study.cells["loss"].notna().any():
        return Missing("The table names no training FLOPs.")
    if rows["C"].nunique() < 2:
        return Missing(f"Fewer than two cells with different compute have a {study.call('loss')}.")
    size = study.roles.size
    cells = grouped(rows, size)
    # No line joins scattered cells, nor runs of one budget.
    alone = cells["scattered"].any() or (size is None and cells["C"].duplicated().any())
    line = ["label", *study.roles.others]
    cells["group"] = np.arange(len(cells)) if alone else cells.groupby(line, dropna=False, sort=False).ngroup()
    fronts = study.fits.frontier
    method = next((m for m in ("hull", "pareto") if m in fronts and fronts[m].points), "")
    frontier = pd.DataFrame(fronts[method].points if method else [], columns=["C", "loss"]).astype(float)
    exponent = fronts[method].loss_exponent if method else Interval()
    told = METHODS.get(method, "") + (f": slope {number(exponent.value, 2)}" if exponent.known else "")
    stands = f"The frontier stands on {len(frontier)} of {len(cells)} cells."
    note = stands if len(frontier) else "No frontier could be formed."
    drawn = [*cells["C"], study.fits.headline.asked.at.get("C", np.nan)]
    law = selected_law(study, "C", (float(np.nanmin(drawn)), float(np.nanmax(drawn))), np.nan)
    by = (label(size) if study.is_study else study.call("N")) if size else None
    said, last = "nearest law", np.inf
    if law is None and (best := study.fits.frontier.get("parametric")) is not None and best.loss_exponent.known:
        law = pd.DataFrame(best.points)[["C", "loss", "D"]].astype(float).set_axis(["x", "loss", "D"], axis=1)
        if law.pop("D").max() > rows["D"].max():
            last = study.fits.headline.examples_last or last
            note += " Where the law's line is dotted, it takes more examples than were seen: these don't reach it."
        said = f"law: slope {number(best.loss_exponent.value, 2)}"
    names = (f"{study.call('loss')}{study.unit}", by)
    return Compute(cells.astype({"C": float}), frontier.sort_values("C"), told, note, names, law, said, last)


def frontier(study: Study) -> View | Missing:
    """N*(C) and D*(C) by every method that has points: columns C, N, D, method.

    `names` are the frontiers by method, the smallest and largest C, N and D that were run, and the largest C whose
    best model leaves some examples (0 where none takes all).
    """
    if study.roles.size is None or study.roles.data is None:
        what = "grid holds one of them still" if study.is_study else "table has one of them still, or not at all"
        return Missing(f"A frontier needs model size and data size to vary; this {what}.")
    fronts = study.fits.frontier
    optima = {k: f for k, f in fronts.items() if len(best_sizes(f)) and (f.N_exponent.known or f.D_exponent.known)}
    absent = " ".join(f"{METHODS[k]}: {f.status}." for k, f in fronts.items() if k not in optima)
    if not optima:
        return Missing(f"No method found a frontier. {absent}")
    if last := study.fits.headline.examples_last:
        absent += (
            f" Beyond C = {power_of_ten(last)}, the dotted line, the best D is more than all the examples there are: "
            'N* and D* are hollow there, because no run can have them. "Which model for which compute?" has what can.'
        )
    best = pd.concat([best_sizes(f).assign(method=k) for k, f in optima.items()])
    ran = {k: (study.cells if study.cells[k].notna().all() else best)[k] for k in ("C", "N", "D")}
    ranges = {k: (float(values.min()), float(values.max())) for k, values in ran.items()}
    return View(best, note=absent, names=(optima, ranges, last))


QUALITIES = {
    "ok": "minimum inside", "off_centre": "off-centre (biased)", "edge": "at the grid's edge",
    "not_convex": "no minimum",
}  # fmt: skip
"""Of isoFLOP curves, and what readers see of them."""


def isoflops(study: Study) -> View | Missing:
    """The isoFLOP curves of fits.json.

    Points have columns N, loss, budget, and as index their cells, where they are cells and not interpolated between
    some; lines N, loss, budget, bends_up: the fitted polynomial, or straight lines where it bends the wrong way.
    `names` is the loss, and a table of minima inside the sizes that were tried: C, N, loss, quality.
    """
    isoflop = study.fits.frontier.get("isoflop")
    records = isoflop.extra.get("curves") if isoflop else None
    if isoflop is None or not records:
        why = isoflop.status if isoflop else study.fits.why or "`fit` looks for them"
        return Missing(f"No isoFLOP curve: {why.rstrip('.')}.")
    records = sorted(records, key=lambda one: one["C"])
    curves = [_isoflop(one) for one in records]
    kinds = pd.Series([one.get("quality", "") for one in records]).value_counts()
    shares = ", ".join(f"{QUALITIES[str(kind)]} {n}" for kind, n in kinds.items())
    status = "" if isoflop.status == OK else f" {isoflop.status}."
    note = f"Points: {isoflop.extra['how']}. Of {len(curves)} curves: {shares}.{status}"
    minima = [one["minimum"] | {"C": one["C"], "quality": one["quality"]} for one in records if one.get("minimum")]
    points, lines = (pd.concat(parts) for parts in zip(*curves, strict=True))
    names = (f"{study.call('loss')}{study.unit}", pd.DataFrame(minima, columns=["C", "N", "loss", "quality"]))
    return View(points, lines, note, names)


def _isoflop(record: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points and line of one budget."""
    rows = pd.DataFrame({"N": record["N"], "loss": record["loss"]}, record["rows"] or ["" for _ in record["N"]])
    rows = rows.astype(float).assign(budget=float(record["C"])).sort_values("N")
    coefficients = record.get("coefficients") or [None]
    bends_up = all(c is not None for c in coefficients) and coefficients[2] > 0
    if not bends_up:
        return rows, rows.assign(bends_up=False)
    log_n = np.linspace(np.log(rows["N"].min()), np.log(rows["N"].max()), 60)
    loss = np.polynomial.polynomial.polyval(log_n - record["centre_log_N"], coefficients)
    return rows, pd.DataFrame({"N": np.exp(log_n), "loss": loss, "budget": float(record["C"]), "bends_up": True})


MARKERS = "osD^vP"


def flop_axis(axes: Axes, low: float, high: float) -> None:
    """Training FLOPs as powers of ten; round numbers between them where the range is short."""
    if high / low < 30:
        style.log_axis(axes.xaxis, low, high, most=4)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
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
    style.coloured_points(axes, data.cells, "C", "loss", colours, "se", by="group", fmt="o-", linewidth=0.9)
    lines: list[Line2D] = []
    if len(data.frontier):
        dashed: dict[str, Any] = {"color": style.FRONTIER, "linewidth": 1.2, "linestyle": (0, (4, 2))}
        ring: dict[str, Any] = {"marker": "o", "mfc": "none", "markersize": 9, "zorder": 3}
        lines = axes.plot(data.frontier["C"], data.frontier["loss"], label=data.told, **dashed, **ring)
    if data.selected is not None:
        seen = data.selected["x"] <= data.last
        lines += axes.plot(*data.selected[seen].T.to_numpy(), color=style.INK, label=data.law)
        axes.plot(*data.selected[~seen].T.to_numpy(), color=style.INK, linestyle=":", linewidth=1.0)
    drawn = data.cells[["C", "loss"]]
    if data.selected is not None:
        drawn = pd.concat([drawn, data.selected.set_axis(["C", "loss"], axis=1)])
    flop_axis(axes, drawn["C"].min(), drawn["C"].max())
    style.log_axis(axes.yaxis, drawn["loss"].min(), drawn["loss"].max())
    axes.set_ylabel(style.plain(data.names[0]))
    style.level_key(figure, data.cells, data.names[1], colours if data.names[1] else {}, lines)
    return figure


def draw_frontier(data: View) -> Figure:
    """N*(C) and D*(C) by every method; the band is the range that was run."""
    figure = style.new_figure(height=3.3)
    optima, ranges, last = data.names
    for axes, variable, name in zip(figure.subplots(1, 2), "ND", ("parameters", "examples seen"), strict=True):
        axes.axhspan(*ranges[variable], color=style.GRID, alpha=0.45, linewidth=0)
        for (method, front), colour, marker in zip(optima.items(), style.KINDS, MARKERS, strict=False):
            best, exponent = data.points[data.points["method"] == method], getattr(front, f"{variable}_exponent")
            slope = f"{variable}* $\\propto C^{{{number(exponent.value, 2)}}}$" if exponent.known else "no slope"
            axes.plot(
                best["C"], best[variable], marker, color=colour, markersize=4, alpha=0.85,
                label=f"{METHODS[method]}: {slope}",
            )  # fmt: skip
            if method == "parametric" and last:
                far = best[best["C"] > last]
                axes.plot(far["C"], far[variable], marker, markersize=4, mec=colour, mfc="white")
                axes.axvline(last, color=style.MUTED, linestyle=":", linewidth=1)
            if exponent.known:
                c, y = np.log(best["C"]), np.log(best[variable])
                axes.plot(best["C"], np.exp(y.mean() + exponent.value * (c - c.mean())), color=colour, linewidth=1.1)
        flop_axis(axes, *ranges["C"])
        values = np.concatenate([ranges[variable], data.points[variable]])
        style.log_axis(axes.yaxis, values.min(), values.max())
        axes.set_ylabel(f"compute-optimal {name} {variable}*")
        axes.legend(loc="upper left", handlelength=1.6, labelspacing=0.35, frameon=True, facecolor="w", edgecolor="w")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** (0.09 * len(optima)))
    return figure


def draw_isoflops(data: View) -> Figure:
    """Loss over N at each budget, with the polynomial and its minimum."""
    figure = style.new_figure(height=3.4)
    axes = figure.subplots()
    told, minima = data.names
    colours = style.ordered_colours(data.points["budget"], "mako_r")
    for budget, colour in colours.items():
        rows, line = (table[table["budget"] == budget] for table in (data.points, data.lines))
        style.points(axes, rows, "N", "loss", color=colour, label=number(budget))
        axes.plot(line["N"], line["loss"], "-" if line["bends_up"].all() else ":", color=colour, linewidth=1.1)
    for sure, filled in ((True, style.FRONTIER), (False, "none")):
        stars = minima[(minima["quality"] == "ok") == sure]
        axes.plot(stars["N"], stars["loss"], "*", mec=style.FRONTIER, mfc=filled, markersize=10, mew=0.9, zorder=5)
    style.level_axis(axes.xaxis, data.points["N"])
    style.log_axis(axes.yaxis, data.points["loss"].min(), data.points["loss"].max())
    axes.set(xlabel="parameters N", ylabel=style.plain(told))
    axes.legend(title="budget (FLOPs)", loc="upper left", bbox_to_anchor=(1, 1.02), alignment="left")
    return figure

"""The best run at each budget of compute: its loss, its sizes and its settings, each with the line to the next budget.

ln y = a + b ln C,  by least squares; the shade is Student's interval of a single new budget
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import stdtrit

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import SAME_LEVEL
from mnist_scaling.fitting.uncertainty.least_squares import plane
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.compute import flop_axis
from mnist_scaling.reporting.figures.scatter import View, panels, points
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.study.columns import label

FEWEST = 4
"""Budgets that a line is put through, at least."""

MOST_SETTINGS = 5


def best_per_budget(rows: pd.DataFrame, loss: str = "loss") -> pd.DataFrame:
    """The row of the lowest loss at each budget: models that share their C, or lie in one factor of 2 where few do."""
    logs = np.log(rows["C"].astype(float))
    same = (logs / SAME_LEVEL).round()
    sizes = rows["N"] if "N" in rows and rows["N"].notna().any() else rows.index.to_series()
    shared = sizes.groupby(same).nunique().median() > 1
    budgets = same if shared else np.floor((logs - logs.min()) / np.log(2) + 1e-9)
    return rows.loc[rows.groupby(budgets)[loss].idxmin()].sort_values("C")


def winners(study: Study) -> View | Missing:
    """Points: rows of cells.csv. Lines: columns of, C, value, low, high, to the next budget, or the one asked for."""
    cells = study.cells[study.cells["loss"].notna() & (study.cells["C"] > 0)]
    best = best_per_budget(cells) if len(cells) else cells
    if len(best) < FEWEST:
        return Missing(f"A line through the best runs needs {FEWEST} budgets, but there are {len(best)}.")
    tuned = [k for k in study.tuned if pd.api.types.is_numeric_dtype(best[k]) and best[k].notna().all()]
    tuned = [k for k in tuned if best[k].nunique() > 1]
    shown = ["loss", *(k for k in "ND" if best[k].nunique() > 1), *tuned[:MOST_SETTINGS]]
    keys = study.fits.settings_laws.keys if study.fits.settings_laws else {}
    linear = [k for k in shown if not (best[k] > 0).all() or (k in keys and keys[k].scale != "log")]
    x = np.log(best["C"].to_numpy(float))
    ahead = max(
        [x[-1] + (x[-1] - x[0]) / (len(x) - 1), *(np.log(p.at["C"]) for p in study.fits.predictions if "C" in p.at)]
    )
    lines = [_line(x, best[k].to_numpy(float), np.linspace(x[0], ahead, 40), k in linear).assign(of=k) for k in shown]
    names = {k: f"{study.call(k)} {k}" if k in "ND" else study.call(k) if k == "loss" else label(k) for k in shown}
    note = f"{len(best)} budgets of {len(cells)} cells; the lines end at {np.exp(ahead):.2g} FLOPs."
    return View(best, pd.concat(lines), note, (names, linear))


def _line(x: Array, values: Array, at: Array, linear: bool) -> pd.DataFrame:
    x, places = x - x.mean(), at - x.mean()
    found = plane(values if linear else np.log(values), x)
    variance = (found.residual**2).sum() / found.free * (1 + 1 / len(x) + places**2 / (x**2).sum())
    half = stdtrit(found.free, 0.975) * np.sqrt(variance)
    value = found.at(places)
    table = pd.DataFrame({"value": value, "low": value - half, "high": value + half})
    return (table if linear else np.exp(table)).assign(C=np.exp(at))


def draw_winners(data: View) -> Figure:
    """A panel for the loss, each size and each setting; no line joins the points, which need not lie on one curve."""
    names, linear = data.names
    figure = style.new_figure(height=0.3 + 2.3 * -(-len(names) // 3))
    for axes, name in zip(panels(figure, len(names), 3), names, strict=True):
        _panel(axes, data, name, name in linear)
        axes.set_ylabel(style.plain(names[name]))
    line = Line2D([], [], color=style.UNTUNED, label="line through them, with the interval of a new one")
    style.key(figure, "", {"best run at a budget": style.TUNED}, [line])
    return figure


def _panel(axes: Axes, data: View, name: str, linear: bool) -> None:
    line = data.lines[data.lines["of"] == name]
    values = data.points[name].astype(float)
    axes.fill_between(line["C"], line["low"], line["high"], color=style.UNTUNED, alpha=0.15, linewidth=0)
    axes.plot(line["C"], line["value"], color=style.UNTUNED)
    points(axes, data.points, "C", name, color=style.TUNED)
    flop_axis(axes, line["C"].min(), line["C"].max())
    low, high = min(values.min(), line["value"].min()), max(values.max(), line["value"].max())
    if linear:
        pad = 0.1 * (high - low)
        axes.set_ylim(low - pad, high + pad)
    else:
        style.log_axis(axes.yaxis, low, high, most=5)

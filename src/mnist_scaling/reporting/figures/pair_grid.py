"""Numbers that move together: pairs of runs, of the best ones, of exponents; and the best runs along compute.

ln y = a + b ln C,  by least squares through the best runs; the shade is Student's interval of a single new budget
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from mnist_scaling.fitting.fronts import lines
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import SAME_LEVEL
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL, line_at, plane
from mnist_scaling.planning.next_budget import FEWEST as FEWEST_BUDGETS
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.compute import flop_axis
from mnist_scaling.reporting.figures.style import View, panels, points
from mnist_scaling.reporting.text import Missing, plural, power_of_ten, short
from mnist_scaling.study.columns import COMPLETE, TRIAL, label

FEWEST = 5
MOST_COLUMNS = 6
RASTER_FROM = 100
"""Points of a panel from which on they are drawn as a picture: a page must stay small."""

WITHIN_95 = 2.4477
"""Radius that holds 95 % of a normal cloud in standard deviations: the root of chi-squared's quantile."""


def pairs(study: Study, best: bool) -> View | Missing:
    """Numbers of the finished trials, or of the cells where there are none; base 10 logs of what is wide."""
    done = study.trials
    done = done[(done["stage"] == TRIAL) & (done["state"] == COMPLETE)] if study.is_study else done
    if len(done):
        rows = done.rename(columns={"val_loss": "loss", "n_params": "N", "n_seen": "D", "flops": "C"})
    else:
        rows = study.cells
    numeric = [k for k in study.tuned if pd.api.types.is_numeric_dtype(rows[k])]
    rows = rows[["loss", "N", "D", *numeric, "C"]].astype(float).dropna(subset=["loss"])
    rows = best_per_budget(rows[rows["C"] > 0]) if best else rows
    kept = [k for k in ["loss", "N", "D", *numeric] if rows[k].nunique() > 1][:MOST_COLUMNS]
    rows = rows[kept].dropna()
    if len(rows) < FEWEST or len(kept) < 2:
        return Missing(
            f"Pairs need {FEWEST} runs and two numbers that vary, but there are {len(rows)} and {len(kept)}."
        )
    logs = [k for k in kept if (rows[k] > 0).all() and rows[k].max() > 3 * rows[k].min()]
    names = {
        k: "validation loss" if k == "loss" and len(done) else study.call(k) if k == "loss" else label(k) for k in kept
    }
    return View(
        rows.assign(**np.log10(rows[logs])).rename(columns=names),
        note=f"{plural(len(rows), 'run')}.",
        names=[names[k] for k in logs],
    )


def clouds(study: Study) -> View | Missing:
    """A row for each surface: exponents of L* and N* in C over the upper half of the budgets, the floor, L* ahead."""
    kept = study.fits.headline.draws
    if kept is None:
        return Missing("fits.json keeps no draws of the model: it needs compute, and a `fit` of today.")
    log_c, loss = np.log(np.array(kept.C, float)), np.log(np.array(kept.loss, float))
    half = log_c >= (log_c[0] + log_c[-1]) / 2
    table = {"exponent of L* in C": -plane(loss[:, half].T, log_c[half]).coefficients[1]}
    if kept.N is not None:
        table["exponent of N* in C"] = lines(log_c[half], np.log(np.array(kept.N, float))[:, half], 2)
    table |= {"floor": np.array(kept.floor, float), f"loss at {power_of_ten(kept.C[-1])} FLOPs": np.exp(loss[:, -1])}
    rows = pd.DataFrame({name: values for name, values in table.items() if pd.Series(values).nunique() > 1}).dropna()
    if len(rows) < 2 or len(rows.columns) < 2:
        return Missing("The draws of the model differ in fewer than two numbers.")
    return View(rows, note=f"{plural(len(rows), 'draw')}.", names=[])


def draw_pairs(data: View) -> Figure:
    """Below the diagonal points and the ellipse of 95 % of a normal cloud, on it the density, above it correlations."""
    grid = sns.PairGrid(data.points, height=style.TEXT_WIDTH / len(data.points.columns), diag_sharey=False)
    grid.map_lower(_cloud)
    grid.map_diag(sns.kdeplot, color=style.TUNED, fill=True, linewidth=1, warn_singular=False)
    grid.map_upper(_correlation)
    below, left = [axes.xaxis for axes in grid.axes[-1]], [axes.yaxis for axes in grid.axes[:, 0]]
    for axis, most in [*((axis, 2) for axis in below), *((axis, 3) for axis in left)]:
        axis.set_major_locator(MaxNLocator(most))
        if axis.get_label_text() in data.names:
            low, high = (10.0**end for end in axis.get_view_interval())
            ticks = style.nice_ticks(low, high, most)
            axis.set_major_locator(FixedLocator(list(np.log10(ticks))))
            axis.set_major_formatter(FuncFormatter(lambda value, _: short(10**value)))
    grid.figure.set_layout_engine("constrained")
    plt.close(grid.figure)  # seaborn makes it by pyplot, which would keep it
    return grid.figure


def _cloud(x: pd.Series, y: pd.Series, **look: Any) -> None:
    axes = plt.gca()
    axes.scatter(x, y, s=7, color=style.TUNED, alpha=0.5, linewidth=0, rasterized=len(x) > RASTER_FROM)
    size, turn = np.linalg.eigh(np.cov(x, y))
    width, height = 2 * WITHIN_95 * np.sqrt(np.maximum(size, 0))
    angle = float(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])))
    axes.add_patch(
        Ellipse((x.mean(), y.mean()), width, height, angle=angle, fill=False, edgecolor=style.UNTUNED, linewidth=1)
    )


def _correlation(x: pd.Series, y: pd.Series, **look: Any) -> None:
    r = float(np.corrcoef(x, y)[0, 1])
    axes = plt.gca()
    axes.set_facecolor(sns.color_palette("vlag", as_cmap=True)((r + 1) / 2))
    axes.grid(visible=False)
    ink = "white" if abs(r) > 0.7 else style.ON_COLOUR
    axes.annotate(
        f"{r:+.2f}".replace("-", "−"), (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color=ink
    )


MOST_SETTINGS = 5


def best_per_budget(rows: pd.DataFrame) -> pd.DataFrame:
    """The row of the lowest loss at each budget: models that share their C, or lie in one factor of 2 where few do."""
    logs = np.log(rows["C"].astype(float))
    same = (logs / SAME_LEVEL).round()
    sizes = rows["N"] if "N" in rows and rows["N"].notna().any() else rows.index.to_series()
    shared = sizes.groupby(same).nunique().median() > 1
    budgets = same if shared else np.floor((logs - logs.min()) / np.log(2) + 1e-9)
    return rows.loc[rows.groupby(budgets)["loss"].idxmin()].sort_values("C")


def winners(study: Study) -> View | Missing:
    """Points: rows of cells.csv. Lines: columns of, C, value, low, high, to the next budget, or the one asked for."""
    cells = study.cells[study.cells["loss"].notna() & (study.cells["C"] > 0)]
    best = best_per_budget(cells) if len(cells) else cells
    if len(best) < FEWEST_BUDGETS:
        return Missing(f"A line through the best runs needs {FEWEST_BUDGETS} budgets, but there are {len(best)}.")
    tuned = [k for k in study.tuned if pd.api.types.is_numeric_dtype(best[k]) and best[k].notna().all()]
    tuned = [k for k in tuned if best[k].nunique() > 1]
    shown = ["loss", *(k for k in "ND" if best[k].nunique() > 1), *tuned[:MOST_SETTINGS]]
    keys = study.fits.settings_laws.keys if study.fits.settings_laws else {}
    linear = [k for k in shown if not (best[k] > 0).all() or (k in keys and not keys[k].log)]
    x = np.log(best["C"].to_numpy(float))
    ahead = max(x[-1] + (x[-1] - x[0]) / (len(x) - 1), np.log(study.fits.headline.asked.at.get("C", 1.0)))
    lines = [_line(x, best[k].to_numpy(float), np.linspace(x[0], ahead, 40), k in linear).assign(of=k) for k in shown]
    names = {k: f"{study.call(k)} {k}" if k in "ND" else study.call(k) if k == "loss" else label(k) for k in shown}
    note = f"{len(best)} budgets of {len(cells)} cells; the lines end at {np.exp(ahead):.2g} FLOPs."
    return View(best, pd.concat(lines), note, (names, linear))


def _line(x: Array, values: Array, at: Array, linear: bool) -> pd.DataFrame:
    value, half = line_at(x, values if linear else np.log(values), at, LEVEL)
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

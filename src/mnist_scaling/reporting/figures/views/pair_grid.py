"""Pairs panels: every number of a run against every other, of all runs and of the best run at each budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.scatter import View
from mnist_scaling.reporting.figures.views.winners import best_per_budget
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import plural, short
from mnist_scaling.study.columns import COMPLETE, TRIAL, label

FEWEST = 5
MOST_COLUMNS = 6
RASTER_FROM = 100
"""Points of a panel from which on they are drawn as a picture: a page must stay small."""

WITHIN_95 = 2.4477
"""Radius that holds 95 % of a normal cloud in standard deviations: the root of chi-squared's quantile."""


def pairs(study: Study, best: bool) -> View | Missing:
    """Columns of the finished trials, or of the cells where there are none; logs (base 10) of what is positive.

    Parameters
    ----------
    study : Study
    best : bool
        Only the best run at each budget.
    """
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
    ink = "white" if abs(r) > 0.7 else style.INK
    axes.annotate(
        f"{r:+.2f}".replace("-", "−"), (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color=ink
    )

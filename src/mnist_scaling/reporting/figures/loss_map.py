"""The table of cells, model size by data, as a map: losses, the law's contours, the frontier, and holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy.interpolate import make_interp_spline

from mnist_scaling.fitting.frontier.fronts import METHODS
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.compute import best_sizes
from mnist_scaling.reporting.figures.losses import law_at
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import number, short

FINE = 80
"""Places along each side at which the law is drawn."""

MOST_LEVELS = 20
"""Rows or columns of a map that can still be read."""

MOST_COLUMNS = 10
"""Numbers are left out of wider maps, where they would overlap."""


@dataclass(frozen=True)
class LossMap:
    """Places are those of the map: the cell in its left upper corner has its middle at 0.5, 0.5."""

    table: pd.DataFrame
    """Losses by N, the largest on top, and D; NaN where there is no cell."""
    cells: list[str]
    """The cell of each number, row by row; empty where there is none."""
    law: Array | None
    """Loss of the selected law, shape (`FINE`, `FINE`); None where it is no law of N and D."""
    frontier: pd.DataFrame
    """Columns x, y: N* and D* inside the map."""
    method: str
    labels: tuple[str, str, str]
    """Of rows, columns and numbers."""
    note: str


def loss_map(study: Study) -> LossMap | Missing:
    """Losses over the grid, with the law and the frontier between the cells."""
    size, data, cells = study.roles.size, study.roles.data, study.cells
    if size is None or data is None:
        return Missing("A map of the cells needs model size and data size to vary.")
    if cells[[size, data]].nunique().max() > MOST_LEVELS or cells.duplicated([size, data]).any():
        return Missing(f"The cells form no grid of at most {MOST_LEVELS} levels with one cell at each size and data.")
    order: Any = {"index": size, "columns": data}
    table = cells.pivot(**order, values="loss").sort_index(ascending=False).sort_index(axis=1).astype(float)
    numbers = cells.assign(number=cells.index).pivot(**order, values="number").reindex_like(table).to_numpy(float)
    n, d = cells.groupby(size)["N"].median(), cells.groupby(data)["D"].median()
    table = table.set_axis(n[table.index], axis=0).set_axis(d[table.columns], axis=1)
    rows, columns = (np.arange(length) + 0.5 for length in table.shape)
    logs = np.log(table.index.to_numpy(float)), np.log(table.columns.to_numpy(float))
    fine = [
        np.exp(make_interp_spline(at, log, k=1)(np.linspace(0, len(at), FINE)))
        for at, log in zip((rows, columns), logs, strict=True)
    ]
    method = next((m for m in ("parametric", "hull") if len(best_sizes(study.fits.frontier.get(m)))), "")
    best = best_sizes(study.fits.frontier.get(method))
    outside: dict[str, Any] = {"left": np.nan, "right": np.nan}
    x = np.interp(np.log(best["D"]), logs[1], columns, **outside)
    y = np.interp(np.log(best["N"]), logs[0][::-1], rows[::-1], **outside)
    holes, off = int(table.isna().to_numpy().sum()), int((np.isnan(x) | np.isnan(y)).sum())
    notes = [f"{holes} of {table.size} places hold no loss: hatched."] if holes else []
    notes += [f"At {off} of {len(best)} budgets the best N and D lie beyond these cells."] if off else []
    law = law_at(study, N=fine[0][:, None], D=fine[1][None])
    names = (f"{study.call('N')} N", f"{study.call('D')} D", f"{study.call('loss')}{study.unit}")
    whole = law if law is not None and law.shape == (FINE, FINE) else None
    drawn = ["" if np.isnan(row) else f"{row:.0f}" for row in numbers.ravel()]
    line = pd.DataFrame({"x": x, "y": y}).dropna()
    return LossMap(table, drawn, whole, line, METHODS.get(method, ""), names, " ".join(notes))


def draw_loss_map(data: LossMap) -> Figure:
    """Dark cells have a high loss; contours of the law, whose labels lie between the cells; the frontier in red."""
    figure = style.new_figure(height=1.1 + 0.36 * len(data.table))
    axes = figure.subplots()
    losses = data.table.to_numpy()
    norm = LogNorm(np.nanmin(losses), np.nanmax(losses) * 1.5)
    words = np.vectorize(lambda loss: number(loss, 2), otypes=[str])(losses)
    sns.heatmap(
        data.table, ax=axes, norm=norm, cmap=sns.color_palette("light:#7a5195", as_cmap=True), cbar=False,
        annot=words if losses.shape[1] <= MOST_COLUMNS else False, fmt="", annot_kws={"fontsize": 7}, linewidths=1.5,
        linecolor="white", xticklabels=[*map(short, data.table.columns)], yticklabels=[*map(short, data.table.index)],
    )  # fmt: skip
    style.CELLS[axes.collections[0]] = data.cells
    axes.tick_params(length=0, labelsize=7.5, rotation=0)
    for y, x in zip(*np.nonzero(np.isnan(losses)), strict=True):
        axes.add_patch(Rectangle((x, y), 1, 1, fill=False, hatch="////", edgecolor=style.GRID, linewidth=0))
    lines: list[Line2D] = []
    if data.law is not None:
        _contours(axes, data)
        lines.append(Line2D([], [], color=style.INK, linewidth=0.8, label="loss by the selected law"))
    if len(data.frontier) > 1:  # one point is no line
        look: dict[str, Any] = {
            "color": style.UNTUNED,
            "linewidth": 2,
            "label": f"best N and D by compute ({data.method})",
        }
        lines += axes.plot(data.frontier["x"], data.frontier["y"], **look)
    axes.set(xlabel=style.plain(data.labels[1]), ylabel=style.plain(data.labels[0]))
    style.key(figure, style.plain(data.labels[2]), {}, lines)
    return figure


def _contours(axes: Axes, data: LossMap) -> None:
    """Round losses, each labelled where its contour comes nearest to a corner of a cell, away from the numbers."""
    assert data.law is not None
    rows, columns = data.table.shape
    levels = style.nice_ticks(data.law.min(), data.law.max())
    places = np.linspace(0, columns, FINE), np.linspace(0, rows, FINE)
    drawn = axes.contour(*places, data.law, levels=levels, colors=style.INK, linewidths=0.8)
    corners: list[Any] = []
    for segments in drawn.allsegs:
        points = np.concatenate([s for s in segments if len(s)] or [np.empty((0, 2))])
        inside = points[((points > 0.6) & (points < np.array([columns, rows]) - 0.6)).all(axis=1)]
        if len(inside):
            corners.append(tuple(inside[np.abs(inside - np.round(inside)).sum(axis=1).argmin()]))
    for text in axes.clabel(drawn, fmt=short, fontsize=7, manual=corners, inline=False):
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85})

"""Loss against N and against D, one line for each level of the other, and over both as a map, with the selected law."""

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

from mnist_scaling.fitting.laws import ALL
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.reporting.documents.fits_json import FrontierRecord
from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.style import View
from mnist_scaling.reporting.text import Missing, number, plural, short
from mnist_scaling.study.columns import label

MOST_PANELS, MOST_LINES, BINS = 6, 15, 6
"""Rows with more levels than `MOST_LINES`, or hardly two rows per level, are scattered and drawn in `BINS` groups."""

POINTS = 60
"""Of a line."""


def losses(study: Study, variable: str) -> View | Missing:
    """The fitted loss against `variable`, N or D.

    Points have columns x, loss, se, panel (a combination of the further axes), level (N or D that a line holds still),
    label and scattered; lines, those of the selected law, x, loss, panel and level. `names` are those of x, of the loss
    and of what tells the lines apart, and the palette of that.
    """
    roles = study.roles
    axis, other = (roles.size, roles.data) if variable == "N" else (roles.data, roles.size)
    if axis is None:
        what = "study" if study.is_study else "table"
        known = "one" if study.cells[variable].notna().any() else "no"
        size = "model size" if variable == "N" else "data size"
        return Missing(f"The {what} has {known} {size}, so there is no line to draw.")
    cells = grouped(study.cells.dropna(subset=["loss", variable]), other)
    titles = [
        ", ".join(f"{label(a)} {axis_value(row[a], a)}" for a in roles.others) for row in cells.to_dict("records")
    ]
    rows = cells.assign(x=cells[variable].astype(float), panel=titles)
    by = rows.groupby(["panel", "label"])
    rows["level"] = by["D" if variable == "N" else "N"].transform("median").fillna(0.0)
    panels = rows.loc[by["x"].transform("size") > 1, "panel"].unique()
    if not len(panels):
        return Missing(f"Fewer than two cells have a {study.call('loss')} on any one line.")
    rows = rows.loc[
        rows["panel"].isin(panels[:MOST_PANELS]), ["x", "loss", "se", "panel", "level", "label", "scattered"]
    ]
    laws = []
    for (panel, level), line in rows.groupby(["panel", "level"]):
        law = selected_law(study, variable, (line["x"].min(), line["x"].max()), float(level))
        laws += [] if law is None else [law.assign(panel=panel, level=level)]
    varies = f" ({label(axis)} varies)" if study.is_study else ""
    told = (label(other) if study.is_study else study.call(other)) if other else ""
    palette = style.DATA_PALETTE if variable == "N" else style.SIZE_PALETTE
    names = (f"{study.call(variable)} {variable}{varies}", f"{study.call('loss')}{study.unit}", told, palette)
    lines = pd.concat(laws) if laws else pd.DataFrame(columns=["x", "loss", "panel", "level"])
    return View(rows, lines, _note(study, rows, len(panels)), names)


def grouped(rows: pd.DataFrame, axis: str | None) -> pd.DataFrame:
    """Rows with columns level and label of an axis, and scattered: whether they are put into `BINS` groups of near
    ones, for they share too few levels."""
    distinct = rows[axis].nunique() if axis else 1
    if axis is None or (distinct <= MOST_LINES and (distinct < 4 or distinct <= len(rows) / 2)):
        return rows.assign(**style.by_level(rows, axis), scattered=False)
    by = rows[axis].groupby(pd.qcut(rows[axis], BINS, duplicates="drop"), observed=True)
    ends = list(zip(by.transform("min"), by.transform("max"), strict=True))
    words = [" to ".join(dict.fromkeys(axis_value(end, axis) for end in pair)) for pair in ends]
    return rows.assign(level=[float(np.sqrt(low * high)) for low, high in ends], label=words, scattered=True)


def law_at(study: Study, **sizes: Array | float) -> Array | None:
    """Loss by the selected law at these sizes; None where it is of others, or not all its parameters are known."""
    name = study.fits.selected or ""
    record = study.fits.laws.get(name)
    if record is None or name not in ALL or not set(record.inputs) <= set(sizes):
        return None
    values = {key: param.value for key, param in record.params.items()}
    known = np.isfinite([*values.values()]).all()
    return ALL[name].predict(values, **{k: sizes[k] for k in record.inputs}) if known else None


def selected_law(study: Study, variable: str, ends: tuple[float, float], fixed: float) -> pd.DataFrame | None:
    """The selected law along one variable, the other held at `fixed`, as columns x and loss; None where it does not
    apply."""
    record = study.fits.laws.get(study.fits.selected or "")
    at = record.slice.value if record and record.slice else None
    if record is None or variable not in record.inputs or (at and not np.isclose(at, fixed, rtol=1e-6)):
        return None
    x = np.geomspace(*ends, POINTS)
    sizes: dict[str, Array | float] = {"D" if variable == "N" else "N": fixed, variable: x}
    loss = law_at(study, **sizes)
    return None if loss is None else pd.DataFrame({"x": x, "loss": loss})


def _note(study: Study, rows: pd.DataFrame, panels: int) -> str:
    notes = []
    if rows["se"].isna().all():
        why = "No cell has two repeats" if study.is_study else "No column of standard errors is named"
        notes.append(f"{why}, so there are no error bars.")
    if panels > MOST_PANELS:
        notes.append(f"{MOST_PANELS} of {panels} combinations of the further axes are drawn.")
    return " ".join(notes)


def draw_losses(data: View) -> Figure:
    """A panel for each combination of further axes; where no law applies, straight lines join the points of a level."""
    by_panel = dict(list(data.points.groupby("panel", sort=False)))
    columns = min(len(by_panel), 2)
    figure = style.new_figure(height=0.25 + 2.9 * -(-len(by_panel) // columns))
    name, loss, told, palette = data.names
    colours = style.ordered_colours(data.points["level"], palette)
    grid = style.panels(figure, len(by_panel), columns)
    for axes, (title, rows) in zip(grid, by_panel.items(), strict=True):
        axes.set_title(title)
        laws = data.lines[data.lines["panel"] == title]
        for level, law in laws.groupby("level"):
            axes.plot(law["x"], law["loss"], color=colours[level])
        joined = not rows["scattered"].any() and laws.empty
        style.coloured_points(axes, rows, "x", "loss", colours, "se", fmt="o-" if joined else "o", linewidth=0.9)
        style.level_axis(axes.xaxis, rows["x"])
        style.log_axis(axes.yaxis, rows["loss"].min(), rows["loss"].max())
        axes.set(xlabel=style.plain(name), ylabel=style.plain(loss))
    if told:
        style.level_key(figure, data.points, told, colours)
    return figure


def best_sizes(front: FrontierRecord | None) -> pd.DataFrame:
    """The best sizes at each compute: columns C, N, D, sorted by C."""
    return pd.DataFrame(front.points if front else [], columns=["C", "N", "D"]).astype(float).dropna().sort_values("C")


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
    labels: tuple[str, str, str]
    """Of rows, columns and numbers."""
    note: str


def loss_map(study: Study) -> LossMap | Missing:
    """Losses over the grid, with the law and the frontier between the cells."""
    size, data, cells = study.roles.size, study.roles.data, study.cells.dropna(subset=["N", "D"])
    if size is None or data is None or cells[[size, data]].nunique().min() < 2:
        return Missing("A map of the cells needs model size and data size to vary.")
    if study.cells["loss"].isna().all():
        return Missing(f"No cell has a {study.call('loss')}.")
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
    best = best_sizes(study.fits.frontier.get("parametric"))
    outside: dict[str, Any] = {"left": np.nan, "right": np.nan}
    x = np.interp(np.log(best["D"]), logs[1], columns, **outside)
    y = np.interp(np.log(best["N"]), logs[0][::-1], rows[::-1], **outside)
    holes, off = int(table.isna().to_numpy().sum()), int((np.isnan(x) | np.isnan(y)).sum())
    notes = [f"Numbers are each cell's {study.call('loss')}."]
    notes += [f"{holes} of {table.size} places hold no loss: hatched."] if holes else []
    lost = len(study.cells) - len(cells)
    notes += [f"Left out, because N or D is not known: {plural(lost, 'cell')}."] if lost else []
    notes += ["Where the red line ends, the best N and D of a budget lie beyond these cells."] if off else []
    law = law_at(study, N=fine[0][:, None], D=fine[1][None])
    names = (f"{study.call('N')} N", f"{study.call('D')} D", f"{study.call('loss')}{study.unit}")
    whole = law if law is not None and law.shape == (FINE, FINE) else None
    drawn = ["" if np.isnan(row) else f"{row:.0f}" for row in numbers.ravel()]
    line = pd.DataFrame({"x": x, "y": y}).dropna()
    return LossMap(table, drawn, whole, line, names, " ".join(notes))


def draw_loss_map(data: LossMap) -> Figure:
    """Dark cells have a high loss; contours of the law, whose labels lie between the cells; the frontier in red."""
    figure = style.new_figure(height=1.1 + 0.36 * len(data.table))
    axes = figure.subplots()
    losses = data.table.to_numpy()
    norm = LogNorm(np.nanmin(losses), np.nanmax(losses) * 2.5)
    words = np.array([[f"{x:.2g}" if 1e-4 <= x < 1e-2 else number(x, 2) for x in row] for row in losses.tolist()])
    sns.heatmap(
        data.table, ax=axes, norm=norm, cmap=sns.color_palette("light:#7a5195", as_cmap=True), cbar=False, fmt="",
        annot=words if losses.shape[1] <= MOST_COLUMNS else False, linewidths=1.5, linecolor="white",
        annot_kws={"fontsize": 7, "color": style.ON_COLOUR}, xticklabels=[*map(short, data.table.columns)],
        yticklabels=[*map(short, data.table.index)],
    )  # fmt: skip
    style.CELLS[axes.collections[0]] = data.cells
    axes.tick_params(length=0, labelsize=7.5, rotation=0)
    for y, x in zip(*np.nonzero(np.isnan(losses)), strict=True):
        axes.add_patch(Rectangle((x, y), 1, 1, fill=False, hatch="////", edgecolor=style.GRID, linewidth=0))
    lines: list[Line2D] = []
    if data.law is not None:
        _contours(axes, data)
        lines.append(Line2D([], [], color=style.MUTED, linewidth=0.6, label="loss by the nearest law"))
    if len(data.frontier) > 1:  # one point is no line
        look: dict[str, Any] = {
            "color": style.UNTUNED,
            "linewidth": 2,
            "label": "best N and D by compute",
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
    drawn = axes.contour(*places, data.law, levels=levels, colors=style.MUTED, linewidths=0.6)
    corners: list[Any] = []
    for segments in drawn.allsegs:
        points = np.concatenate([s for s in segments if len(s)] or [np.empty((0, 2))])
        inside = points[((points > 0.6) & (points < np.array([columns, rows]) - 0.6)).all(axis=1)]
        if len(inside):
            corners.append(tuple(inside[np.abs(inside - np.round(inside)).sum(axis=1).argmin()]))
    for text in axes.clabel(drawn, fmt=short, fontsize=7, manual=corners, inline=False):
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85})

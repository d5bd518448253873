"""Loss against N and against D: one line for each level of the other, with the selected law along it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mnist_scaling.fitting.laws import ALL
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.style import View
from mnist_scaling.reporting.parts import Missing
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
    found = rows.loc[by["x"].transform("size") > 1, "panel"].unique()
    if not len(found):
        return Missing(f"Fewer than two cells have a {study.call('loss')} on any one line.")
    rows = rows.loc[rows["panel"].isin(found[:MOST_PANELS]), [*_KEPT, "panel", "level", "label", "scattered"]]
    laws = []
    for (panel, level), line in rows.groupby(["panel", "level"]):
        law = selected_law(study, variable, (line["x"].min(), line["x"].max()), float(level))
        laws += [] if law is None else [law.assign(panel=panel, level=level)]
    varies = f" ({label(axis)} varies)" if study.is_study else ""
    told = (label(other) if study.is_study else study.call(other)) if other else ""
    palette = style.DATA_PALETTE if variable == "N" else style.SIZE_PALETTE
    names = (f"{study.call(variable)} {variable}{varies}", f"{study.call('loss')}{study.unit}", told, palette)
    lines = pd.concat(laws) if laws else pd.DataFrame(columns=["x", "loss", "panel", "level"])
    return View(rows, lines, _note(study, rows, len(found)), names)


_KEPT = ["x", "loss", "se"]


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
    values = {key: found.value for key, found in record.params.items()}
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
    lost = int(study.cells["loss"].isna().sum())
    if lost:
        notes.append(f"{lost} of {len(study.cells)} cells have no {study.call('loss')} and are absent.")
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

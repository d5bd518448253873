"""Loss against N and against D: one line for each level of the other, with the law fitted to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_scaling.fitting.laws import ALL
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.scatter import points
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import EXPONENT_OF, estimate
from mnist_scaling.study.columns import label

MOST_PANELS, MOST_LINES, BINS = 6, 15, 6
"""Rows with more levels than `MOST_LINES`, or hardly two rows per level, are scattered and drawn in `BINS` groups."""

POINTS = 60
"""Of a line."""


@dataclass(frozen=True)
class StraightFit:
    """loss = scale * x^-exponent as fits.json has it, and the x that it was fitted on."""

    scale: float
    exponent: Interval
    x: tuple[float, float]
    centre: float

    def curve(self) -> pd.DataFrame:
        """Columns x, loss, low, high: the band turns the line about its middle by the exponent's interval."""
        x = np.geomspace(*self.x, POINTS)
        middle = self.scale * self.centre**-self.exponent.value
        ends = [middle * (x / self.centre) ** -e for e in (self.exponent.low, self.exponent.high)]
        loss = middle * (x / self.centre) ** -self.exponent.value
        return pd.DataFrame({"x": x, "loss": loss, "low": np.minimum(*ends), "high": np.maximum(*ends)})


@dataclass(frozen=True)
class Line:
    """The cells that share the level of the other variable."""

    label: str
    fixed: float
    """N or D that the line holds still."""
    points: pd.DataFrame
    """Columns x, loss, se; sorted by x; index: the cells."""
    law: StraightFit | None
    """The power law of these cells alone."""
    selected: pd.DataFrame | None
    """Columns x, loss: the selected law at `fixed`."""
    scattered: bool
    """Whether the cells share no level and are merely near one another."""


@dataclass(frozen=True)
class Losses:
    """All lines of one figure."""

    variable: str
    """N or D: what x is."""
    other: str | None
    """Column of the axis that tells the lines apart."""
    panels: dict[str, list[Line]]
    """By title; one panel unless the grid has further axes."""
    note: str
    labels: tuple[str, str, str]
    """Of x, of the loss, and of what tells the lines apart."""


def losses(study: Study, variable: str) -> Losses | Missing:
    """Lines of the fitted loss against `variable`, N or D."""
    roles = study.roles
    axis, other = (roles.size, roles.data) if variable == "N" else (roles.data, roles.size)
    if axis is None:
        what = "study" if study.is_study else "table"
        known = "one" if study.cells[variable].notna().any() else "no"
        size = "model size" if variable == "N" else "data size"
        return Missing(f"The {what} has {known} {size}, so there is no line to draw.")
    measured = study.cells[study.cells["loss"].notna() & study.cells[variable].notna()]
    panels = {}
    for title, rows in split(measured, roles.others):
        lines = [_line(study, variable, part) for part in levels(rows, other)]
        if any(len(line.points) > 1 for line in lines):
            panels[title] = sorted(lines, key=lambda line: line.fixed)
    if not panels:
        return Missing(f"Fewer than two cells have a {study.call('loss')} on any one line.")
    varies = f" ({label(axis)} varies)" if study.is_study else ""
    told = (label(other) if study.is_study else study.call(other)) if other else ""
    labels = (f"{study.call(variable)} {variable}{varies}", f"{study.call('loss')}{study.unit}", told)
    shown = dict(list(panels.items())[:MOST_PANELS])
    return Losses(variable, other, shown, _note(study, panels), labels)


@dataclass(frozen=True)
class Level:
    """Rows that share a level of an axis, or are near one another on it."""

    value: float
    label: str
    rows: pd.DataFrame
    scattered: bool = False


def levels(rows: pd.DataFrame, axis: str | None) -> list[Level]:
    """Rows by level of an axis; scattered rows by `BINS` equally large groups."""
    if axis is None:
        return [Level(np.nan, "", rows)]
    distinct = rows[axis].nunique()
    if distinct <= MOST_LINES and (distinct < 4 or distinct <= len(rows) / 2):
        return [Level(float(value), axis_value(value, axis), part) for value, part in rows.groupby(axis, sort=True)]
    found = []
    for _, part in rows.groupby(pd.qcut(rows[axis], BINS, duplicates="drop"), observed=True):
        low, high = part[axis].min(), part[axis].max()
        name = f"{axis_value(low, axis)} to {axis_value(high, axis)}" if high > low else axis_value(low, axis)
        found.append(Level(float(np.sqrt(low * high)), name, part, True))
    return found


def split(cells: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """One part for each combination of further axes, with its title; all rows where there are none."""
    if not by:
        yield "", cells
        return
    for key, rows in cells.groupby(list(by), sort=True, dropna=False):
        yield ", ".join(f"{label(a)} {axis_value(v, a)}" for a, v in zip(by, key, strict=True)), rows


def _line(study: Study, variable: str, level: Level) -> Line:
    rows = level.rows.sort_values(variable)
    other = rows["D" if variable == "N" else "N"]
    fixed = float(other.median()) if other.notna().any() else 0.0
    points = rows[[variable, "loss", "se"]].set_axis(["x", "loss", "se"], axis=1).astype(float)
    law = None if level.scattered else _law(study, variable, rows)
    chosen = selected_law(study, variable, (points["x"].min(), points["x"].max()), fixed)
    return Line(level.label, fixed, points, law, chosen, level.scattered)


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


def _law(study: Study, variable: str, rows: pd.DataFrame) -> StraightFit | None:
    """The fitted slice that used exactly these cells."""
    found = [s for s in study.fits.slices if s.variable == variable and set(s.rows) == set(rows.index)]
    if not found or not found[0].params:
        return None
    scale, exponent = found[0].params.values()
    if not scale.known or not exponent.known:
        return None
    x = rows[variable].to_numpy(float)
    return StraightFit(scale.value, exponent, (x.min(), x.max()), float(np.exp(np.log(x).mean())))


def _note(study: Study, panels: dict[str, list[Line]]) -> str:
    notes = []
    lost = int(study.cells["loss"].isna().sum())
    if lost:
        notes.append(f"{lost} of {len(study.cells)} cells have no {study.call('loss')} and are absent.")
    if not any(line.points["se"].notna().any() for lines in panels.values() for line in lines):
        why = "No cell has two repeats" if study.is_study else "No column of standard errors is named"
        known = "how much a seed moves a point is not known"
        if any(line.points["x"].duplicated().any() for lines in panels.values() for line in lines):
            known = "points above one another are rows of one N and D"
        notes.append(f"{why}, so there are no error bars: {known}.")
    if len(panels) > MOST_PANELS:
        notes.append(f"{MOST_PANELS} of {len(panels)} combinations of the further axes are drawn.")
    return " ".join(notes)


def draw_losses(data: Losses) -> Figure:
    """One row per panel: the lines to the left, the exponent of each line to the right."""
    with_exponents = any(sum(line.law is not None for line in lines) > 1 for lines in data.panels.values())
    figure = style.new_figure(height=0.25 + 2.9 * len(data.panels))
    grid = figure.subplots(
        len(data.panels), 1 + with_exponents, squeeze=False, width_ratios=[2.1, 1] if with_exponents else [1]
    )
    palette = style.DATA_PALETTE if data.variable == "N" else style.SIZE_PALETTE
    colours = style.ordered_colours([x.fixed for lines in data.panels.values() for x in lines], palette)
    for axes, (title, lines) in zip(grid, data.panels.items(), strict=True):
        axes[0].set_title(title)
        _lines(axes[0], data, lines, colours)
        known = [line for line in lines if line.law]
        if with_exponents:
            _exponents(axes[1], data, known, colours)
        elif len(known) == 1:
            text = f"{EXPONENT_OF[data.variable]} = {estimate(known[0].law.exponent)}"  # type: ignore[union-attr]
            axes[0].annotate(text, (0.98, 0.95), xycoords="axes fraction", ha="right", va="top")
    if data.other is not None:
        labels = {line.fixed: line.label for lines in data.panels.values() for line in lines}
        style.key(figure, data.labels[2], {labels[f]: colours[f] for f in sorted(labels)})
    return figure


def _lines(axes: Axes, data: Losses, lines: list[Line], colours: dict[float, str]) -> None:
    largest = max(line.fixed for line in lines)
    for line in lines:
        colour, rows = colours[line.fixed], line.points
        if line.law:
            curve = line.law.curve()
            if line.fixed == largest and curve["low"].notna().all():
                axes.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.15, linewidth=0)
            thin: dict[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 0.8} if line.selected is not None else {}
            axes.plot(curve["x"], curve["loss"], color=colour, **thin)
        elif line.selected is None and not line.scattered:
            axes.plot(rows["x"], rows["loss"], color=colour, alpha=0.5, linewidth=0.9)
        if line.selected is not None:
            axes.plot(line.selected["x"], line.selected["loss"], color=colour)
        points(axes, rows, "x", "loss", "se", color=colour)
    style.level_axis(axes.xaxis, np.concatenate([x.points["x"] for x in lines]))
    losses = np.concatenate([x.points["loss"] for x in lines])
    style.log_axis(axes.yaxis, losses.min(), losses.max())
    axes.set(xlabel=style.plain(data.labels[0]), ylabel=style.plain(data.labels[1]))


def _exponents(axes: Axes, data: Losses, known: list[Line], colours: dict[float, str]) -> None:
    """The exponent of every line over the other variable: flat where the law is the same everywhere."""
    for line in known:
        assert line.law is not None
        e = line.law.exponent
        arms = [[e.value - e.low], [e.high - e.value]] if e.bounded else None
        axes.errorbar([line.fixed], [e.value], arms, fmt="o", color=colours[line.fixed], capsize=2.5)
    other = "D" if data.variable == "N" else "N"
    if len({line.fixed for line in known}) > 1:
        values = [x.law.exponent.value for x in known if x.law]
        axes.plot([x.fixed for x in known], values, color=style.MUTED, linewidth=0.7, zorder=1)
    style.level_axis(axes.xaxis, [line.fixed for line in known], pad=0.12, most=4)
    symbol = style.EXPONENT_OF[data.variable]
    axes.set(xlabel=style.SIZES[other], ylabel=f"exponent ${symbol}$ of $L\\propto {data.variable}^{{-{symbol}}}$")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0) if low < 0.15 else low, high)

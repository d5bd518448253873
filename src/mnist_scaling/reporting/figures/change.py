"""What tuning changed, as fits.json has it: exponents of the same cells untuned and tuned, and their losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.documents.tuning_records import OK, ChangeSlice
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import EXPONENT_OF, estimate
from mnist_scaling.settings.tuning_change import SOURCES
from mnist_scaling.study import layout
from mnist_scaling.study.columns import label

COLUMNS = ("N", "D", *SOURCES, "tuned_se")
"""Of `losses`."""


@dataclass(frozen=True)
class LevelExponents:
    """Exponents along one line of the grid."""

    level: float
    """Of the other axis."""
    label: str
    cells: pd.DataFrame
    """Columns x, untuned, tuned, tuned_se; sorted by x."""
    exponents: dict[str, Interval]
    """By `SOURCES`, `CHANGE` and `SIMULTANEOUS`."""


@dataclass(frozen=True)
class Direction:
    """One variable, and the exponents at every level of the other."""

    variable: str
    """N or D."""
    other: str | None
    """Axis whose levels the slices are listed by."""
    slices: list[LevelExponents]


@dataclass(frozen=True)
class Change:
    """What tuning changed."""

    directions: list[Direction]
    plane: dict[str, dict[str, Interval]]
    """By `SOURCES`, `CHANGE` and `SIMULTANEOUS`, then by N and D: exponents of one plane through all cells."""
    cells: pd.DataFrame
    """Rows of `losses` that have both an untuned and a tuned one."""
    level: float
    """Of the intervals."""
    setting: str
    note: str


def change(study: Study) -> Change | Missing:
    """Untuned against tuned, on the cells that have both."""
    record = study.fits.tuning_change
    if record is None:
        named = layout.name_argument(study.folder)
        return Missing(f"fits.json has no tuning_change: run `python -m mnist_scaling.fit {named}` again.")
    if record.status != OK:
        return Missing(record.status)
    table = losses(study)
    both = table.dropna(subset=["untuned", "tuned"])
    other = {"N": study.roles.data, "D": study.roles.size}
    found: dict[str, list[LevelExponents]] = {}
    for part in record.slices:
        found.setdefault(part.variable, []).append(_slice(part, other[part.variable], both))
    directions = [Direction(variable, other[variable], slices) for variable, slices in found.items()]
    plane = {source: dict(by) for source, by in record.plane.items()}
    lost = len(record.left_out or ())
    note = f"{lost} of {len(table)} cells lack one of the two and are left out." if lost else ""
    return Change(directions, plane, both, record.level or np.nan, describe(record.setting), note)


def losses(study: Study) -> pd.DataFrame:
    """Validation losses of every cell untuned, selected and tuned, by its row of cells.csv.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`; without rows where fits.json has no untuned losses.
    """
    rows = study.fits.tuning_change.cells if study.fits.tuning_change else []
    return pd.DataFrame(rows, columns=["row", *COLUMNS]).set_index("row").astype(float)


def describe(setting: Mapping[str, Any]) -> str:
    """A setting in words: lr 0.003, batch size 32, dropout 0."""
    return ", ".join(f"{label(k)} {axis_value(v)}" for k, v in sorted(setting.items(), reverse=True))


def _slice(part: ChangeSlice, other: str | None, both: pd.DataFrame) -> LevelExponents:
    cells = both.loc[list(part.rows), [part.variable, "untuned", "tuned", "tuned_se"]]
    name = f"{label(other)} {axis_value(part.at, other)}" if other and part.fixed else ""
    at = np.nan if part.at is None else part.at
    return LevelExponents(at, name, cells.rename(columns={part.variable: "x"}), dict(part.exponents))


NAMES = {"N": "model size", "D": "data"}
LOOKS: dict[str, dict[str, Any]] = {
    "untuned": {"color": style.UNTUNED, "marker": "o", "mfc": "white", "linestyle": (0, (4, 1.5))},
    "tuned": {"color": style.TUNED, "marker": "o", "linestyle": "-"},
}
"""Hollow and dashed against filled and solid: told apart in black and white as well."""


def draw_change(data: Change) -> Figure:
    """Top: loss of the smallest and the largest level, untuned and tuned. Bottom: every slope."""
    count = len(data.directions)
    if all(len(direction.slices) == 1 for direction in data.directions):
        return _one_line(data)
    figure = style.new_figure(style.TEXT_WIDTH if count > 1 else 4.5, 5.4)
    grid = figure.subplots(2, count, squeeze=False, height_ratios=[1.35, 1])
    for top, bottom, direction in zip(grid[0], grid[1], data.directions, strict=True):
        _curves(top, direction)
        _slopes(bottom, direction)
    for letter, axes in zip("abcd", grid.flat, strict=False):
        axes.set_title(f"{letter}   {axes.get_title(loc='left')}", loc="left")
    if count > 1:
        low = min(a.get_ylim()[0] for a in grid[0])
        high = max(a.get_ylim()[1] for a in grid[0])
        for axes in grid[0]:
            style.log_axis(axes.yaxis, low, high, pad=0)
        grid[0, 1].get_legend().remove()  # loss falls less with size, so that it would cover points
    return figure


def _one_line(data: Change) -> Figure:
    """A grid of one axis: the two curves, with their exponents in the legend."""
    figure = style.new_figure(height=3.3)
    axes, direction = figure.subplots(), data.directions[0]
    _curves(axes, direction)
    exponents, symbol = direction.slices[0].exponents, EXPONENT_OF[direction.variable]
    for text, source in zip(axes.get_legend().get_texts(), LOOKS, strict=True):  # type: ignore[union-attr]
        text.set_text(f"{source}: {symbol} = {estimate(exponents[source])}")
    return figure


def _curves(axes: Axes, direction: Direction) -> None:
    ends = direction.slices[:1] + direction.slices[1:][-1:]
    for part in ends:
        points = part.cells
        for source, look in LOOKS.items():
            error = points["tuned_se"].fillna(0) if source == "tuned" else None
            drawn = axes.errorbar(points["x"], points[source], error, capsize=2, elinewidth=1, **look)
            style.identify(drawn, points.index)
        last = points.iloc[-1]
        axes.annotate(
            part.label, (last["x"], last["tuned"]), xytext=(6, -2), textcoords="offset points", fontsize=8, va="center"
        )
    for source, look in LOOKS.items():
        axes.plot([], [], label=source, **look)
    levels = np.concatenate([part.cells["x"] for part in ends])
    losses = np.concatenate([part.cells[s] for part in ends for s in LOOKS])
    style.level_axis(axes.xaxis, levels, most=5)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.22 if any(part.label for part in ends) else high)
    style.log_axis(axes.yaxis, losses.min(), losses.max())
    axes.set(xlabel=style.SIZES[direction.variable], ylabel="validation loss")
    axes.legend(loc="lower left")
    axes.set_title(f"Loss against {NAMES[direction.variable]}", loc="left")


def _slopes(axes: Axes, direction: Direction) -> None:
    """Exponents at every level of the other axis, untuned beside tuned."""
    places = np.arange(len(direction.slices))
    for shift, (source, look) in zip((-0.12, 0.12), LOOKS.items(), strict=True):
        found = [part.exponents[source] for part in direction.slices]
        value, low, high = (np.array([getattr(i, end) for i in found]) for end in ("value", "low", "high"))
        arms = np.nan_to_num(np.array([value - low, high - value]))
        axes.errorbar(places + shift, value, arms, capsize=2.5, elinewidth=1, **(look | {"linestyle": "none"}))
        axes.plot(places + shift, value, color=look["color"], linestyle=look["linestyle"], linewidth=0.8, zorder=1)
    axes.set_xticks(places, [axis_value(p.level, direction.other) if direction.other else "" for p in direction.slices])
    axes.set_xlim(-0.5, len(places) - 0.5)
    symbol = style.EXPONENT_OF[direction.variable]
    axes.set_ylabel(f"exponent ${symbol}$, $L\\propto {direction.variable}^{{-{symbol}}}$")
    by = f", by {label(direction.other)}" if direction.other else ""
    axes.set_title(f"Exponent of {NAMES[direction.variable]}{by}", loc="left")
    axes.set_xlabel(label(direction.other) if direction.other else "")

"""The figure of an answer: any column of the cells against any other, arm by arm, and the numbers of the sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.colors as mcolors
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_scaling.asking.answered import Answer
from mnist_scaling.asking.question import arms_of
from mnist_scaling.asking.study_arms import LOSS
from mnist_scaling.config.ask_schema import FigureSpec
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting import figure_files
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.text import TextTable, estimate, short
from mnist_scaling.study.columns import label

FORMATS, DPI = ("png", "svg"), 200
"""Files of an answer's figure."""

ARM = "arm"
"""The column that holds an arm's label."""

AXES = {
    "n_params": "parameters N", "n_seen": "examples seen D", "n_train": "training images U",
    "flops": "training FLOPs C", "loss": "test loss", "test_error": "test error",
}  # fmt: skip
"""What the axes of these columns say."""


@dataclass(frozen=True)
class AnswerFigure:
    """Everything that is drawn."""

    rows: pd.DataFrame
    """Columns x, y, se, panel (its title), colour (what the colours tell apart), shade (0 to 1, pale to dark)."""
    panels: Sequence[str]
    """Titles, in order."""
    colours: Mapping[Any, str]
    """Value to the words of the key, in order."""
    numbered: bool
    """Whether the colours' values are numbers."""
    key: str
    """Head of the key: what the colours are of, and what their shades mean."""
    labels: tuple[str, str]
    """Of the axes."""
    intervals: Mapping[str, Interval]
    """By their words."""


def rows_of(answer: Answer) -> pd.DataFrame:
    """The cells of all arms."""
    return pd.concat([arm.rows.assign(**{ARM: arm.label}) for arm in answer.arms.values()], ignore_index=True)


def cell_table(answer: Answer, prefix: str) -> TextTable:
    """The cells of all arms as a page lists them; the prefix begins the names of the rows."""
    rows = rows_of(answer)
    sizes = [column for column in AXES if column in rows and rows[column].notna().any()]
    cells = [[row[ARM], *(short(row[k]) for k in sizes)] for row in rows.to_dict("records")]
    return TextTable([ARM, *(axis(k) for k in sizes)], cells, ids=[f"{prefix}{i}" for i in rows.index])


def figure_of(answer: Answer) -> AnswerFigure:
    """The data of an answer's figure; InputError when `figure` names a column or a slot that there is not."""
    spec, numbers = answer.question.figure, answer.findings.numbers
    for slot in spec.intervals:
        if slot not in numbers:
            raise InputError(
                f"`figure.intervals` must hold slots of numbers, but got {slot!r}: choose among {', '.join(numbers)}."
            )
    intervals = {numbers[slot].meaning: numbers[slot].interval for slot in spec.intervals}
    losses = dict.fromkeys(axis(arm.loss) for arm in arms_of(answer.question).values())
    several = " or ".join(losses) if spec.y == LOSS and len(losses) == 2 else ""
    return answer_figure(rows_of(answer), spec, intervals, several)


def show(answer: Answer) -> Figure:
    """The figure of an answer, drawn: what a notebook needs."""
    with style.theme():
        return draw_answer(figure_of(answer))


def draw(data: AnswerFigure, folder: Path, file: str, formats: Sequence[str] = FORMATS, dpi: int = DPI) -> Figure:
    """Draw an answer's figure into files of these formats."""
    with style.theme():
        figure = draw_answer(data)
    figure_files.save(figure, folder, file, formats, dpi)
    return figure


def answer_figure(
    rows: pd.DataFrame, spec: FigureSpec, intervals: Mapping[str, Interval], y_label: str = ""
) -> AnswerFigure:
    """The data of a figure of some cells, with intervals below it by their words.

    `y_label` is what the axis of `y` says where it is a column with several meanings.
    """
    for key in ("x", "y", "colour", "panel", "lines"):
        if (column := getattr(spec, key)) is not None and column not in rows:
            raise InputError(
                f"`figure.{key}` must be a column of cells.csv or arm, but got {column!r}: choose one of "
                f"{', '.join(map(str, rows.columns))}."
            )
    rows = rows[rows[spec.x].gt(0) & rows[spec.y].gt(0)]
    numbered = spec.colour != ARM and pd.api.types.is_numeric_dtype(rows[spec.colour])
    titles = {"": ""} if spec.panel is None else {v: _word(spec.panel, v) for v in _ordered(rows, spec.panel)}
    levels = [] if spec.lines is None else _ordered(rows, spec.lines)
    shades = dict(zip(levels, np.linspace(0, 1, len(levels)) if len(levels) > 1 else [1.0], strict=False))
    table = pd.DataFrame(
        {
            "x": rows[spec.x],
            "y": rows[spec.y],
            "se": rows[f"{spec.y}_se"].fillna(0.0) if f"{spec.y}_se" in rows else 0.0,
            "panel": "" if spec.panel is None else rows[spec.panel].map(titles),
            "colour": rows[spec.colour],
            "shade": 1.0 if spec.lines is None else rows[spec.lines].map(shades),
        }
    )
    colours = {value: short(value) if numbered else str(value) for value in _ordered(rows, spec.colour)}
    told = [] if spec.colour == ARM else [label(spec.colour)]
    told += [f"darker: larger {label(spec.lines)}"] if spec.lines else []
    labels = axis(spec.x), y_label or axis(spec.y)
    return AnswerFigure(table, list(titles.values()), colours, numbered, "; ".join(told), labels, intervals)


def _ordered(rows: pd.DataFrame, column: str) -> Sequence[Any]:
    """Values of a column: numbers in ascending order, words as they come."""
    values = rows[column].dropna().unique().tolist()
    return sorted(values) if pd.api.types.is_numeric_dtype(rows[column]) else values


def _word(column: str, value: Any) -> str:
    text = f"{value:g}" if isinstance(value, int | float) else str(value)
    return text if column == ARM else f"{label(column)} {text}"


def axis(column: str) -> str:
    """What the axis of a column says."""
    return AXES.get(column) or label(column)


PALEST = 0.35
"""Share of its colour that the palest line keeps; the rest is white."""

WIDE = 30
"""Positive numbers that span more than this factor are drawn in their logarithm."""

MOST_IN_A_ROW = 4
"""Panels side by side."""

MOST_TICKS = {1: 7, 2: 6, 3: 5, 4: 4}
"""Tick labels that an axis has room for, by the panels in its row."""

MOST_IN_THE_KEY = 7
"""Numbers that the row above the panels has room for."""


def draw_answer(data: AnswerFigure) -> Figure:
    """Panels of the cells; below them, where there are any, the numbers of the sentence with their intervals."""
    columns = min(len(data.panels), MOST_IN_A_ROW)
    above = 2.7 * -(-len(data.panels) // columns)
    below = 0.55 + 0.31 * len(data.intervals) if data.intervals else 0.0
    figure = style.new_figure(height=0.35 + above + below)
    parts: Any = figure.subfigures(2, 1, height_ratios=[above, below]) if below else [figure]
    grid = style.panels(parts[0], len(data.panels), columns, sharey=True)
    colours = _colours(data)
    for axes, title in zip(grid, data.panels, strict=True):
        rows = data.rows[data.rows["panel"] == title]
        for (colour, shade), line in rows.groupby(["colour", "shade"]):
            _line(axes, line.sort_values("x"), colours[colour], shade)
        style.level_axis(axes.xaxis, rows["x"], most=MOST_TICKS[columns])
        axes.set(title=style.plain(title), xlabel=style.plain(data.labels[0]))
    style.log_axis(grid[0].yaxis, *_reach(data.rows))
    grid[0].set_ylabel(style.plain(data.labels[1]))
    words = {data.colours[value]: colours[value] for value in _named(data)}
    style.key(figure, data.key, words if len(words) > 1 else {})
    if below:
        _intervals(parts[1].subplots(), data)
    return figure


def _reach(rows: pd.DataFrame) -> tuple[float, float]:
    """Lowest and highest end of an error bar; of a point, where its bar would end below zero."""
    low, high = rows["y"] - rows["se"], rows["y"] + rows["se"]
    return float(low.where(low > 0, rows["y"]).min()), float(high.max())


def _named(data: AnswerFigure) -> list[Any]:
    """The colours that the key names: all, or of many numbers the first, the last and some that lie evenly between."""
    values = list(data.colours)
    if not data.numbered or len(values) <= MOST_IN_THE_KEY:
        return values
    return [values[round(i)] for i in np.linspace(0, len(values) - 1, MOST_IN_THE_KEY)]


def _colours(data: AnswerFigure) -> dict[Any, str]:
    if data.numbered:
        return dict(style.ordered_colours(data.colours, style.SIZE_PALETTE))
    return {value: style.KINDS[i % len(style.KINDS)] for i, value in enumerate(data.colours)}


def _line(axes: Axes, rows: pd.DataFrame, colour: str, shade: float) -> None:
    kept = PALEST + (1 - PALEST) * shade
    pale = tuple(1 - kept * (1 - channel) for channel in mcolors.to_rgb(colour))
    look: dict[str, Any] = {"fmt": "o-", "color": pale, "linewidth": 1.1, "elinewidth": 0.9, "markersize": 4}
    style.points(axes, rows, "x", "y", "se", **look)


def _intervals(axes: Axes, data: AnswerFigure) -> None:
    """One row per number, its words to the left and its text to the right; a line at zero where it is in reach."""
    names = list(data.intervals)
    ends: list[float] = []
    for place, name in enumerate(names):
        number = data.intervals[name]
        if number.known:
            arms = [[number.value - number.low], [number.high - number.value]] if number.bounded else None
            axes.errorbar([number.value], [place], xerr=arms, fmt="o", color=style.INK, capsize=2.5, linewidth=1.1)
            ends += [number.value, *((number.low, number.high) if number.bounded else ())]
    axes.locator_params(axis="x", nbins=6)
    if ends and min(ends) > 0 and max(ends) > WIDE * min(ends):
        axes.set_xscale("log")
    if ends and min(ends) <= 0 <= max(ends):
        axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(names)), [textwrap.fill(style.plain(name), 42) for name in names])
    axes.grid(axis="y", visible=False)
    right = axes.twinx()  # tick labels, for which the layout makes room
    right.set_yticks(range(len(names)), [estimate(data.intervals[name]) for name in names])
    right.tick_params(axis="y", length=0)
    right.grid(visible=False)
    for both in (axes, right):
        both.set_ylim(len(names) - 0.5, -0.5)
    if not ends:
        axes.set_xticks([])

"""The figure of an answer: any column of the cells against any other, arm by arm, and the numbers of the sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.text import short
from mnist_scaling.study.columns import label

ARM = "arm"
"""The column that holds an arm's label."""

AXES = {
    "n_params": "parameters N", "n_seen": "examples seen D", "n_train": "training images U",
    "flops": "training FLOPs C", "loss": "test loss", "test_error": "test error",
}  # fmt: skip
"""What the axes of these columns say."""


@dataclass(frozen=True)
class AnswerLine:
    """Cells that one line joins."""

    colour: Any
    """Value of the column that the colours tell apart."""
    shade: float
    """0 to 1, from the palest to the darkest line of the colour."""
    points: pd.DataFrame
    """Columns x, y and se, sorted by x."""


@dataclass(frozen=True)
class AnswerFigure:
    """Everything that is drawn."""

    panels: Mapping[str, list[AnswerLine]]
    """By title."""
    colours: Mapping[Any, str]
    """Value to the words of the key, in order."""
    numbered: bool
    """Whether the colours' values are numbers."""
    key: str
    """Head of the key."""
    labels: tuple[str, str]
    """Of the axes."""
    shades: str
    """What the shades of a colour mean; empty where there is one."""
    intervals: Mapping[str, Interval]
    """By their words."""


def answer_figure(
    rows: pd.DataFrame, spec: Mapping[str, Any], intervals: Mapping[str, tuple[str, Interval]], y_label: str = ""
) -> AnswerFigure:
    """The data of an answer's figure.

    Parameters
    ----------
    rows : pandas.DataFrame
        The cells of all arms, with a column `ARM`.
    spec : mapping
        Keys of a question's `figure`: x, y, colour, panel, lines.
    intervals : mapping
        Slot to its meaning and interval, of those that are drawn.
    y_label : str
        What the axis of `y` says where it is a column with several meanings.

    Raises
    ------
    InputError
        When a column is not there.
    """
    x, y, colour, panel, lines = (spec.get(key) for key in ("x", "y", "colour", "panel", "lines"))
    for key, column in (("x", x), ("y", y), ("colour", colour), ("panel", panel), ("lines", lines)):
        if column is not None and column not in rows:
            raise InputError(
                f"`figure.{key}` must be a column of cells.csv or arm, but got {column!r}: choose one of "
                f"{', '.join(map(str, rows.columns))}."
            )
    rows = rows[rows[x].gt(0) & rows[y].gt(0)]
    values = _ordered(rows, str(colour))
    titles = {"": rows} if panel is None else {_word(panel, v): rows[rows[panel] == v] for v in _ordered(rows, panel)}
    panels = {title: _lines(part, str(x), str(y), str(colour), lines) for title, part in titles.items()}
    numbered = colour != ARM and pd.api.types.is_numeric_dtype(rows[colour])
    return AnswerFigure(
        panels,
        {value: short(value) if numbered else str(value) for value in values},
        numbered,
        "" if colour == ARM else label(str(colour)),
        (axis(str(x)), y_label or axis(str(y))),
        "" if lines is None else f"darker: larger {label(lines)}",
        dict(intervals.values()),
    )


def _ordered(rows: pd.DataFrame, column: str) -> Sequence[Any]:
    """Values of a column: numbers in ascending order, words as they come."""
    found = rows[column].dropna().unique().tolist()
    return sorted(found) if pd.api.types.is_numeric_dtype(rows[column]) else found


def _lines(rows: pd.DataFrame, x: str, y: str, colour: str, lines: str | None) -> list[AnswerLine]:
    levels = [None] if lines is None else list(_ordered(rows, lines))
    found = []
    for value in _ordered(rows, colour):
        for place, level in enumerate(levels):
            part = rows[(rows[colour] == value) & (rows[lines] == level if lines else True)].sort_values(x)
            if part.empty:
                continue
            se = part[f"{y}_se"] if f"{y}_se" in part else pd.Series(0.0, part.index)
            points = pd.DataFrame({"x": part[x], "y": part[y], "se": se.fillna(0.0)})
            found.append(AnswerLine(value, 1.0 if len(levels) == 1 else place / (len(levels) - 1), points))
    return found


def _word(column: str, value: Any) -> str:
    text = f"{value:g}" if isinstance(value, int | float) else str(value)
    return text if column == ARM else f"{label(column)} {text}"


def axis(column: str) -> str:
    """What the axis of a column says."""
    return AXES.get(column) or label(column)

"""The figure of an answer: its data, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mnist_scaling.asking.answered import Answer
from mnist_scaling.asking.question import arms_of
from mnist_scaling.asking.study_arms import LOSS
from mnist_scaling.errors import InputError
from mnist_scaling.reporting import figure_files
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.answer import ARM, AXES, AnswerFigure, answer_figure, axis, draw_answer
from mnist_scaling.reporting.parts import TextTable
from mnist_scaling.reporting.text import short

FORMATS, DPI = ("png", "svg"), 200
"""Files of an answer's figure."""


def rows_of(found: Answer) -> pd.DataFrame:
    """The cells of all arms."""
    return pd.concat([arm.rows.assign(**{ARM: arm.label}) for arm in found.arms.values()], ignore_index=True)


def cell_table(found: Answer, prefix: str) -> TextTable:
    """The cells of all arms as a page lists them; the prefix begins the names of the rows."""
    rows = rows_of(found)
    sizes = [column for column in AXES if column in rows and rows[column].notna().any()]
    cells = [[row[ARM], *(short(row[k]) for k in sizes)] for row in rows.to_dict("records")]
    return TextTable([ARM, *(axis(k) for k in sizes)], cells, ids=[f"{prefix}{i}" for i in rows.index])


def figure_of(found: Answer) -> AnswerFigure:
    """The data of an answer's figure.

    Raises
    ------
    InputError
        When `figure` names a column or a slot that there is not.
    """
    spec = found.question.figure
    rows = rows_of(found)
    numbers = found.found.numbers
    for slot in spec.intervals:
        if slot not in numbers:
            raise InputError(
                f"`figure.intervals` must hold slots of numbers, but got {slot!r}: choose among {', '.join(numbers)}."
            )
    drawn = {slot: (numbers[slot].meaning, numbers[slot].interval) for slot in spec.intervals}
    losses = dict.fromkeys(axis(arm.loss) for arm in arms_of(found.question).values())
    return answer_figure(rows, vars(spec), drawn, " or ".join(losses) if spec.y == LOSS and len(losses) == 2 else "")


def show(found: Answer) -> Figure:
    """The figure of an answer, drawn: what a notebook needs."""
    with style.theme():
        return draw_answer(figure_of(found))


def draw(data: AnswerFigure, folder: Path, file: str, formats: Sequence[str] = FORMATS, dpi: int = DPI) -> Figure:
    """Draw an answer's figure into files of these formats."""
    with style.theme():
        figure = draw_answer(data)
    figure_files.save(figure, folder, file, formats, dpi)
    return figure

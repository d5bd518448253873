"""What tuning changed, as fits.json has it: exponents of the same cells untuned and tuned, and their losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.documents.tuning_records import OK, ChangeSlice
from mnist_scaling.reporting.prepare import Missing
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

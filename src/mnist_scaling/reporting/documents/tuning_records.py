"""The parts of fits.json about tuning, and how they are made: what it changed, how the best settings move with size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mnist_scaling.fitting.uncertainty.interval import OMITTED, Interval
from mnist_scaling.reporting.text import estimate, listing, short, three_digits
from mnist_scaling.settings.setting_laws import CellTrials, KeyLaws, best_values, prior, setting_laws, share_of_range
from mnist_scaling.settings.tuning_change import SOURCES, SliceChange, TunedCells, tuning_change
from mnist_scaling.study.columns import label

OK = "ok"
"""Status of what could be computed."""

USELESS = 0.5
"""A prediction that spans more than this share of the range is said to be of little use."""


@dataclass(frozen=True)
class TuningRecord:
    """What tuning changed (`settings.tuning_change`)."""

    status: str = OK
    setting: Mapping[str, Any] = field(default_factory=dict)
    slices: Sequence[SliceChange] = ()
    plane: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    cells: Sequence[Mapping[str, Any]] = ()
    level: float | None = field(default=None, metadata=OMITTED)
    left_out: Sequence[int] | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True)
class Guess(Interval):
    """A key's predicted best value."""

    share_of_range: float = math.nan

    @property
    def in_words(self) -> str:
        """Value and interval, and whether it says little of where in the range the best value lies."""
        wide = f" ({100 * self.share_of_range:.0f} % of the range, so of little use)"
        return estimate(self, three_digits, " ") + (wide if self.share_of_range > USELESS else "")


@dataclass(frozen=True)
class PredictedSettings:
    """The best settings of a cell that is not there."""

    at: Mapping[str, float]
    settings: Mapping[str, Guess]

    @property
    def sentence(self) -> str:
        """What the laws predict, in words."""
        at = " and ".join(f"{size} = {short(value)}" for size, value in self.at.items())
        parts = [f"{label(name)} {guess.in_words}" for name, guess in self.settings.items()]
        return f"For a new cell with {at} the laws predict {listing(parts)}."


@dataclass(frozen=True)
class SettingsRecord:
    """How the best settings move with the size of the cell."""

    status: str = OK
    keys: Mapping[str, KeyLaws] = field(default_factory=dict)
    cells: Sequence[Mapping[str, Any]] = ()
    predicted: PredictedSettings | None = None
    level: float | None = field(default=None, metadata=OMITTED)


def tuning_change_record(
    cells: TunedCells | None, setting: Mapping[str, Any], why: str, rows: np.ndarray, level: float
) -> TuningRecord:
    """What tuning changed of the untuned `setting`; where it can't be computed its status, `why`, says so.

    `rows` is the number of each cell in its file, shape (n,), and `level` that of the intervals.
    """
    if cells is None:
        return TuningRecord(why, setting)
    columns = {k: getattr(cells, k) for k in ("N", "D", *SOURCES, "tuned_se", "untuned_se")}
    table = [{"row": rows[i], **{k: v[i] for k, v in columns.items()}} for i in range(len(rows))]
    change = None if why else tuning_change(cells, level)
    if change is None or not change.slices:
        why = why or "Fewer than three cells in a line have both an untuned run and repeats of the tuned setting."
        return TuningRecord(why, setting, cells=table)
    slices = [replace(part, rows=rows[part.rows].tolist()) for part in change.slices]
    left_out = rows[change.left_out].tolist()
    return TuningRecord(OK, setting, slices, change.plane, table, change.level, left_out)


def settings_laws_record(
    tried: Sequence[CellTrials], tuned: Mapping[str, bool], level: float, rows: Sequence[int], at: Mapping[str, float]
) -> SettingsRecord:
    """How the best settings move with size.

    `level` is that of the intervals, `rows` the number of each cell in its file, and `at` has N and D of a cell whose
    best settings are to be predicted.
    """
    keys = setting_laws(tried, tuned, level)
    values = [(name, *best_values(tried, column, log)) for column, (name, log) in enumerate(tuned.items())]
    cells = [
        {"row": row, "best": {name: {"value": best[i], "side": side[i]} for name, best, side in values}}
        for i, row in enumerate(rows)
    ]
    known = prior(keys, level, **at)
    guesses = {k: Guess(i.value, i.low, i.high, share_of_range(i, keys[k])) for k, i in known.items()}
    return SettingsRecord(OK, keys, cells, PredictedSettings(at, guesses), level)

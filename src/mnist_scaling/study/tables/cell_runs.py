"""What trials.csv says of each row of cells.csv: its untuned run, its repeats by their seeds, what its tuner tried."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.study import records
from mnist_scaling.study.columns import BRANCH, COMPLETE, CONTROL, FITTED, NO, REPEAT, TRIAL, YES, column_of
from mnist_scaling.study.files import read_json
from mnist_scaling.study.layout import STUDY, TRIALS
from mnist_scaling.study.tables.csv_table import read_study_table
from mnist_scaling.study.tables.selection import Key, current_repeats, key_of, seed_of

OF_RUN = {"test_loss": "test_loss", "test_error": "test_error", "repeat_val_loss": "val_loss"}
"""Columns of cells.csv that are means over repeats, and the column of trials.csv that they are means of."""

_DECADE = 10.0
"""A choice between positive numbers whose largest is this many times the smallest is taken for one on a log scale."""


def _keys(table: pd.DataFrame, columns: Sequence[str]) -> list[Key]:
    return [key_of(row, columns) for row in table.to_dict("records")]


def _finished(trials: pd.DataFrame, stage: str) -> pd.DataFrame:
    return trials[(trials["stage"] == stage) & (trials["state"] == COMPLETE)]


@dataclass(frozen=True)
class Untuned:
    """Losses of the untuned setting."""

    losses: pd.Series
    """Validation loss of each cell, by the index of cells.csv: the mean over the repeats of the untuned setting, else
    that of its one trial; NaN where the cell has no finished control."""
    runs: list[dict[int, float]] = field(default_factory=list)
    """Losses of these repeats by seed, in the order of cells.csv; empty where there are none."""
    setting: dict[str, Any] = field(default_factory=dict)
    """The tuned keys that have one and the same value in every control."""
    why: str = ""
    """Why no cell has a loss, as a sentence; empty where one has."""


def untuned_runs(cells: pd.DataFrame, trials: pd.DataFrame, axes: Sequence[str], tuned: Sequence[str]) -> Untuned:
    """The untuned runs of every cell: its finished control, which is never guessed, and its repeats."""
    nothing = pd.Series(float("nan"), cells.index)
    if not tuned:
        return Untuned(nothing, why="Nothing was tuned in this study, so there is nothing to compare.")
    lacking = [c for c in ("origin", "stage", "state", "number", "val_loss", *axes) if c not in trials]
    if lacking:
        why = f"trials.csv has no column {lacking[0]}, which says which run was untuned, and nothing is guessed."
        return Untuned(nothing, why=why)
    wanted = _keys(cells, axes)
    runs = _finished(trials, TRIAL)
    runs = runs[runs["origin"] == CONTROL].sort_values("number", kind="stable")
    runs = runs[[key in set(wanted) for key in _keys(runs, axes)]]
    if runs.empty:
        return Untuned(nothing, why="No cell has a finished run of the untuned setting (a trial with origin control).")
    keys = [*axes, *(k for k in tuned if k in runs)]
    first = dict(zip(reversed(_keys(runs, axes)), reversed(runs["val_loss"].tolist()), strict=True))
    control = dict(zip(reversed(_keys(runs, axes)), reversed(_keys(runs, keys)), strict=True))
    repeated = _by_seed(trials, keys, "val_loss")
    again = [repeated.get(control[key], {}) if key in control else {} for key in wanted]
    losses = [
        float(np.mean(list(by_seed.values()))) if by_seed else first.get(key, float("nan"))
        for key, by_seed in zip(wanted, again, strict=True)
    ]
    setting = {k: runs[k].iloc[0] for k in tuned if k in runs and runs[k].nunique(dropna=False) == 1}
    setting = {k: v for k, v in setting.items() if pd.notna(v)}
    return Untuned(pd.Series(losses, cells.index, float), again, setting)


def repeat_losses(
    cells: pd.DataFrame, trials: pd.DataFrame, axes: Sequence[str], tuned: Sequence[str], loss: str
) -> list[dict[int, float]] | None:
    """Loss by seed of the repeats behind each cell, by which two arms are paired; None where there is no such thing.

    Repeats of a setting that is no longer selected don't count. A loss that is no mean over repeats has none.
    """
    keys = [*axes, *tuned]
    needed = ("stage", "state", seed_of(trials), OF_RUN.get(loss, loss), *keys)
    if loss not in OF_RUN or any(column not in trials for column in needed):
        return None
    by_setting = _by_seed(trials, keys, OF_RUN[loss])
    return [by_setting.get(key, {}) for key in _keys(cells, keys)]


def were_tuned(cells: pd.DataFrame) -> bool | None:
    """Whether any cell had more than one trial, so that its setting was left to luck; None where no number says so."""
    trials = pd.to_numeric(cells.reindex(columns=["n_trials"])["n_trials"], errors="coerce")
    return bool((trials > 1).any()) if trials.notna().any() else None


def runs_of(folder: Path, cells: pd.DataFrame, loss: str) -> list[dict[int, float]] | None:
    """`repeat_losses` of rows of a study's cells.csv; None, too, where the folder lacks trials.csv or study.json."""
    study = read_json(folder / STUDY)
    if not study or not (folder / TRIALS).is_file():
        return None
    axes, tuned = ([c for c in study.get(key, ()) if c in cells] for key in ("axes", "tuned"))
    return repeat_losses(cells, read_study_table(folder / TRIALS), axes, tuned, loss)


def _by_seed(trials: pd.DataFrame, keys: Sequence[str], loss: str) -> dict[Key, dict[int, float]]:
    """Losses of finished repeats by their seed, by the values of the keys."""
    seed, runs = seed_of(trials), _finished(trials, REPEAT)
    if seed not in trials:
        return {}
    current = current_repeats(runs.to_dict("records"), keys)
    return {key: {int(row[seed]): float(row[loss]) for row in rows} for key, rows in current.items()}


@dataclass(frozen=True)
class CellTrials:
    """The finished trials of one cell."""

    losses: np.ndarray
    """Validation losses, shape (n,), positive."""
    settings: np.ndarray
    """Values of the tuned keys, shape (n, k)."""
    low: np.ndarray
    """Ends of the cell's ranges, widened ones included, shape (k,); NaN for a key that it did not tune."""
    high: np.ndarray
    sizes: Mapping[str, float] = field(default_factory=dict)
    """What the cell is: N, D, steps, loss, …; positive."""

    def best(self, column: int) -> float:
        """The key's value in the trial of the lowest loss; NaN where none has both."""
        known = np.flatnonzero(np.isfinite(self.losses) & np.isfinite(self.settings[:, column]))
        return float(self.settings[known[np.argmin(self.losses[known])], column]) if len(known) else np.nan


@dataclass(frozen=True)
class Tried:
    """The trials of some cells of a study."""

    keys: Mapping[str, bool]
    """Column of each tuned key to whether it was searched on a log scale."""
    cells: Sequence[CellTrials]
    """In the order of the cells that were asked for, without their sizes."""
    why: str = ""
    """Why there are none, as a sentence."""


def tuned_trials(folder: Path, cells: pd.DataFrame, trials: pd.DataFrame, axes: Sequence[str]) -> Tried:
    """The finished trials of each cell and the ranges, from cell.json, of the keys that all of these cells tuned."""
    described = list(records.read_cells(folder).values())
    if not described or any(c not in trials for c in ("stage", "state", "val_loss", *axes)):
        return Tried({}, (), "There is no record of what each cell tried.")
    grid = [a for a in axes if a != BRANCH]
    known = {key_of(cell["axes"], grid): _ranges(cell["space"]) for cell in described}
    ranges = [known.get(key) for key in _keys(cells, grid)]
    every = [of_cell for of_cell in ranges if of_cell is not None]
    if len(every) < len(ranges):
        return Tried({}, (), "A cell's record of its ranges is gone: start the study's sweep again, which writes it.")
    shared = [key for key in (every[0] if every else ()) if key in trials and all(key in of_cell for of_cell in every)]
    if not shared:
        return Tried({}, (), "No key with a numeric range was tuned in all of these cells.")
    done = _finished(trials, TRIAL)
    of_run = _keys(done, axes)
    tried = []
    for cell, of_cell in zip(_keys(cells, axes), every, strict=True):
        mine = done[[key == cell for key in of_run]]
        low, high, _ = np.array([of_cell[key] for key in shared], float).T
        tried.append(CellTrials(mine["val_loss"].to_numpy(float), mine[shared].to_numpy(float), low, high))
    return Tried({key: every[0][key][2] for key in shared}, tried)


def _ranges(space: Mapping[str, str]) -> dict[str, tuple[float, float, bool]]:
    """Column to low, high and whether it is searched in logs, of the tuned keys of a cell.json that are numbers."""
    ranges = {}
    for key, text in space.items():
        a = json.loads(text)["attributes"]
        choices = a.get("choices")
        if choices is None:
            ranges[column_of(key)] = a["low"], a["high"], bool(a["log"])
        elif len(choices) > 1 and all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices):
            low, high = min(choices), max(choices)
            ranges[column_of(key)] = low, high, low > 0 and high >= _DECADE * low
    return ranges


def certified(frame: pd.DataFrame) -> float | None:
    """Share of cells that are certified tuned, of those where something was tuned; None where nothing was."""
    known = [word for word in frame.get("tuned", ()) if word in (YES, NO)]
    return known.count(YES) / len(known) if known else None


def flag_counts(frame: pd.DataFrame) -> Counter[str]:
    """How many cells have each flag."""
    column = frame.get(FITTED["flags"], pd.Series(dtype=str)).dropna().astype(str)
    return Counter(code for text in column for code in text.split(";"))

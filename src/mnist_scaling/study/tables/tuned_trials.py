"""What every cell's tuner tried: finished trials, the ranges that they were drawn from, and the scale of each key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.study import records
from mnist_scaling.study.columns import BRANCH, column_of
from mnist_scaling.study.vocabulary import COMPLETE, TRIAL

_DECADE = 10.0
"""A choice between positive numbers whose largest is this many times the smallest is taken for one on a log scale."""


@dataclass(frozen=True)
class CellTried:
    """One cell's finished trials."""

    losses: np.ndarray
    """Validation losses, (n,)."""
    settings: np.ndarray
    """(n, k)."""
    low: np.ndarray
    """Ends of the cell's ranges, widened ones included, (k,)."""
    high: np.ndarray


@dataclass(frozen=True)
class Tried:
    """The trials of some cells of a study."""

    keys: Mapping[str, bool]
    """Column of each tuned key to whether it was searched on a log scale."""
    cells: Sequence[CellTried]
    """In the order of the cells that were asked for."""
    why: str = ""
    """Why there are none, as a sentence."""


@dataclass(frozen=True)
class _Range:
    low: float
    high: float
    log: bool


def tuned_trials(folder: Path, cells: pd.DataFrame, trials: pd.DataFrame, axes: Sequence[str]) -> Tried:
    """The finished trials of each cell and the ranges of the keys that all of these cells tuned.

    Parameters
    ----------
    folder : Path
        multirun/<name>, whose cell.json files hold the ranges.
    cells, trials : pandas.DataFrame
        Rows of cells.csv, and trials.csv.
    axes : sequence of str
        Columns of the swept keys.
    """
    described = list(records.read_cells(folder).values())
    lacking = [c for c in ("stage", "state", "val_loss", *axes) if c not in trials]
    if lacking or not described:
        return Tried({}, (), "There is no record of what each cell tried.")
    grid = [a for a in axes if a != BRANCH]
    known = {_key(cell["axes"], grid): _ranges(cell["space"]) for cell in described}
    ranges = [known.get(_key(row, grid)) for row in cells.to_dict("records")]
    if any(found is None for found in ranges):
        return Tried({}, (), "A cell's record of its ranges is gone: start the study's sweep again, which writes it.")
    every = [found for found in ranges if found is not None]
    shared = [key for key in (every[0] if every else ()) if key in trials and all(key in found for found in every)]
    if not shared:
        return Tried({}, (), "No key with a numeric range was tuned in all of these cells.")
    done = trials[(trials["stage"] == TRIAL) & (trials["state"] == COMPLETE)]
    tried = []
    for row, found in zip(cells.to_dict("records"), every, strict=True):
        mine = done
        for axis in axes:
            mine = mine[(mine[axis] == row[axis]) | (mine[axis].isna() & pd.isna(row[axis]))]
        ends = ([getattr(found[key], end) for key in shared] for end in ("low", "high"))
        low, high = (np.array(values, float) for values in ends)
        tried.append(CellTried(mine["val_loss"].to_numpy(float), mine[shared].to_numpy(float), low, high))
    return Tried({key: every[0][key].log for key in shared}, tried)


def _key(row: Mapping[str, Any], axes: Sequence[str]) -> tuple[Any, ...]:
    return tuple(None if pd.isna(row[a]) else row[a] for a in axes)


def _ranges(space: Mapping[str, str]) -> dict[str, _Range]:
    """Column to range, of the tuned keys of a cell.json whose values are numbers."""
    out = {}
    for key, text in space.items():
        a = json.loads(text)["attributes"]
        choices = a.get("choices")
        if choices is None:
            out[column_of(key)] = _Range(a["low"], a["high"], bool(a["log"]))
        elif len(choices) > 1 and all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices):
            low, high = min(choices), max(choices)
            out[column_of(key)] = _Range(low, high, low > 0 and high >= _DECADE * low)
    return out

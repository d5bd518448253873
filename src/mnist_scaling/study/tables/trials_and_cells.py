"""trials.csv, cells.csv and curves.csv as data frames: writing, and a cell's row from its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.study.columns import (
    ALWAYS,
    BRANCH,
    CELL_COLUMNS,
    COMPLETE,
    CURVE_COLUMNS,
    CURVE_FIELDS,
    DIVERGED,
    FAILED,
    LENGTHS,
    OFF_DISTRIBUTION_COLUMNS,
    REPEAT,
    RESULT_COLUMNS,
    RUN_SEED,
    TRIAL,
    TRIAL_COLUMNS,
)
from mnist_scaling.study.records import MORE, WANTED
from mnist_scaling.study.tables.selection import best_trial, current_repeats, key_of


def trials_table(rows: Sequence[Mapping[str, Any]], axes: Sequence[str], tuned: Sequence[str]) -> pd.DataFrame:
    """trials.csv: one row per run, by column name, with the swept keys first, then the tuned ones, then the measured.

    A missing key is an empty field.
    """
    further = [name for name in OFF_DISTRIBUTION_COLUMNS if any(name in row for row in rows)]
    further += [name for row in rows for name in row.get(MORE, ())]
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*axes, *tuned, *TRIAL_COLUMNS, *further])))


def cells_table(trials: pd.DataFrame, axes: Sequence[str], tuned: Sequence[str]) -> pd.DataFrame:
    """cells.csv from trials.csv: the best trial by validation loss, and the mean over its repeats, sorted by the axes.

    Only COMPLETE trials can be selected, by `val_loss` alone. A cell with no such trial yet keeps its row with empty
    losses. The standard error is ``std(ddof=1) / sqrt(n)`` over the COMPLETE repeats. `flags` holds those of the runs;
    the caller, who knows the search space, adds its own.
    """
    rows = []
    # What no run has measured is a column of nothing, with which one can't count.
    trials = trials.astype({name: float for name in RESULT_COLUMNS if trials[name].isna().all()})
    names = [c for c in trials.columns if c not in {*axes, *tuned, *TRIAL_COLUMNS, RUN_SEED}]
    groups = trials.groupby(list(axes), sort=True, dropna=False) if axes else [((), trials)]
    for key, runs in groups:
        rows.append(dict(zip(axes, key, strict=True)) | _cell(runs, tuned, names))
    further = [name + end for name in names for end in ("", "_se")]
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*axes, *tuned, *CELL_COLUMNS, *further])))


def unmeasured(trials: pd.DataFrame) -> list[str]:
    """Columns of both tables that another program than our own training leaves empty: all that it has not measured.

    Our own training measures all of `ALWAYS`, and its tables keep every column.
    """
    done = trials[trials["state"] == COMPLETE]
    if not done[[*ALWAYS]].isna().any(axis=None):
        return []
    gone = {name for name in RESULT_COLUMNS if trials[name].isna().all()}
    derived = {"flops_6nd": {"n_params", "n_seen"}, "tuning_flops": {"flops"}}
    return [*gone, *(f"{name}_se" for name in gone), *(name for name, needs in derived.items() if needs & gone)]


def _cell(runs: pd.DataFrame, tuned: Sequence[str], further: Sequence[str]) -> dict[str, Any]:
    trials = runs[runs["stage"] == TRIAL]
    row: dict[str, Any] = {
        "n_trials": len(trials),
        "n_diverged": int((trials["state"] == DIVERGED).sum()),
        "n_failed": int((trials["state"] == FAILED).sum()),
        "n_repeats": 0,
        "tuning_flops": trials["flops_spent"].fillna(trials["flops"]).sum(),
        "seconds": runs["seconds"].sum(),
        "edges": "",
        "widened": "",
        "flags": "",
    }
    records = runs.to_dict("records")
    best = best_trial(records, tuned)
    if best is None:
        return row
    copied = [name for name in (*tuned, *RESULT_COLUMNS) if name not in ("test_loss", "test_error", "train_loss")]
    row |= {name: best[name] for name in copied}
    row["flags"] = _union([best["flags"]])
    row["flops_6nd"] = 6 * best["n_params"] * best["n_seen"]
    # Later trials may have selected another setting, so only repeats of the setting that is selected now count.
    done = current_repeats((run for run in records if run["state"] == COMPLETE), tuned)
    repeats = pd.DataFrame(done.get(key_of(best, tuned), []), columns=runs.columns)
    row["n_repeats"] = len(repeats)
    if repeats.empty:
        return row
    means = {"val_loss": "repeat_val_loss", "test_loss": "test_loss", "test_error": "test_error"}
    means |= {name: name for name in further}
    for source, target in means.items():
        values = repeats[source].to_numpy(float)
        row[target] = values.mean()
        row[f"{target}_se"] = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    row["train_loss"] = repeats["train_loss"].mean()
    for name in LENGTHS:
        if (repeats[name] != best[name]).any():
            row[name] = repeats[name].mean()
    row["flops_6nd"] = 6 * best["n_params"] * row["n_seen"]
    row["flags"] = _union([best["flags"], *repeats["flags"]])
    return row


def _union(flags: Iterable[Any]) -> str:
    """The codes of several ;-separated lists, each once; an empty or absent list has none."""
    return ";".join(dict.fromkeys(code for text in flags if isinstance(text, str) for code in text.split(";") if code))


def curves_table(
    rows: Sequence[Mapping[str, Any]], cells: pd.DataFrame, axes: Sequence[str], tuned: Sequence[str]
) -> pd.DataFrame:
    """curves.csv: every point of the learning curves of the repeats of each cell's selected setting.

    Of the rows that one run with branches gives, the one with most data has its curve.
    """
    points = []
    curved = [row for row in rows if row["stage"] == REPEAT and row["state"] == COMPLETE and row.get("curve")]
    largest = [row for row in curved if row.get(BRANCH) == max(row[WANTED], default=row.get(BRANCH))]
    keys = (*axes, *tuned)
    # A row lacks what only other cells tune.
    current = current_repeats([{**dict.fromkeys(keys), **row} for row in largest], keys)
    for cell, selection in enumerate(cells.to_dict("records")):
        for row in current.get(key_of(selection, keys), []):
            points += _points(row, cell)
    return pd.DataFrame(points, columns=list(CURVE_COLUMNS))


def _points(row: Mapping[str, Any], cell: int) -> list[dict[str, Any]]:
    per_example = row["flops"] / row["n_seen"]
    known = {"seed": row.get(RUN_SEED, row["seed"]), "n_params": row["n_params"], "n_train": row["n_train"]}
    points = []
    for point in row["curve"]:
        values = dict(zip(CURVE_FIELDS, point, strict=True))
        points.append({"cell": cell, **known, **values, "flops": round(values["n_seen"] * per_example)})
    return points

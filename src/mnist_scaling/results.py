"""The contract between the stages: what a run returns and what the two tables hold.

``training`` fills a `TrainResult`; ``tuning`` writes one row a run to trials.csv and one row a cell
to cells.csv; ``fit`` and ``report`` read them. Losses are cross-entropies in nats per example, sizes
are counts, FLOPs count a multiply-add as two. A missing number is an empty field, never 0 or 1e9.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.errors import InputError

COMPLETE, PRUNED, DIVERGED, FAILED = "COMPLETE", "PRUNED", "DIVERGED", "FAILED"
"""States of a run."""

TRIALS, CELLS, CURVES, FITS, REPORT = "trials.csv", "cells.csv", "curves.csv", "fits.json", "report.html"
"""File names inside multirun/<name>/."""

CHECKPOINT = "checkpoint.pt"
"""In the folder of a run that can resume, as long as it is unfinished."""


@dataclass(frozen=True)
class TrainResult:
    """What one training run measured.

    The parameter counts add up: ``n_params = n_params_input + n_params_hidden + n_params_output``.
    """

    state: str
    """COMPLETE, PRUNED or DIVERGED."""
    n_params: int
    """All trainable parameters, biases too: N."""
    n_params_input: int
    """Those of the layer that touches the image."""
    n_params_hidden: int
    """Those between the input and the output layer."""
    n_params_output: int
    """Those of the layer that makes the logits."""
    n_train: int
    """Unique training examples: U."""
    n_seen: int
    """Examples processed until the weights that count: D = n_train * epochs for whole epochs."""
    epochs: float
    """Passes over the unique examples."""
    steps: int
    """Optimiser steps."""
    flops: int
    """Training FLOPs, forward and the backward pass as it really runs: C."""
    flops_forward: int
    """The forward part of `flops`."""
    flops_output: int
    """The output layer's part of `flops`."""
    val_loss: float | None = None
    """Cross-entropy on the validation images; what the tuner sees."""
    val_error: float | None = None
    """Share of validation images put in the wrong class."""
    test_loss: float | None = None
    """Cross-entropy on the test images; empty for trials, which must not see them."""
    test_error: float | None = None
    """Share of test images put in the wrong class; empty for trials."""
    train_loss: float | None = None
    """Cross-entropy on up to 10,000 of the run's own training images, dropout off; empty for trials."""
    epochs_spent: float | None = None
    """Passes that were really made; more than `epochs` where earlier weights count. None: the same."""
    flops_spent: int | None = None
    """Training FLOPs that were really run, patience and branches included. None: the same as `flops`."""
    flags: str = ""
    """Codes that the regime gives the run, separated by ;."""
    reports: tuple[tuple[float, float], ...] = ()
    """Share of the run and loss on a slice of the validation images, for each report to the pruner."""
    curve: tuple[tuple[int, float, float, str], ...] = ()
    """`CURVE_FIELDS` of each evaluation on the way."""
    branches: tuple[dict[str, float], ...] = ()
    """One entry a finished decay of a run that measures many data sizes: the columns of its row."""
    resumed_at: int = 0
    """Examples that a killed attempt at this run had seen before this one took over."""

    def __post_init__(self) -> None:
        if self.epochs_spent is None:
            object.__setattr__(self, "epochs_spent", self.epochs)
        if self.flops_spent is None:
            object.__setattr__(self, "flops_spent", self.flops)
        parts = self.n_params_input + self.n_params_hidden + self.n_params_output
        assert parts == self.n_params, f"parameter counts must add up: {parts} != {self.n_params}"


NOT_COLUMNS = ("state", "reports", "curve", "branches", "resumed_at")
"""Fields of a `TrainResult` that stay in its record."""

RESULT_COLUMNS = tuple(f.name for f in fields(TrainResult) if f.name not in NOT_COLUMNS)

CURVE_FIELDS = ("n_seen", "val_loss", "train_loss", "phase")
"""A point of a learning curve: examples so far, losses on slices, and what the learning rate was doing."""

BRANCH = "branch"
"""Axis of the rows that one run with several decays gives: the share of the training images."""

BRANCHED = ("wsd",)
"""Regimes whose runs have branches; the others don't read `regime.branches`, whatever it holds."""

COLUMN_NAMES = {
    "model.width": "width",
    "model.depth": "depth",
    "data.fraction": "data_fraction",
    "data.name": "data",
    "regime.flops": "budget",
    "regime.epochs": "passes",
}
"""Config keys whose column is not simply the last part of the key (a group's own name aside)."""

GROUP_COLUMNS = {"optim": "optimizer", "model": "family", "data": "data"}
"""Column of a swept config group, such as ``optim=adam,sgd``."""

TRIAL_COLUMNS = ("stage", "number", "seed", "origin", "state", "seconds", *RESULT_COLUMNS, "error")
"""Columns of trials.csv after the swept and the tuned keys."""

CELL_COLUMNS = (
    *("n_params", "n_params_input", "n_params_hidden", "n_params_output", "n_train", "n_seen", "epochs", "steps"),
    *("flops", "flops_forward", "flops_output", "flops_6nd", "epochs_spent", "flops_spent"),
    *("val_loss", "repeat_val_loss", "repeat_val_loss_se"),
    *("test_loss", "test_loss_se", "test_error", "test_error_se", "train_loss"),
    *("n_trials", "n_diverged", "n_failed", "n_repeats", "tuning_flops", "seconds"),
    *("expected_gain", "noise", "tuned", "edges", "widened", "flags"),
)
"""Columns of cells.csv after the swept and the tuned keys, `CELL_MEANINGS` says what each one is."""

LENGTHS = ("n_seen", "epochs", "steps", "flops", "flops_forward", "flops_output", "epochs_spent", "flops_spent")
"""Columns that differ between seeds where a regime decides on the way when to stop; a cell has their mean."""

CELL_MEANINGS = {
    "n_seen": "examples processed until the weights that count; the repeats' mean where their lengths differ",
    "flops_6nd": "6 * n_params * n_seen, the rule of thumb of transformers, for comparison only",
    "val_loss": "validation loss of the selected trial: biased low, because it is the best of n_trials",
    "repeat_val_loss": "mean validation loss of the repeats, which no selection has touched",
    "test_loss": "mean test loss of the repeats: what is fitted",
    "test_loss_se": "its standard error over the repeats, empty with fewer than two",
    "n_trials": "trials that count: COMPLETE, PRUNED, DIVERGED or FAILED",
    "tuning_flops": "training FLOPs that all trials of the cell spent: what its tuning cost",
    "seconds": "wall time of all its runs, added up; of a run with branches, shared out by their FLOPs",
    "expected_gain": "share of the loss that 10 further trials should take off, extrapolated from the trials",
    "noise": "standard deviation of the log loss between seeds, from the repeats",
    "tuned": "yes when no selected value lies on an edge and expected_gain is below noise, else no; empty when unknown",
    "widened": "tuned columns whose range was widened because the best setting lay on its edge, separated by ;",
    "edges": "tuned columns whose selected value lies on the edge of its range, separated by ;",
    "flags": "codes separated by ;",
}


def column_of(key: str) -> str:
    """The tables' column of a config key: model.width -> width, optim.lr -> lr, optim -> optimizer."""
    return COLUMN_NAMES.get(key) or GROUP_COLUMNS.get(key) or key.rsplit(".", 1)[-1]


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` so that a reader, or a crash, sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes it private; a table is for everyone
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, atomically; floats keep every digit."""
    write_atomically(path, table.to_csv(index=False))


def read_table(path: str | Path, required: Iterable[str] = ()) -> pd.DataFrame:
    """Read a CSV table and check that the columns it must have are there.

    Parameters
    ----------
    path : str or Path
        A CSV file with a header.
    required : iterable of str
        Columns without which the caller can't work.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    InputError
        When the file is absent, is no table, or lacks a required column.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"A table must be an existing CSV file, but {path} is none: give its path, or run the study.")
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(
            f"A table must be CSV with a header, but {path} is not ({str(error).strip()}): mend or rewrite it."
        ) from error
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} must have the column{'s' * (len(missing) > 1)} {', '.join(missing)}, but has only "
            f"{', '.join(map(str, table.columns))}: rename one, or rerun the study to rewrite the table."
        )
    return table


def trials_table(rows: Sequence[Mapping[str, Any]], axes: Sequence[str], tuned: Sequence[str]) -> pd.DataFrame:
    """trials.csv: one row a run, with the swept keys first, then the tuned ones, then what was measured.

    Parameters
    ----------
    rows : sequence of mapping
        One mapping a run, by column name; a missing key is an empty field.
    axes, tuned : sequence of str
        Column names of the swept scientific keys and of the tuned ones.
    """
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*axes, *tuned, *TRIAL_COLUMNS])))


def cells_table(trials: pd.DataFrame, axes: Sequence[str], tuned: Sequence[str]) -> pd.DataFrame:
    """cells.csv from trials.csv: the best trial by validation loss, and the mean over its repeats.

    Only COMPLETE trials can be selected, by `val_loss` alone. A cell with no such trial yet keeps its
    row with empty losses. The standard error is ``std(ddof=1) / sqrt(n)`` over the COMPLETE repeats.

    Parameters
    ----------
    trials : pandas.DataFrame
        The table of `trials_table`.
    axes, tuned : sequence of str
        Column names of the swept scientific keys and of the tuned ones.

    Returns
    -------
    pandas.DataFrame
        One row a cell, sorted by the axes; `flags` is empty here, the caller knows the search space.
    """
    rows = []
    groups = trials.groupby(list(axes), sort=True, dropna=False) if axes else [((), trials)]
    for key, runs in groups:
        rows.append(dict(zip(axes, key, strict=True)) | _cell(runs, tuned))
    return pd.DataFrame(rows, columns=list(dict.fromkeys([*axes, *tuned, *CELL_COLUMNS])))


def best_trial(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The COMPLETE trial with the lowest validation loss, the earliest of equals; None if there is none.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of trials.csv.
    """
    complete = [row for row in rows if row["stage"] == "trial" and row["state"] == COMPLETE]
    return min(complete, key=lambda row: (float(row["val_loss"]), row["number"]), default=None)


def _cell(runs: pd.DataFrame, tuned: Sequence[str]) -> dict[str, Any]:
    trials = runs[runs["stage"] == "trial"]
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
    best = best_trial(runs.to_dict("records"))
    if best is None:
        return row
    copied = [name for name in (*tuned, *RESULT_COLUMNS) if name not in ("test_loss", "test_error", "train_loss")]
    row |= {name: best[name] for name in copied}
    row["flags"] = _union([best["flags"]])
    row["flops_6nd"] = 6 * best["n_params"] * best["n_seen"]
    repeats = runs[(runs["stage"] == "repeat") & (runs["state"] == COMPLETE)]
    # More trials may have selected another setting since; its repeats are not those of the old one.
    # A key that only other cells tune is empty here, and empty equals empty.
    selected, others = pd.Series({name: best[name] for name in tuned}, dtype=object), repeats[list(tuned)]
    repeats = repeats[((others == selected) | (others.isna() & selected.isna())).all(axis=1)]
    row["n_repeats"] = len(repeats)
    if repeats.empty:
        return row
    means = {"val_loss": "repeat_val_loss", "test_loss": "test_loss", "test_error": "test_error"}
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
    """Every code of several ;-separated lists once; an empty or absent list has none."""
    return ";".join(dict.fromkeys(code for text in flags if isinstance(text, str) for code in text.split(";") if code))

"""The untuned run of every cell: the trial whose origin is the control, never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from mnist_scaling.study.vocabulary import COMPLETE, CONTROL, TRIAL


@dataclass(frozen=True)
class Untuned:
    """Losses of the untuned setting."""

    losses: pd.Series
    """Validation loss of each cell, by the index of cells.csv; NaN where the cell has no finished control."""
    setting: dict[str, Any] = field(default_factory=dict)
    """The tuned keys that have one and the same value in every control."""
    why: str = ""
    """Why no cell has a loss, as a sentence; empty where one has."""


def untuned_runs(cells: pd.DataFrame, trials: pd.DataFrame, axes: Sequence[str], tuned: Sequence[str]) -> Untuned:
    """The finished control of every cell.

    Parameters
    ----------
    cells, trials : pandas.DataFrame
        cells.csv and trials.csv.
    axes, tuned : sequence of str
        Columns of the swept and of the tuned keys.
    """
    nothing = pd.Series(float("nan"), cells.index)
    if not tuned:
        return Untuned(nothing, why="Nothing was tuned in this study, so there is nothing to compare.")
    needed = ("stage", "state", "number", "val_loss", *axes)
    lacking = [column for column in ("origin", *needed) if column not in trials]
    if lacking:
        return Untuned(
            nothing,
            why=f"trials.csv has no column {lacking[0]}, which says which run was untuned, and nothing is guessed.",
        )
    runs = trials[(trials["stage"] == TRIAL) & (trials["origin"] == CONTROL) & (trials["state"] == COMPLETE)]
    if axes:
        runs = runs.merge(cells[list(axes)].drop_duplicates(), on=list(axes))  # `cells` may be some of the study's
    if runs.empty:
        return Untuned(nothing, why="No cell has a finished run of the untuned setting (a trial with origin control).")
    runs = runs.sort_values("number", kind="stable")
    setting = {k: runs[k].iloc[0] for k in tuned if k in runs and runs[k].nunique(dropna=False) == 1}
    setting = {k: v for k, v in setting.items() if pd.notna(v)}
    if not axes:
        return Untuned(nothing.fillna(float(runs["val_loss"].iloc[0])), setting)
    losses = runs.drop_duplicates(list(axes))[[*axes, "val_loss"]].rename(columns={"val_loss": "untuned"})
    found = cells[list(axes)].merge(losses, on=list(axes), how="left")["untuned"]
    return Untuned(found.set_axis(cells.index).astype(float), setting)

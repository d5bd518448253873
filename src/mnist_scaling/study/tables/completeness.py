"""How many cells of a study have been measured, for those who read its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_scaling.study import layout
from mnist_scaling.study.vocabulary import REPEAT


def unfinished(
    folder: Path, cells: pd.DataFrame, trials: pd.DataFrame, study: Mapping[str, Any], loss: str = "test_loss"
) -> str:
    """That a study is unfinished, as a sentence with the number of finished cells; empty when it is finished.

    A cell is finished when it has a loss, or when it can't have one: all of its trials, or its repeats, were lost.

    Parameters
    ----------
    folder : Path
        multirun/<name>.
    cells, trials : pandas.DataFrame
        cells.csv and trials.csv; a cell that has not begun has no row.
    study : mapping
        study.json.
    loss : str
        The column of cells.csv that only repeats fill.
    """
    grid = [axis for axis in study.get("grid", study.get("axes", ())) if axis in cells]
    if not grid or loss not in cells or "n_trials" not in cells:
        return ""
    begun = sum(1 for _ in folder.glob("/".join([*["*"] * len(grid), layout.CELL])))
    lost = cells["n_trials"] <= cells.reindex(columns=["n_diverged", "n_failed"]).sum(axis=1)
    waiting = cells[cells[loss].isna() & ~lost][grid].drop_duplicates()
    if "stage" in trials and len(waiting):
        repeated = trials[trials["stage"] == REPEAT][grid].drop_duplicates()
        merged = waiting.merge(repeated, on=grid, how="left", indicator=True)
        waiting = merged[merged["_merge"] == "left_only"]
    known = len(cells[grid].drop_duplicates())
    total, done = max(begun, known), known - len(waiting)
    if done == total:
        return ""
    return (
        f"The study is unfinished: {done} of {total} cells are tuned and repeated; the command of its sweep goes on "
        "with the others."
    )

"""The loss of every repeat by its seed: what two arms that share seeds are paired by."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mnist_scaling.study.columns import RUN_SEED, SEED
from mnist_scaling.study.vocabulary import COMPLETE, REPEAT

OF_RUN = {"test_loss": "test_loss", "test_error": "test_error", "repeat_val_loss": "val_loss"}
"""Columns of cells.csv that are means over repeats, and the column of trials.csv that they are means of."""


def repeat_losses(
    cells: pd.DataFrame, trials: pd.DataFrame, axes: Sequence[str], tuned: Sequence[str], loss: str
) -> list[dict[int, float]] | None:
    """Loss by seed of the repeats behind each cell; None where the column is no mean over repeats.

    Parameters
    ----------
    cells, trials : pandas.DataFrame
        Rows of cells.csv, and trials.csv.
    axes, tuned : sequence of str
        Columns of the swept and of the tuned keys. Repeats of a setting that is no longer selected don't count.
    loss : str
        Column of cells.csv.
    """
    seed = RUN_SEED if RUN_SEED in trials else SEED
    needed = ("stage", "state", seed, OF_RUN.get(loss, loss), *axes, *tuned)
    if loss not in OF_RUN or any(column not in trials for column in needed):
        return None
    runs = trials[(trials["stage"] == REPEAT) & (trials["state"] == COMPLETE)]
    keys = [*axes, *tuned]
    found: dict[tuple[str, ...], dict[int, float]] = {}
    for key, of_seed, value in zip(_keys(runs, keys), runs[seed], runs[OF_RUN[loss]], strict=True):
        found.setdefault(key, {})[int(of_seed)] = float(value)
    return [found.get(key, {}) for key in _keys(cells, keys)]


def _keys(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Values of these columns as text; an empty field, a key that only other cells tune, is equal to another one."""
    return [tuple(f"{v:.12g}" if isinstance(v, int | float) else str(v) for v in row) for row in _rows(table, columns)]


def _rows(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[object, ...]]:
    return list(table[list(columns)].itertuples(index=False, name=None)) if columns else [()] * len(table)

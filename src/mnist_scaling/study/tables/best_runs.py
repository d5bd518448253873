"""The best run of every cell of anyone's table of runs, and how tuned that makes the cells."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, exp

import numpy as np
import pandas as pd

from mnist_scaling.errors import InputError


def best_runs(runs: pd.DataFrame, cells: Sequence[str], best: str) -> tuple[pd.DataFrame, str]:
    """The run with the least loss `best` of each cell, the first of equals; and what is known of their tuning.

    `cells` are the columns whose values make a cell. InputError tells of a column that is not there, or that no run has
    a loss.
    """
    absent = [column for column in (*cells, best) if column not in runs]
    if absent:
        raise InputError(
            f"`cells` and `best` must name columns of the table, but it has no {', '.join(absent)}: it has "
            f"{', '.join(map(str, runs.columns))}."
        )
    known = runs.assign(**{best: pd.to_numeric(runs[best], errors="coerce")})
    known = known[np.isfinite(known[best].astype(float)) & (known[best] > 0)]
    if known.empty:
        raise InputError(f"`best` must name a column with a positive number, but {best} has none: name another column.")
    groups = known.groupby(list(cells), sort=False, dropna=False)
    kept = known.loc[sorted(groups[best].idxmin())]
    counts, saved = groups.size(), [_half(np.sort(losses.to_numpy(float))) for _, losses in groups[best]]
    said = (
        f"A row is the best of its cell's runs by {best}: {counts.min()} to {counts.max()} runs, median "
        f"{counts.median():g}. With half as many, the best would be {100 * float(np.median(saved)):.1f} % higher on "
        "average in the middle cell: a large share says that cells need more runs."
    )
    return kept, said


def expected_least(y: np.ndarray, k: int) -> float:
    """E[least of k of n ascending values, drawn without replacement] = sum_i y_(i) C(n - i, k - 1) / C(n, k)."""
    n = len(y)
    return sum(y[i] * comb(n - i - 1, k - 1) for i in range(n - k + 1)) / comb(n, k)


def _half(losses: np.ndarray) -> float:
    """Expected best of half of the losses, over the best - 1."""
    y = np.log(losses)
    return exp(expected_least(y, max(len(y) // 2, 1)) - y[0]) - 1

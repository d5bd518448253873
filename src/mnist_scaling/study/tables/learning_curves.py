"""curves.csv: the learning curves of the repeats behind each row of cells.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mnist_scaling.study.columns import BRANCH, CURVE_COLUMNS, RUN_SEED
from mnist_scaling.study.records import WANTED
from mnist_scaling.study.result import CURVE_FIELDS
from mnist_scaling.study.vocabulary import COMPLETE, REPEAT


def table(
    rows: Sequence[Mapping[str, Any]], cells: pd.DataFrame, axes: Sequence[str], tuned: Sequence[str]
) -> pd.DataFrame:
    """Every point of the curves of the repeats of each cell's selected setting.

    Of the rows that one run with branches gives, the one with most data has its curve.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of trials.csv with their runs' curves.
    cells : DataFrame
        cells.csv.
    axes, tuned : sequence of str
    """
    points = []
    curved = [row for row in rows if row["stage"] == REPEAT and row["state"] == COMPLETE and row.get("curve")]
    largest = [row for row in curved if row.get(BRANCH) == max(row[WANTED], default=row.get(BRANCH))]
    for cell, selection in enumerate(cells.to_dict("records")):
        for row in largest:
            if all(same(row.get(key), selection[key]) for key in (*axes, *tuned)):
                points += _points(row, cell)
    return pd.DataFrame(points, columns=list(CURVE_COLUMNS))


def _points(row: Mapping[str, Any], cell: int) -> list[dict[str, Any]]:
    per_example = row["flops"] / row["n_seen"]
    known = {"seed": row.get(RUN_SEED, row["seed"]), "n_params": row["n_params"], "n_train": row["n_train"]}
    found = []
    for point in row["curve"]:
        values = dict(zip(CURVE_FIELDS, point, strict=True))
        found.append({"cell": cell, **known, **values, "flops": round(values["n_seen"] * per_example)})
    return found


def same(a: Any, b: Any) -> bool:
    """Whether two settings are equal; two absent ones are."""
    return bool(a == b or (pd.isna(a) and pd.isna(b)))

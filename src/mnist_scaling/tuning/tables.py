"""trials.csv and cells.csv from the records of the runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.distributions import json_to_distribution

from mnist_scaling import results
from mnist_scaling.results import column_of
from mnist_scaling.tuning import records, search_space


def write(folder: Path, rows: Mapping[Path, Mapping[str, Any]], provenance: Mapping[str, Any]) -> None:
    """Rewrite both tables of a study and its study.json, each atomically.

    Parameters
    ----------
    folder : Path
        multirun/<name>.
    rows : mapping
        A run's folder to its row for trials.csv (`records.row`).
    provenance : mapping
        Further entries of study.json: how the study was made.
    """
    cells = [records.read(path) or {} for path in sorted(folder.rglob(records.CELL))]
    axes = list(dict.fromkeys(column for cell in cells for column in cell["axes"]))
    tuned = list(dict.fromkeys(column_of(key) for cell in cells for key in cell["space"]))
    records.write(folder / records.STUDY, {"name": folder.name, "axes": axes, "tuned": tuned, **provenance})

    ordered = sorted(rows.items(), key=lambda item: (*(_sortable(item[1][a]) for a in axes), str(item[0])))
    trials = results.trials_table([row for _, row in ordered], axes, tuned)
    results.write_table(trials, folder / results.TRIALS)
    if trials.empty:
        return
    table = results.cells_table(trials, axes, tuned)
    ranges = {tuple(cell["axes"][a] for a in axes): cell["space"] for cell in cells}
    edges = [_edges(row, ranges[tuple(row[a] for a in axes)]) for _, row in table.iterrows()]
    table["edges"] = [";".join(columns) for columns in edges]
    table["flags"] = ["search_edge" if columns else "" for columns in edges]
    results.write_table(table, folder / results.CELLS)


def _edges(row: pd.Series, ranges: dict[str, str]) -> list[str]:
    """Columns of the tuned keys whose selected value lies on the edge of its range."""
    found = []
    for key, text in ranges.items():
        value = row[column_of(key)]
        if pd.notna(value) and search_space.on_edge(json_to_distribution(text), value):
            found.append(column_of(key))
    return found


def _sortable(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value

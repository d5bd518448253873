"""trials.csv and cells.csv from the records of the runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.distributions import json_to_distribution

from mnist_scaling import results
from mnist_scaling.results import COMPLETE, column_of
from mnist_scaling.tuning import certificate, records, search_space


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
    by_key = {tuple(cell["axes"][a] for a in axes): cell for cell in cells}
    results.write_table(_certified(table, trials, axes, by_key), folder / results.CELLS)


def _certified(
    table: pd.DataFrame, trials: pd.DataFrame, axes: list[str], cells: Mapping[tuple[Any, ...], Mapping[str, Any]]
) -> pd.DataFrame:
    """cells.csv with what says how far each cell is tuned: `results.CELL_MEANINGS`."""
    runs = _grouped(trials, axes)
    repeats = {key: _losses(rows, "repeat") for key, rows in runs.items()}
    pooled = certificate.pooled_noise(list(repeats.values()))
    found = []
    for row in table.to_dict("records"):
        key = tuple(row[a] for a in axes)
        cell = cells[key]
        done = [r for r in runs[key] if r["stage"] == "trial"]
        known = _losses(done, "trial")
        gain = certificate.expected_gain(known, len(done) - len(known))
        noise = certificate.noise(repeats[key], pooled)
        edges = _edges(row, cell["space"])
        sure = gain is not None and noise is not None
        importance = {f"importance_{column_of(k)}": v for k, v in cell.get("importances", {}).items()}
        found.append(
            {
                "expected_gain": gain,
                "noise": noise,
                "tuned": ("yes" if not edges and gain < noise else "no") if sure else None,  # type: ignore[operator]
                "edges": ";".join(edges),
                "widened": ";".join(column_of(k) for k in cell.get("widened", [])),
                "flags": "search_edge" if edges else "",
                **importance,
            }
        )
    certified = pd.DataFrame(found, index=table.index)
    return table.drop(columns=[c for c in certified if c in table]).join(certified)[
        [*table.columns, *(c for c in certified if c not in table)]
    ]


def _grouped(trials: pd.DataFrame, axes: list[str]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in trials.to_dict("records"):
        groups.setdefault(tuple(row[a] for a in axes), []).append(row)
    return groups


def _losses(rows: list[dict[str, Any]], stage: str) -> list[float]:
    """Validation losses of the runs of a stage that ran to their end."""
    done = [r["val_loss"] for r in rows if r["stage"] == stage and r["state"] == COMPLETE]
    return [float(loss) for loss in done if loss > 0]


def _edges(row: Mapping[str, Any], ranges: Mapping[str, str]) -> list[str]:
    """Columns of the tuned keys whose selected value lies on the edge of its range."""
    found = []
    for key, text in ranges.items():
        value = row[column_of(key)]
        if pd.notna(value) and search_space.on_edge(json_to_distribution(text), value):
            found.append(column_of(key))
    return found


def _sortable(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value

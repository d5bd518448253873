"""study.json, trials.csv and cells.csv: whether a sweep may join the study in a folder, and its tables written anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.distributions import json_to_distribution

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, identity, layout, records
from mnist_scaling.study.columns import BRANCH, COMPLETE, IMPORTANCE, NOTHING_TUNED, RUN_SEED, TRIAL, column_of
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.study.flags import REPEAT_LOST, SEARCH_EDGE
from mnist_scaling.study.tables import trials_and_cells
from mnist_scaling.study.tables.selection import Key, current_repeats, key_of
from mnist_scaling.tuning.cell import certificate, search_space
from mnist_scaling.tuning.cell.composition import Cell


def join(
    folder: Path, cells: Sequence[Cell], not_yet_known: Iterable[str] = (), method: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """Check that cells may join the study in a folder; its identity, for study.json.

    This comes before anything is written, so that a refused sweep leaves nothing behind. `not_yet_known` are config
    keys that are not compared, `method` is what decides the next settings, by config key of the sweeper.
    """
    axes = list(cells[0].axes)
    try:
        had = records.known_axes(folder)
    except DamagedFileError as error:
        files.set_aside(error, "and is written anew")
        had = records.known_axes(folder)
    if had is not None and had != axes:
        raise InputError(
            f"A study must keep the axes of its grid, but {folder} has {', '.join(had) or 'none'} "
            f"and this sweep has {', '.join(axes) or 'none'}: give the new study another `name=`."
        )
    mine = identity.of([(cell.settings, cell.ranges, cell.keys) for cell in cells])
    task = cells[0].task
    mine = replace(mine, program=task.program, method=method)
    return {
        identity.IDENTITY: asdict(identity.check(folder, mine, cells[0].defaults, {*not_yet_known, *task.no_effect}))
    }


def write(folder: Path, rows: Mapping[Path, Mapping[str, Any]], provenance: Mapping[str, Any]) -> None:
    """Rewrite both tables of a study, from each run's row, and its study.json, each atomically."""
    described = records.read_cells(folder)
    cells = list(described.values())
    # Rows of a cell wait for its record: without one nobody knows the ranges that it was tuned in.
    rows = {path: row for path, row in rows.items() if path.parent in described}
    grid = list(dict.fromkeys(column for cell in cells for column in cell["axes"]))
    tuned_columns = list(dict.fromkeys(column_of(key) for cell in cells for key in cell["space"]))
    ordered = sorted(rows.items(), key=lambda item: (*(_sortable(item[1][a]) for a in grid), str(item[0])))
    expanded = [row for _, run in ordered for row in records.branch_rows(run)]
    axes = [*grid, *([BRANCH] if any(BRANCH in row for row in expanded) else [])]
    devices = sorted({row["device"] for row in rows.values() if row.get("device")})
    trials = trials_and_cells.trials_table(expanded, axes, tuned_columns)
    if "seed" in axes:
        trials.insert(trials.columns.get_loc("number") + 1, RUN_SEED, [row[RUN_SEED] for row in expanded])
    tables = {layout.TRIALS: trials}
    if not trials.empty:
        table = trials_and_cells.cells_table(trials, axes, tuned_columns)
        by_key = {key_of(cell["axes"], grid): cell for cell in cells}
        tables[layout.CELLS] = _certified(table, trials, axes, tuned_columns, by_key)
        points = trials_and_cells.curves_table(expanded, table, axes, tuned_columns)
        tables |= {} if points.empty else {layout.CURVES: points}
    gone = trials_and_cells.unmeasured(trials)
    texts = {name: made.drop(columns=gone, errors="ignore").to_csv(index=False) for name, made in tables.items()}
    study = {
        "version": identity.VERSION,
        "name": folder.name,
        "axes": axes,
        "grid": grid,
        "tuned": tuned_columns,
        "devices": devices,
        records.TABLES: {name: files.checksum(text.encode()) for name, text in texts.items()},
    }
    files.write_json(folder / layout.STUDY, {**study, **{k: v for k, v in provenance.items() if k not in study}})
    for name, text in texts.items():
        files.write_atomically(folder / name, text)


def _certified(
    table: pd.DataFrame,
    trials: pd.DataFrame,
    axes: list[str],
    tuned_columns: list[str],
    cells: Mapping[Key, Mapping[str, Any]],
) -> pd.DataFrame:
    """cells.csv with what says how far each cell is tuned: the columns that the certificate fills."""
    runs: dict[Key, list[dict[str, Any]]] = {}
    for run in (every := trials.to_dict("records")):
        runs.setdefault(key_of(run, axes), []).append(run)
    rows = {key_of(row, axes): row for row in table.to_dict("records")}
    # Other branches of one run may have selected, and repeated, other settings.
    current = current_repeats(every, [*axes, *tuned_columns])
    repeats = {key: current.get((*key, *key_of(rows[key], tuned_columns)), []) for key in runs}
    pooled = certificate.pooled_noise([_losses(mine) for mine in repeats.values()])
    grid = [a for a in axes if a != BRANCH]
    certificates = [
        _certificate(row, cells[key_of(row, grid)], runs[key], repeats[key], pooled) for key, row in rows.items()
    ]
    return table.assign(**pd.DataFrame(certificates, index=table.index))


def _certificate(
    row: Mapping[str, Any],
    cell: Mapping[str, Any],
    runs: Sequence[Mapping[str, Any]],
    repeats: Sequence[Mapping[str, Any]],
    pooled: float | None,
) -> dict[str, Any]:
    """The columns of one cell, from its row of cells.csv so far, its cell.json, and its runs' rows of trials.csv.

    `repeats` are those of its selected setting, `pooled` is the study's `certificate.pooled_noise`.
    """
    done = [r for r in runs if r["stage"] == TRIAL]
    known = _losses(done)
    gain = certificate.expected_gain(known, len(done) - len(known)) if cell["space"] else None
    noise = certificate.noise(_losses(repeats), pooled)
    edges, limits = _at_ends(row, cell)
    lost = any(r["state"] != COMPLETE for r in repeats)
    return {
        "expected_gain": gain,
        "noise": noise,
        "tuned": certificate.verdict(gain, noise, bool(edges)) if cell["space"] else NOTHING_TUNED,
        "edges": ";".join(edges),
        "limits": ";".join(limits),
        "widened": ";".join(column_of(k) for k in cell.get("widened", [])),
        "flags": ";".join(filter(None, [SEARCH_EDGE if edges else "", REPEAT_LOST if lost else "", row["flags"]])),
        **{f"{IMPORTANCE}{column_of(k)}": v for k, v in cell.get("importances", {}).items()},
    }


def _losses(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Validation losses of the runs that ran to their end."""
    return [float(r["val_loss"]) for r in rows if r["state"] == COMPLETE and r["val_loss"] > 0]


def _at_ends(row: Mapping[str, Any], cell: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Columns of the tuned keys whose selected value lies on an edge of its range, and those with one at a limit."""
    edges, limits = [], []
    for key, text in cell["space"].items():
        value, distribution = row[column_of(key)], json_to_distribution(text)
        declared = cell.get("limits", {}).get(key, ())
        if pd.notna(value) and search_space.on_edge(distribution, value, declared):
            edges.append(column_of(key))
        elif pd.notna(value) and search_space.at_limit(distribution, value, declared):
            limits.append(column_of(key))
    return edges, limits


def _sortable(value: Any) -> tuple[bool, bool, Any]:
    return value is not None, isinstance(value, str), value

"""Records: what was measured, one result.json per run and one cell.json per cell, from which the tables are built.

A record is all that is kept of a run: what was tried, what came of it, and what decides what its cell tries next. A
run's record has a checksum, so that it is what a sweep wrote, to the last digit. `layout` has the folders.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_scaling.study import columns, files, identity, layout
from mnist_scaling.study.columns import BRANCH, COMPLETE, PER_MODEL, RESULT_COLUMNS, RUN_SEED, column_of
from mnist_scaling.study.files import DamagedFileError

MORE = "further"
"""In a row, no column: the names of the further columns that its program has measured."""

WANTED = "wanted_branches"
"""In a row, no column: the shares at which the run was to end a decay; empty for most regimes."""

TABLES = "tables"
"""Key of study.json: the checksum of each table as it was written."""


def make_record(
    stage: str,
    seed: int,
    state: str,
    config: Mapping[str, Any],
    *,
    result: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """The record of a run, with the code that this process has; a job adds its number and how a setting was chosen.

    `config` has dotted keys, `result` what was measured, `error` what ended a run that has no result.
    """
    return {
        "stage": stage, "number": 0, "seed": seed, "origin": None, "state": state, "seconds": seconds, "error": error,
        "config": dict(config), "result": result, **identity.code(),
    }  # fmt: skip


@dataclass
class StudyRecords:
    """All records below a study's folder."""

    rows: dict[Path, dict[str, Any]] = field(default_factory=dict)
    """A run's folder to its row for trials.csv."""
    records: dict[Path, dict[str, Any]] = field(default_factory=dict)
    """A run's folder to its record."""
    damaged: list[DamagedFileError] = field(default_factory=list)
    """Records that can't be read."""
    undescribed: list[Path] = field(default_factory=list)
    """Folders of cells that have runs but no cell.json, and that nobody described: their rows are left out."""
    misplaced: dict[Path, str] = field(default_factory=dict)
    """Folders that hold a copy of another folder's cell, to that folder's name: their rows are left out."""


def read_study(folder: Path, known: Mapping[Path, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}) -> StudyRecords:
    """Every record below a study's folder. Cells that are `known`, by their axes and tuned keys, need no cell.json."""
    study = StudyRecords()
    for place in cell_folders(folder):
        cell = None
        try:
            cell = read_cell(place)
        except DamagedFileError as error:
            study.damaged.append(error)
        if cell and (other := _belongs(folder, place, cell)):
            if place not in known:
                study.misplaced[place] = other
                continue
            study.damaged.append(DamagedFileError(place / layout.CELL, f"it is the record of {other}"))
        described = known.get(place) or (cell and (cell["axes"], cell["space"]))
        if not described:
            study.undescribed.append(place)
            continue
        for path in sorted(place.iterdir()):
            try:
                record = read_run(path) if path.name.startswith(layout.RUN_PREFIXES) else None
                if record is not None:
                    study.rows[path] = row(record, *described)
                    study.records[path] = record
            except DamagedFileError as error:
                study.damaged.append(error)
            except KeyError as error:
                study.damaged.append(DamagedFileError(path / layout.RESULT, f"its config lacks {error}"))
    return study


def cell_folders(folder: Path) -> list[Path]:
    """Folders below a study's that hold a cell's record or runs, in alphabetical order."""
    folders = []
    for place, below, names in os.walk(folder):
        if layout.CELL in names or any(name.startswith(layout.RUN_PREFIXES) for name in below):
            folders.append(Path(place))
        below[:] = [name for name in below if not name.startswith((*layout.RUN_PREFIXES, ".", layout.FIGURES))]
    return sorted(folders)


def read_cells(folder: Path) -> dict[Path, dict[str, Any]]:
    """The record of every cell below a study's folder, by the cell's folder, without damaged ones."""
    if (kept := files.read_json(folder / layout.CELL_RECORDS)) is not None:
        return {folder / place: cell for place, cell in kept.items()}
    cells = {}
    for place in cell_folders(folder):
        with contextlib.suppress(DamagedFileError):  # `missing.complaints` names it
            if (cell := read_cell(place)) is not None and not _belongs(folder, place, cell):
                cells[place] = cell
    return cells


def _belongs(folder: Path, place: Path, cell: Mapping[str, Any]) -> str:
    """The name of the folder that a cell's record belongs into, where that is not the one that it lies in."""
    own = Path(*layout.cell_parts(cell["axes"]))
    return "" if place == folder / own else str(own)


def read_cell(folder: Path) -> dict[str, Any] | None:
    """The cell.json in a cell's folder, None where there is none; DamagedFileError where it lacks anything."""
    return _checked(folder / layout.CELL, keys=dict, axes=dict, space=dict)


def read_description(folder: Path) -> dict[str, Any] | None:
    """The study.json in a study's folder, None where there is none; DamagedFileError where it lacks anything."""
    return _checked(folder / layout.STUDY, axes=list)


def known_axes(folder: Path) -> list[str] | None:
    """The axes' columns of a study: of study.json or, where that is gone, of a cell; None for a new one."""
    description = read_description(folder)
    if description is not None:
        return list(description.get("grid", description["axes"]))
    return next((list(cell["axes"]) for cell in read_cells(folder).values()), None)


def read_run(folder: Path) -> dict[str, Any] | None:
    """The result.json in a run's folder, None where there is none; DamagedFileError where it is of another run."""
    path = folder / layout.RESULT
    record = files.read_json(path, is_sealed=True)
    if record is not None and layout.run_folder(record["stage"], record["number"]) != folder.name:
        raise DamagedFileError(path, f"it is the record of {record['stage']} {record['number']}")
    return record


def _checked(path: Path, **kinds: type) -> dict[str, Any] | None:
    """The content of a file, which any program may write: refused without a key, or with a value of another type."""
    if (content := files.read_json(path)) is None:
        return None
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            raise DamagedFileError(path, f"its `{key}` is {content.get(key)!r}")
    return content


def row(record: Mapping[str, Any], axes: Mapping[str, Any], tuned: Mapping[str, Any]) -> dict[str, Any]:
    """A row of trials.csv from a record, the cell's axes and its tuned keys; `branch_rows` makes several of some."""
    settings = {column_of(key): record["config"][key] for key in tuned}
    head = {key: record[key] for key in ("stage", "number", "seed", "origin", "state", "seconds", "error")}
    if "seed" in axes:
        head[RUN_SEED] = head.pop("seed")
    result = dict(record["result"] or {})
    further = result.pop("off_distribution", {})
    more = {name: value for name, value in result.pop(MORE, {}).items() if name not in (*axes, *settings)}
    known = {**axes, **settings, **head, WANTED: _wanted(record["config"]), **result, **further}
    return {**known, **more, MORE: list(more)}


def _wanted(config: Mapping[str, Any]) -> list[float]:
    if config.get("regime.name") not in columns.BRANCHED:
        return []
    return [share for share in config["regime.branches"] if share <= config["regime.last"]]


def branch_rows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A run's row for each data size at which it was to decay; the row itself where it was to have no such branches.

    A finished branch counts, whatever happened to the run afterwards. An unfinished branch has the run's state and
    empty losses, and the first unfinished one is charged what the run spent on it. Wall time is shared out in
    proportion to FLOPs.
    """
    if not row.get(WANTED):
        return [dict(row)]
    finished = {branch[BRANCH]: branch for branch in row.get("branches") or ()}
    total = row.get("flops_spent") or 0
    rest = total - sum(branch["flops_spent"] for branch in finished.values())
    empty = {key: value for key, value in row.items() if key not in RESULT_COLUMNS or key in PER_MODEL}
    rows = []
    for share in row[WANTED]:
        if share in finished:
            rows.append({**empty, **finished[share], "state": COMPLETE})
        else:
            rows.append({**empty, BRANCH: share, "flops_spent": rest})
            rest = 0
    for one in rows:
        part = one["flops_spent"] / total if total else 1 / len(rows)
        one["seconds"] = None if row["seconds"] is None else row["seconds"] * part
    return rows

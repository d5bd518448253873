"""Run folders: what was measured, one result.json a run, from which the tables are built.

    multirun/<name>/study.json
    multirun/<name>/width=16/data_fraction=0.25/cell.json
                                               /trial-003/result.json
                                               /repeat-000/result.json

A record is written by the run itself before anything else learns of it, so whatever dies later
(the tuner, its storage, the machine), a finished run is never lost and never run twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnist_scaling.study import columns, files, layout
from mnist_scaling.study.columns import RUN_SEED, column_of

WANTED = "wanted_branches"
"""In a row, no column: the shares at which the run was to end a decay; empty for most regimes."""


def read_study(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every run recorded below a study's folder: the run's folder, and its row for trials.csv."""
    for cell_file in sorted(folder.rglob(layout.CELL)):
        cell = files.read_json(cell_file) or {}
        for path in sorted(cell_file.parent.glob(f"*/{layout.RESULT}")):
            record = files.read_json(path)
            if record is not None:
                yield path.parent, row(record, cell["axes"], cell["space"])


def row(record: Mapping[str, Any], axes: Mapping[str, Any], tuned: Mapping[str, Any]) -> dict[str, Any]:
    """A row of trials.csv from a record; `branches.expand` makes several of it where the run has branches.

    Parameters
    ----------
    record : mapping
        Content of a result.json.
    axes : mapping
        The cell's columns and values.
    tuned : mapping
        Tuned config keys (values are not used).
    """
    settings = {column_of(key): record["config"][key] for key in tuned}
    head = {key: record[key] for key in ("stage", "number", "seed", "origin", "state", "seconds", "error")}
    if "seed" in axes:
        head[RUN_SEED] = head.pop("seed")
    return {**axes, **settings, **head, WANTED: _wanted(record["config"]), **(record["result"] or {})}


def _wanted(config: Mapping[str, Any]) -> list[float]:
    if config.get("regime.name") not in columns.BRANCHED:
        return []
    return [share for share in config["regime.branches"] if share <= config["regime.last"]]

"""The rows of all runs of a study, each read once from the run's record."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, layout, missing, records
from mnist_scaling.study.columns import column_of
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.study.tables import branches, trials_and_cells
from mnist_scaling.study.vocabulary import FAILED, TRIAL
from mnist_scaling.tuning.grid.partitioning import Cell
from mnist_scaling.tuning.workers.job import Job

LAST = "regime.last"
"""Config key of the largest data size that a run with branches goes to."""


class Ledger:
    """The rows of trials.csv by run folder, kept cell by cell.

    Damaged records are set aside and missing ones are said, on stderr: the runs are made again like any that is
    missing, and `CellTuner` writes the cells' records anew.

    Parameters
    ----------
    folder : Path
        multirun/<name>.
    cells : sequence of Cell
        Those of the sweep; their rows need no cell.json.
    """

    def __init__(self, folder: Path, cells: Sequence[Cell] = ()) -> None:
        self.folder = folder
        self._cells: dict[Path, dict[Path, dict[str, Any]]] = {}
        known = {folder / cell.folder: (cell.axes, cell.space) for cell in cells}
        found = records.read_study(folder, known)
        for error in found.damaged:
            again = "and its run is made again" if error.path.name == layout.RESULT else "and is written anew"
            outside = error.path.name == layout.CELL and error.path.parent in found.undescribed
            files.set_aside(error, "and is written by the next sweep of this cell" if outside else again)
        for place in found.undescribed:
            _warn(f"{place} has no {layout.CELL}: the tables are without it until a sweep of this cell.")
        if gone := missing.lost_runs(folder, found):
            _warn(f"{gone}: what this sweep needs of it is made again.")
        for path, row in found.rows.items():
            self._cells.setdefault(path.parent, {})[path] = row

    @property
    def rows(self) -> Mapping[Path, Mapping[str, Any]]:
        """Every row by its run's folder."""
        return {path: row for rows in self._cells.values() for path, row in rows.items()}

    def record_path(self, cell: Cell, stage: str, index: int) -> Path:
        """Where the record of a run lies."""
        return self.folder / cell.folder / layout.run_folder(stage, index) / layout.RESULT

    def row(self, job: Job) -> dict[str, Any] | None:
        """The row of a job's record; None while there is none."""
        path = self.folder / job.folder
        rows = self._cells.setdefault(path.parent, {})
        if path not in rows:
            record = self._record(path)
            if record is None:
                return None
            rows[path] = records.row(record, job.cell.axes, job.cell.space)
        return rows[path]

    def cell(self, cell: Cell, stage: str) -> list[dict[str, Any]]:
        """The rows of a cell's runs of one stage, in the order of their numbers."""
        rows = self._cells.get(self.folder / cell.folder, {}).values()
        return sorted((row for row in rows if row["stage"] == stage), key=lambda row: row["number"])

    def selected(self, cell: Cell) -> dict[str, Any] | None:
        """The setting of a cell's best trial, by config key; None while none is complete."""
        best = trials_and_cells.best_trial(self.cell(cell, TRIAL))
        if best is None:
            return None
        return {key: best[column_of(key)] for key in cell.space}

    def to_repeat(self, cell: Cell) -> list[dict[str, Any]]:
        """The settings to repeat: the selected one, or those of all branches, each no further than needed."""
        settings = []
        for number, last in branches.selected(self.cell(cell, TRIAL)).items():
            row = next(row for row in self.cell(cell, TRIAL) if row["number"] == number)
            setting = {key: row[column_of(key)] for key in cell.space}
            settings.append(setting if last is None else setting | {LAST: last})
        return settings

    def make_room(self, job: Job) -> None:
        """Make room for a run: the record of a failed attempt goes, but never that of a finished run.

        Raises
        ------
        InputError
            When there is one, of which the caller did not know.
        """
        path = self.folder / job.folder
        record = self._record(path)
        if record is not None and record["state"] != FAILED:
            raise InputError(
                f"A finished run must not be overwritten, but {path / layout.RESULT} holds one of another setting than "
                "this sweep is about to run there: give the new study another `name=`, or move that folder away."
            )
        self._remove_record(job)

    def _remove_record(self, job: Job) -> None:
        path = self.folder / job.folder
        self._cells.get(path.parent, {}).pop(path, None)
        (path / layout.RESULT).unlink(missing_ok=True)
        files.remove_leftovers(path / layout.RESULT)

    def delete(self, job: Job) -> None:
        """Remove a run and its folder: one that failed with all others, or a repeat of an older selection."""
        self._remove_record(job)
        shutil.rmtree(self.folder / job.folder, ignore_errors=True)

    def record_failure(self, job: Job, error: str | None) -> None:
        """Record a run that left no record twice as FAILED, so that the study goes on."""
        record = {
            "stage": job.stage,
            "number": job.index,
            "seed": job.seed,
            "origin": job.origin,
            "state": FAILED,
            "seconds": None,
            "error": f"it left no record twice: {error or 'its process died, or refused its configuration'}",
            "config": {key: job.settings.get(key, value) for key, value in job.cell.values.items()},
            "result": None,
        }
        files.write_sealed(self.folder / job.folder / layout.RESULT, record)
        self.row(job)

    def _record(self, folder: Path) -> dict[str, Any] | None:
        try:
            return records.read_run(folder)
        except DamagedFileError as error:
            files.set_aside(error, "and its run is made again")
            return None


def known_axes(folder: Path) -> list[str] | None:
    """`records.known_axes`; a damaged study.json is set aside, and the sweep writes it anew."""
    try:
        return records.known_axes(folder)
    except DamagedFileError as error:
        files.set_aside(error, "and is written anew")
        return records.known_axes(folder)


def _warn(sentence: str) -> None:
    print(f"Warning: {sentence}", file=sys.stderr)

"""The records of a study, in a folder that one sweep holds: read once, written as runs end, each of its own cell."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, identity, layout, missing, records
from mnist_scaling.study.columns import COMPLETE, FAILED, TRIAL, column_of
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.trial import RepeatRun, Trial, repeat_from_record, trial_from_record
from mnist_scaling.tuning.workers.job import Job, Outcome
from mnist_scaling.tuning.workers.perform import of_job


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Make a study's folder and hold its lock: a study takes one sweep at a time."""
    lock, owner = FileLock(folder / layout.LOCK), folder / layout.OWNER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        who = owner.read_text() if owner.exists() else "another process"
        raise InputError(
            f"A study takes one sweep at a time, but {who} is running {folder}: wait for it, or give "
            "this one another `name=`."
        ) from error
    except OSError as error:
        raise InputError(
            f"The study's folder must be writable, but {folder} is not ({error.strerror}): mend its permissions, or "
            "run from another directory."
        ) from error
    with lock:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)


class Ledger:
    """The records below a study's folder, and their rows for trials.csv.

    Damaged records are set aside and missing ones are said, on stderr: the runs are made again like any that is
    missing. A record of another configuration than its cell is refused, and so is a folder that is a link.
    """

    def __init__(self, folder: Path, cells: Sequence[Cell] = ()) -> None:
        self.folder = folder
        self._cells = {folder / cell.folder: cell for cell in cells}
        _refuse_links(folder, self._cells)
        study = records.read_study(folder, {place: (cell.axes, cell.space) for place, cell in self._cells.items()})
        self.rows: dict[Path, dict[str, Any]] = study.rows
        """A run's folder to its row."""
        self._trials: dict[Path, dict[int, Trial]] = {place: {} for place in self._cells}
        self._repeats: dict[Path, dict[int, RepeatRun]] = {place: {} for place in self._cells}
        for path, record in study.records.items():
            if path.parent in self._cells:
                try:
                    self._note(path, record)
                except (KeyError, ValueError) as error:
                    if isinstance(error, InputError):
                        raise
                    study.damaged.append(DamagedFileError(path / layout.RESULT, f"it has no setting ({error})"))
                    del self.rows[path]
        if gone := missing.lost_runs(folder):
            _warn(f"{gone}: what this sweep needs of it is made again.")
        for damage in study.damaged:
            again = "and its run is made again" if damage.path.name == layout.RESULT else "and is written anew"
            outside = damage.path.name == layout.CELL and damage.path.parent in study.undescribed
            files.set_aside(damage, "and is written by the next sweep of this cell" if outside else again)
        for place in study.undescribed:
            _warn(f"{place} has no {layout.CELL}: the tables are without it until a sweep of this cell.")
        for place, own in study.misplaced.items():
            _warn(missing.MISPLACED.format(place=place, own=own))

    def _note(self, path: Path, record: Mapping[str, Any]) -> None:
        """Take in a record of a cell of the sweep."""
        cell = self._cells[path.parent]
        is_trial = record["stage"] == TRIAL
        _check(path, record["config"], cell, () if is_trial else (cell.task.seed, cell.task.last))
        if is_trial:
            self._trials[path.parent][record["number"]] = trial_from_record(record, cell)
        else:
            self._repeats[path.parent][record["number"]] = repeat_from_record(record, cell)

    def trials(self, cell: Cell) -> list[Trial]:
        """A cell's finished trials, in the order of their numbers."""
        known = self._trials[self.folder / cell.folder]
        return [known[index] for index in sorted(known)]

    def repeats(self, cell: Cell) -> list[RepeatRun]:
        """A cell's finished repeats, in the order of their numbers."""
        known = self._repeats[self.folder / cell.folder]
        return [known[number] for number in sorted(known)]

    def row(self, job: Job) -> dict[str, Any] | None:
        """The row of a job's record; None while there is none."""
        return self.rows.get(self.folder / job.folder)

    def cell_rows(self, cell: Cell) -> list[dict[str, Any]]:
        """The rows of a cell's trials, in the order of their numbers."""
        folder = self.folder / cell.folder
        return [self.rows[folder / layout.run_folder(TRIAL, trial.index)] for trial in self.trials(cell)]

    def keep(self, job: Job, outcome: Outcome) -> None:
        """Write what came back of a run into its folder: the record last."""
        folder = self.folder / job.folder
        assert outcome.record is not None
        for name, content in outcome.files.items():
            with files.replacing(folder / Path(name).name) as file:
                file.write(content)
        self._write(folder, _named_apart(outcome.record, self._cells[folder.parent]))

    def fail(self, job: Job, values: Mapping[str, Any], error: str | None) -> None:
        """Record a run that left no record twice as FAILED, so that the study goes on; `values` are its cell's."""
        said = f"it left no record twice: {error or 'its process died, or refused its configuration'}"
        record = records.make_record(job.stage, job.seed, FAILED, {**values, **job.settings}, error=said)
        self._write(self.folder / job.folder, of_job(record, job, job.notes))

    def _write(self, folder: Path, record: Mapping[str, Any]) -> None:
        files.remove_leftovers(folder / layout.RESULT)  # of a sweep that was killed
        files.write_sealed(folder / layout.RESULT, record)
        cell = self._cells[folder.parent]
        self._note(folder, record)
        self.rows[folder] = records.row(record, cell.axes, cell.space)

    def delete(self, cell: Cell, stage: str, index: int) -> None:
        """Remove a run that failed with all others, and its folder."""
        place = self.folder / cell.folder
        folder = place / layout.run_folder(stage, index)
        self.rows.pop(folder, None)
        (self._trials if stage == TRIAL else self._repeats)[place].pop(index, None)  # type: ignore[attr-defined]
        (folder / layout.RESULT).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _named_apart(record: dict[str, Any], cell: Cell) -> dict[str, Any]:
    """A run's record; as failed, where its program measured something by the name of a swept or a tuned key."""
    further = (record["result"] or {}).get(records.MORE, ())
    taken = sorted({*further} & {column_of(key) for key in (*cell.keys, *cell.space)})
    if not taken or record["state"] != COMPLETE:
        return record
    error = (
        f"A further number must have a name that no swept or tuned key has, but the run returned `{taken[0]}`: "
        "give it another one."
    )
    return {**record, "state": FAILED, "result": None, "error": error}


def _refuse_links(folder: Path, places: Iterable[Path]) -> None:
    """Refuse cells and runs that are links: what lies behind them is another study's, and would be written over."""
    for place in places:
        between = [path for path in (place, *place.parents) if folder in path.parents]
        for path in (*between, *(place.iterdir() if place.is_dir() else ())):
            if path.is_symlink():
                raise InputError(
                    f"A study must hold its own cells and runs, but {path} is a link to {path.readlink()}: put a copy "
                    "in its place, or remove it."
                )


def _check(path: Path, config: Mapping[str, Any], cell: Cell, varying: Sequence[str]) -> None:
    """Refuse a record of another configuration than its cell's."""
    left_out = (*cell.space, *cell.following, *varying, *cell.task.no_effect)
    mine = identity.settings(config, cell.defaults, left_out)
    if unlike := identity.differences(mine, cell.settings, cell.defaults, left_out):
        raise InputError(
            f"A record must be its study's own, but {path / layout.RESULT} differs from cell '{cell.name}': "
            f"{', '.join(unlike)}; move it away, or set the configuration back."
        )


def _warn(sentence: str) -> None:
    print(f"Warning: {sentence}", file=sys.stderr)

"""The whole study: which cell is ready, which job is next, what follows when a job dies, and the tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from mnist_scaling.errors import InputError
from mnist_scaling.study import identity
from mnist_scaling.study.vocabulary import FAILED, INDEPENDENT, TRIAL
from mnist_scaling.tuning.cell import certificate, transfer
from mnist_scaling.tuning.cell.cell_study import CellStudy
from mnist_scaling.tuning.cell.cell_tuner import CellTuner, Effort
from mnist_scaling.tuning.cell.transfer import Tuned
from mnist_scaling.tuning.cell.trials import counting
from mnist_scaling.tuning.grid.partitioning import Cell
from mnist_scaling.tuning.stored import reconcile
from mnist_scaling.tuning.sweep import write_tables
from mnist_scaling.tuning.sweep.ledger import Ledger, known_axes
from mnist_scaling.tuning.sweep.progress import CellLeft, StudyProgress, polling
from mnist_scaling.tuning.sweep.queue import Queue
from mnist_scaling.tuning.sweep.silence import Silence
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Job
from mnist_scaling.tuning.workers.pool import Pool

_WAIT_SECONDS = 10.0
"""Time without an ended job after which the tables are looked at all the same."""

_TABLES_SHARE = 20
"""Tables are written again only after this many times the time that it takes."""

_FAILURES = 3
"""Failed runs in a row, with none that worked between them, after which the set-up is at fault."""


class Tuner:
    """Tunes the cells of a study and keeps its tables.

    Parameters
    ----------
    folder : Path
        multirun/<name>.
    studies : list of CellStudy
        One per cell of the grid.
    pool : Pool
        Runs jobs; opened and closed by the caller.
    effort : Effort
        Trials and repeats per cell.
    rule : {"neighbours", "independent"}
        How cells start from cheaper ones (`transfer.parents`).
    provenance : mapping, optional
        How the study was made, for study.json.
    check : callable, optional
        Called before runs are handed over; raises when this sweep may not go on (`Lease.check`).
    """

    def __init__(
        self,
        folder: Path,
        studies: Sequence[CellStudy],
        pool: Pool,
        effort: Effort,
        rule: str = INDEPENDENT,
        provenance: Mapping[str, Any] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder, self.pool, self.effort, self._check = folder, pool, effort, check
        self.provenance = provenance or {}
        self.ledger = Ledger(folder, [study.cell for study in studies])
        self.cells = {study.cell.name: CellTuner(study, self.ledger, effort) for study in studies}
        given = [cell.cell for cell in self.cells.values()]
        found = transfer.parents(given, rule)
        self.parents = {name: [self.cells[cell.name] for cell in found.get(name, [])] for name in self.cells}
        self._queue = Queue(self.cells, self.parents, effort.n_trials)
        for cell in self.cells.values():
            cell.study.neighbour_trials = partial(self._neighbour_trials, cell)
        self._failed: list[Job] = []
        self._fault: str | None = None
        self._busy: set[str] = set()
        self._silence = Silence()
        self._certified: set[str] = set()
        self._written, self._writing = 0.0, 0.0

    def run(self) -> None:
        """Tune until every cell has its trials and its repeats; finished runs are never made again.

        Raises
        ------
        InputError
            When the study's records and its storage contradict each other.
        MachineError
            When the machine is at fault, once the runs that were under way have ended.
        RuntimeError
            When run after run fails: then the set-up is at fault, not a setting.
        """
        reconcile.reconcile([cell.study for cell in self.cells.values()], self.ledger, self.effort.trials_per_batch)
        for cell in self.cells.values():
            cell.recover()
        self.progress = self._make_progress()
        with self.progress:
            try:
                while self._fill():
                    self._settle(self._wait())
                    self._write_tables(seldom=True)
                if self._fault is not None:
                    raise faults.from_text(self._fault)
                for cell in self.cells.values():
                    self._certify(cell)
            finally:
                self._write_tables()

    def _fill(self) -> bool:
        """Hand over jobs while there is room; whether any job is under way."""
        self._check()
        room = self.pool.free()  # raises where the pool itself has ended, also while a fault's last runs are waited for
        if self._fault is not None:
            room = 0
        for cell in self._queue.tuning():
            if room is not None and room <= 0:
                break
            if not cell.running:
                self._open(cell)
                room = self._submit(cell, cell.next_trials(), room)
        # A round ends with its longest job, and trials must not wait for a repeat.
        longest = None if self.pool.isolates else self._longest()
        # No job waits for a repeat, so repeats take the places that trials leave free.
        for cell in self._queue.repeating():
            if room is not None and room <= 0:
                break
            if longest is None or cell.cell.cost <= longest:
                room = self._submit(cell, cell.next_repeats(), room)
                self._queue.repeated(cell)
        return bool(self._busy)

    def _longest(self) -> float | None:
        """Cost of the longest run under way."""
        return max((job.cell.cost for name in self._busy for job in self.cells[name].running), default=None)

    def _submit(self, cell: CellTuner, jobs: list[Job], room: int | None) -> int | None:
        jobs = [job for job in jobs if not self._is_done(job)]
        if jobs:
            self._busy.add(cell.cell.name)
        for job in jobs:
            self.ledger.make_room(job)
            self._silence.started(str(job.folder))
            self.pool.submit(job)
        return None if room is None else room - len(jobs)

    def _is_done(self, job: Job) -> bool:
        """Whether a run has its record by now: a worker may outlive its sweep and leave one to the next sweep."""
        row = self.ledger.row(job)
        if row is None or not reconcile.same_setting(job.params, row):
            return False
        self.cells[job.cell.name].ended(job)
        return True

    def _open(self, cell: CellTuner) -> None:
        """Fix a cell's first settings, once all cells that it waits for are tuned."""
        if not cell.study.opened:
            known = [tuned for parent in self.parents[cell.cell.name] if (tuned := self._tuned(parent)) is not None]
            cell.open(transfer.settings(cell.cell, known))

    def _neighbour_trials(self, cell: CellTuner, own: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials of the cells that a cell waited for, as if they were its own."""
        found: list[FrozenTrial] = []
        here = replace(cell.cell, space=cell.study.space)
        for parent in self.parents[cell.cell.name]:
            tuned = self._tuned(parent)
            if tuned is not None:
                found += transfer.shifted_trials(here, own, tuned, counting(parent.study.study))
        return found

    def _tuned(self, cell: CellTuner) -> Tuned | None:
        setting = self.ledger.selected(cell.cell)
        return None if setting is None else Tuned(cell.cell, setting)

    def _wait(self) -> list[tuple[Job, str | None]]:
        if self.pool.isolates:
            ended = self.pool.wait(_WAIT_SECONDS)
            self._say_if_silent()
            return ended
        waiting = [job for cell in self.cells.values() for job in cell.running]

        def look() -> None:
            for job in list(waiting):
                if self.ledger.row(job) is not None:
                    waiting.remove(job)
                    self._silence.ended(str(job.folder))
                    self._show(job)
            self._say_if_silent()

        with polling(look):
            return self.pool.wait(_WAIT_SECONDS)

    def _settle(self, ended: list[tuple[Job, str | None]]) -> None:
        """Take in the records of jobs. A run without one is tried once more, alone, and then recorded as failed."""
        for job, _ in ended:
            self._silence.ended(str(job.folder))
        lost = self._without_faults([(job, error) for job, error in ended if self.ledger.row(job) is None])
        again = [self.cells[job.cell.name].again(job) for job, _ in lost if not job.alone]
        for job, error in lost:
            if job.alone:
                self.ledger.record_failure(job, error)
        settled = [job for job, _ in ended if self.ledger.row(job) is not None]
        for job in settled:
            self.cells[job.cell.name].ended(job)
            if self.pool.isolates:
                self._show(job)
        self._judge(settled)
        for cell in {job.cell.name: self.cells[job.cell.name] for job in settled}.values():
            if cell.tuned and not cell.running:
                self._certify(cell)
        self._busy -= {job.cell.name for job, _ in ended if not self.cells[job.cell.name].running}
        for job in again:
            self._silence.started(str(job.folder))
            self.pool.submit(job)
            if not self.pool.isolates:
                self._settle(self.pool.wait(_WAIT_SECONDS))

    def _without_faults(self, lost: list[tuple[Job, str | None]]) -> list[tuple[Job, str | None]]:
        """The runs whose missing record is their own fault: none after a fault of the machine, which ends the sweep."""
        self._fault = self._fault or next((error for _, error in lost if faults.is_text(error)), None)
        if self._fault is None:
            return lost
        for job, _ in lost:  # the resumed sweep makes all of them again
            self.cells[job.cell.name].ended(job)
        return []

    def _judge(self, settled: list[Job]) -> None:
        """Stop after several failures in a row, because a fault of the set-up must not count as trials."""
        failed = [job for job in settled if (self.ledger.row(job) or {})["state"] == FAILED]
        self._failed = self._failed + failed if len(failed) == len(settled) else []
        if len(self._failed) < _FAILURES:
            return
        error = (self.ledger.row(self._failed[0]) or {})["error"]
        for job in self._failed:
            self.ledger.delete(job)
            if job.stage == TRIAL:
                self.cells[job.cell.name].reclaim(job)
        raise RuntimeError(f"{len(self._failed)} runs in a row failed, the first with:\n{error}")

    def _show(self, job: Job) -> None:
        row = self.ledger.row(job) or {}
        self.progress.seen(job.stage, job.cell.name, row.get("seconds"), row.get("val_loss"))

    def _say_if_silent(self) -> None:
        if (word := self._silence.message()) is not None:
            self.progress.console.print(word, highlight=False, soft_wrap=True)

    def _write_tables(self, seldom: bool = False) -> None:
        start = time.monotonic()
        if seldom and start - self._written < max(_TABLES_SHARE * self._writing, 1.0):
            return
        write_tables.write(self.folder, self.ledger.rows, self.provenance)
        self.progress.line()
        self._written = time.monotonic()
        self._writing = self._written - start

    def _certify(self, cell: CellTuner) -> None:
        """Write a tuned cell's importances, while other cells keep the cores busy."""
        if cell.study.opened and cell.cell.name not in self._certified:
            cell.write(importances=certificate.importances(cell.study.space, counting(cell.study.study)))
            self._certified.add(cell.cell.name)

    def _make_progress(self) -> StudyProgress:
        left = {
            name: CellLeft(cell.trials_left, cell.repeats_left(), cell.cell.cost) for name, cell in self.cells.items()
        }
        return StudyProgress(left, self.pool.workers())


def join(folder: Path, cells: Sequence[Cell], not_yet_known: Iterable[str] = ()) -> dict[str, Any]:
    """Check that cells may join the study in a folder; its identity, for study.json.

    This comes before any of them has an Optuna study, so that a refused sweep leaves nothing behind.

    Parameters
    ----------
    folder : Path
        multirun/<name>.
    cells : sequence of Cell
    not_yet_known : iterable of str
        Config keys that are not compared.

    Raises
    ------
    InputError
        When they differ along other axes than the study's cells, or in anything else.
    """
    had, axes = known_axes(folder), list(cells[0].axes)
    if had is not None and had != axes:
        raise InputError(
            f"A study must keep the axes of its grid, but {folder} has {', '.join(had) or 'none'} "
            f"and this sweep has {', '.join(axes) or 'none'}: give the new study another `name=`."
        )
    mine = identity.of([(cell.settings, cell.ranges, cell.keys) for cell in cells])
    return {identity.IDENTITY: identity.check(folder, mine, cells[0].defaults, not_yet_known).record()}

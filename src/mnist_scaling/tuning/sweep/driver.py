"""The whole study: which cell is ready, which job is next, what follows when a job dies, and the tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import FAILED, TRIAL
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.sweep import study_tables
from mnist_scaling.tuning.sweep.announcement import CellLeft, StudyProgress
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.sweep.next_jobs import CellState, Method, longest_chains, parents
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Job, Outcome, Workers

if TYPE_CHECKING:
    from mnist_scaling.tuning.optuna_mirror import Mirror

_WAIT_SECONDS = 10.0
"""Time without an ended job after which the tables are looked at all the same."""

_TABLES_SHARE = 20
"""Tables are written again only after this many times the time that it takes."""

_FAILURES = 3
"""Failed runs in a row, with none that worked between them, after which the set-up is at fault."""


class Driver:
    """Tunes the cells of a study and keeps its tables; the mirror is told of every finished trial."""

    def __init__(
        self,
        folder: Path,
        cells: Sequence[Cell],
        method: Method,
        provenance: Mapping[str, Any] | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self.folder, self._provenance, self._mirror = folder, provenance or {}, mirror
        self.ledger = Ledger(folder, cells)
        self.cells = {cell.name: CellState(cell, self.ledger, method) for cell in cells}
        cheaper = parents(cells, method.transfer)
        self.parents = {name: [self.cells[cell.name] for cell in cheaper[name]] for name in self.cells}
        self._running: dict[Future[Outcome], Job] = {}
        self._failed: list[tuple[Job, Mapping[str, Any]]] = []
        self._fault: str | None = None
        self._written, self._writing = 0.0, 0.0

    def is_finished(self) -> bool:
        """Whether no run is left to do."""
        return all(cell.trials_done and not cell.repeats_left for cell in self.cells.values())

    def finish(self) -> None:
        """Write whatever a finished study lacks beside its records; study.json stays that of the sweep that trained."""
        for cell in self.cells.values():
            cell.complete_description()
        provenance = files.read_json(self.folder / layout.STUDY) or self._provenance
        study_tables.write(self.folder, self.ledger.rows, provenance)

    def run(self, workers: Workers) -> None:
        """Tune until every cell has its trials and its repeats; finished runs are never made again.

        It raises MachineError when the machine is at fault, once the runs that were under way have ended, and
        SetUpError when run after run fails: then the set-up is at fault, not a setting.
        """
        self._workers = workers
        cells = self.cells.items()
        left = {name: CellLeft(cell.trials_left, cell.repeats_left, cell.cell.cost) for name, cell in cells}
        self.progress = StudyProgress(left, workers.count())
        with self.progress.bar:
            try:
                while self._fill():
                    self._settle(self._ended())
                    self._write_tables(seldom=True)
                if self._fault is not None:
                    raise faults.from_text(self._fault)
                for cell in self.cells.values():
                    cell.complete_description()
            finally:
                self._write_tables()

    def _fill(self) -> bool:
        """Hand over jobs while there is room; whether any job is under way."""
        room = self._workers.room() if self._fault is None else 0
        for cell in [cell for cell in self._by_chain if not cell.trials_done and self._is_ready(cell)]:
            if room is not None and room <= 0:
                break
            room = self._submit(cell.next_trials(self.parents[cell.cell.name]), room)
        # A round ends with its longest job, and trials must not wait for a repeat.
        longest = None if self._workers.isolates else max((job.cost for job in self._running.values()), default=None)
        # No job waits for a repeat, so repeats take the places that trials leave free.
        for cell in [cell for cell in self._by_cost if cell.trials_done and not cell.asked_repeats]:
            if room is not None and room <= 0:
                break
            if longest is None or cell.cell.cost <= longest:
                jobs = cell.next_repeats()
                # Fewer than were foreseen where the untuned setting is the one that was selected.
                self.progress.cells[cell.cell.name].repeats = len(jobs)
                room = self._submit(jobs, room)
        return bool(self._running)

    def _is_ready(self, cell: CellState) -> bool:
        return all(parent.trials_done for parent in self.parents[cell.cell.name])

    @cached_property
    def _by_cost(self) -> list[CellState]:
        return sorted(self.cells.values(), key=lambda cell: -cell.cell.cost)

    @cached_property
    def _by_chain(self) -> list[CellState]:
        """Cells by the longest chain of cells that wait for them; equal ones in the order of the grid."""
        after: dict[str, list[str]] = {name: [] for name in self.cells}
        for name, parents_of in self.parents.items():
            for parent in parents_of:
                after[parent.cell.name].append(name)
        chain = longest_chains(after, {name: state.cell.cost for name, state in self.cells.items()})
        return sorted(self.cells.values(), key=lambda state: -chain[state.cell.name])

    def _submit(self, jobs: Sequence[Job], room: int | None) -> int | None:
        for job in jobs:
            self.progress.cells[job.cell].begun = True
            self._running[self._workers.submit(job)] = job
        return None if room is None else room - len(jobs)

    def _ended(self) -> list[tuple[Job, Outcome]]:
        """Jobs that ended, their records kept; may be empty after some seconds."""
        self._workers.flush()
        done = wait(self._running, _WAIT_SECONDS, FIRST_COMPLETED).done
        ended = [(job, future.result()) for future, job in self._running.items() if future in done]
        for job, outcome in ended:
            self._keep(job, outcome)
        self._running = {future: job for future, job in self._running.items() if future not in done}
        return ended

    def _keep(self, job: Job, outcome: Outcome) -> None:
        """Write a run's record, if it left one, and tell who watches."""
        if outcome.record is not None:
            self.ledger.keep(job, outcome)
            self._show(job)

    def _show(self, job: Job) -> None:
        row = self.ledger.row(job) or {}
        self.progress.seen(job.stage, job.cell, row.get("val_loss"))
        if self._mirror is not None and job.stage == TRIAL:
            cell = self.cells[job.cell].cell
            self._mirror.show([(cell, self.ledger.trials(cell))])

    def _settle(self, ended: Sequence[tuple[Job, Outcome]]) -> None:
        """Go on from jobs that ended. A run without a record is tried once more, then recorded as failed."""
        unrecorded = [(job, outcome.error) for job, outcome in ended if outcome.record is None]
        self._fault = self._fault or next((error for _, error in unrecorded if faults.is_text(error)), None)
        again: list[Job] = []
        for job, error in unrecorded if self._fault is None else ():  # after a fault the resumed sweep makes them again
            if job.is_second_attempt:
                self.ledger.fail(job, self.cells[job.cell].cell.values, error)
                self._show(job)
            else:
                again.append(replace(job, is_second_attempt=True))
        for job, _ in ended:
            if all(other.folder != job.folder for other in again):
                self.cells[job.cell].ended(job)
        self._judge([(job, row) for job, _ in ended if (row := self.ledger.row(job)) is not None])
        for cell in {job.cell: self.cells[job.cell] for job, _ in ended}.values():
            if cell.trials_done and not cell.running:
                cell.complete_description()  # while other cells keep the workers busy
        for job in again:
            self._submit([job], None)
            if not self._workers.isolates:
                self._settle(self._ended())

    def _judge(self, settled: Sequence[tuple[Job, Mapping[str, Any]]]) -> None:
        """Stop after several failures in a row, because a fault of the set-up must not count as trials."""
        failed = [(job, row) for job, row in settled if row["state"] == FAILED]
        self._failed = [*self._failed, *failed] if len(failed) == len(settled) else []
        if len(self._failed) < _FAILURES:
            return
        error = self._failed[0][1]["error"]
        for job, _ in self._failed:
            self.ledger.delete(self.cells[job.cell].cell, job.stage, job.index)
        raise faults.SetUpError(f"{len(self._failed)} runs in a row failed, the first with:\n{error}")

    def _write_tables(self, seldom: bool = False) -> None:
        start = time.monotonic()
        if seldom and start - self._written < max(_TABLES_SHARE * self._writing, 1.0):
            return
        study_tables.write(self.folder, self.ledger.rows, self._provenance)
        self.progress.line()
        self._written = time.monotonic()
        self._writing = self._written - start

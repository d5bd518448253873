"""Faults that the crash simulator must see: each breaks one rule of docs/scaling_out.md in the shipped code.

A fault is a patch, so it harms the undisturbed sweep as well as those that are killed: it is seen where the two come to
different rows, where finished runs are run again, or where a promise is broken. A new one is an entry of `PLANTED`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler

from mnist_scaling.study import files, layout, records
from mnist_scaling.tuning.cell import next_settings
from mnist_scaling.tuning.cell.trial import RUNNING
from mnist_scaling.tuning.sweep import driver, ledger
from mnist_scaling.tuning.sweep.next_jobs import CellState
from mnist_scaling.tuning.workers.job import Job, Outcome

from . import simulated_workers

Fault = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Planted:
    """A fault, and the mode in which it does harm."""

    fault: Fault
    mode: str = "defaults"


def _in_place() -> AbstractContextManager[Any]:
    """Files are written where they lie, so that a kill may leave half of one."""

    @contextlib.contextmanager
    def replacing(path: Path) -> Iterator[io.BytesIO]:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        yield content
        half = len(content.getvalue()) // 2
        for mode, part in (("wb", content.getvalue()[:half]), ("ab", content.getvalue()[half:])):
            with path.open(mode) as file:
                file.write(part)

    return mock.patch.object(files, "replacing", replacing)


@contextlib.contextmanager
def _seeds_shifted_by(shift: Callable[[CellState], int]) -> Iterator[None]:
    """The sampler's seed depends on more than (seed, cell, index)."""
    ask, make, now = CellState.next_trials, next_settings._make_sampler, [0]

    def next_trials(self: CellState, neighbours: Sequence[CellState]) -> list[Job]:
        now[0] = shift(self)
        return ask(self, neighbours)

    def make_sampler(node: Any, cell: Any, index: int) -> BaseSampler:
        return make(node, cell, index + 1000 * now[0])

    asked = mock.patch.object(CellState, "next_trials", next_trials)
    with asked, mock.patch.object(next_settings, "_make_sampler", make_sampler):
        yield


def _faster_worker() -> AbstractContextManager[Any]:
    return _seeds_shifted_by(lambda cell: len(cell._ledger.rows))


def _another_setting() -> AbstractContextManager[Any]:
    return _seeds_shifted_by(lambda cell: len(cell._ledger.trials(cell.cell)))


def _pruner_sees(up_to: Callable[[int], int]) -> AbstractContextManager[Any]:
    """The pruner sees trials below an index that follows from the trial's own, instead of those of earlier rounds."""
    judge = CellState._pruning

    def pruning(self: CellState, trial: Any, known: Any) -> Any:
        single = replace(self._method, effort=replace(self._method.effort, trials_per_batch=1))
        with mock.patch.object(self, "_method", single):
            return judge(self, replace(trial, index=up_to(trial.index)), known)

    return mock.patch.object(CellState, "_pruning", pruning)


def _misplaced_accepted() -> AbstractContextManager[Any]:
    return mock.patch.object(ledger, "_check")


def _widened_again() -> AbstractContextManager[Any]:
    widen = next_settings._widened

    def widened(cell: Any, earlier: Any, before: Any, effort: Any, known: Any) -> Any:
        ranges, tested = widen(cell, earlier, before, effort, known)
        if known is None:
            return ranges, tested
        grown = {k: FloatDistribution(r.low, r.high * 10, log=True) for k, r in ranges.items() if r != before[k]}
        return {**ranges, **grown}, tested

    return mock.patch.object(next_settings, "_widened", widened)


def _later_seeds() -> AbstractContextManager[Any]:
    ask = next_settings.missing_repeats

    def missing_repeats(cell: Any, selected: Any, known: Any, n_repeats: int) -> Any:
        return [replace(r, seed=r.seed + len(known)) for r in ask(cell, selected, known, n_repeats)]

    return mock.patch.object(next_settings, "missing_repeats", missing_repeats)


def _no_lock() -> AbstractContextManager[Any]:
    return mock.patch.object(ledger, "opened", contextlib.nullcontext)


def _reports_lost() -> AbstractContextManager[Any]:
    read = records.read_run

    def read_run(folder: Path) -> dict[str, Any] | None:
        record = read(folder)
        result = (record or {}).get("result")
        return {**record, "result": {**result, "reports": result["reports"][-1:]}} if record and result else record

    return mock.patch.object(records, "read_run", read_run)


@contextlib.contextmanager
def _tables_of_this_sweep() -> Iterator[None]:
    make, write, old = driver.Driver.__init__, driver.study_tables.write, set[Path]()

    def init(self: driver.Driver, *given: Any) -> None:
        make(self, *given)
        old.clear()
        old.update(self.ledger.rows)

    def writing(folder: Path, rows: Mapping[Path, Any], provenance: Any) -> None:
        write(folder, {path: row for path, row in rows.items() if path not in old}, provenance)

    made = mock.patch.object(driver.Driver, "__init__", init)
    with made, mock.patch.object(driver.study_tables, "write", writing):
        yield


def _waits_for_nobody() -> AbstractContextManager[Any]:
    return mock.patch.object(driver.Driver, "_is_ready", return_value=True)


def _round_learns_from_itself() -> AbstractContextManager[Any]:
    ask = next_settings._proposed

    def proposed(current: Any, beside: Any, neighbours: Any, sampler: Any) -> Any:
        done = [trial for trial in beside if trial.state != RUNNING]
        others = [trial for trial in beside if trial.state == RUNNING]
        return ask(replace(current, earlier=[*current.earlier, *done]), others, neighbours, sampler)

    return mock.patch.object(next_settings, "_proposed", proposed)


def _failed_at_once() -> AbstractContextManager[Any]:
    settle = driver.Driver._settle

    def settled(self: driver.Driver, ended: Sequence[tuple[Job, Outcome]]) -> None:
        settle(self, [(replace(job, is_second_attempt=True), outcome) for job, outcome in ended])

    return mock.patch.object(driver.Driver, "_settle", settled)


def _worker_records() -> AbstractContextManager[Any]:
    perform = simulated_workers.perform

    def performed(parcel: Any, task: Any) -> Outcome:
        outcome = perform(parcel, task)
        if outcome.record is not None:
            files.write_sealed(Path(parcel.folder) / layout.RESULT, outcome.record)
        return outcome

    return mock.patch.object(simulated_workers, "perform", performed)


def _newest_forgotten() -> AbstractContextManager[Any]:
    read = records.read_study

    def read_study(*given: Any) -> Any:
        found = read(*given)
        for path in list(found.rows)[-1:]:
            del found.rows[path], found.records[path]
        return found

    return mock.patch.object(records, "read_study", read_study)


PLANTED = {
    "records are written in place": Planted(_in_place),
    "a changed digit is not seen": Planted(lambda: mock.patch.object(files, "is_unbroken", return_value=True)),
    "a record of another cell is accepted": Planted(_misplaced_accepted),
    "the faster worker decides": Planted(_faster_worker),
    "a lost trial is asked for again with another setting": Planted(_another_setting),
    "trials of a round learn from each other": Planted(_round_learns_from_itself),
    "the pruner sees trials of the same round": Planted(lambda: _pruner_sees(lambda index: index), "pruner=median"),
    "the pruner sees trials of later rounds": Planted(lambda: _pruner_sees(lambda _: 10**6), "pruner=median"),
    "reports are not read back": Planted(_reports_lost, "pruner=median"),
    "a range is widened again": Planted(_widened_again),
    "repeats have other seeds": Planted(_later_seeds),
    "a cell waits for no neighbour": Planted(_waits_for_nobody),
    "a lost run is recorded as failed at once": Planted(_failed_at_once),
    "a finished run is run again": Planted(_newest_forgotten),
    "a worker writes the record": Planted(_worker_records),
    "tables hold what this sweep has run": Planted(_tables_of_this_sweep),
    "the lock is ignored": Planted(_no_lock),
}
"""What is broken, in words, and how."""

"""The worker's side: a job becomes an outcome, whatever happens inside it, in whatever process it has come to."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout
from mnist_scaling.study.columns import CONTROL, FAILED, NOTES, RANGES, TRIAL, TrainResult
from mnist_scaling.study.records import make_record
from mnist_scaling.tuning.task import Task, Values
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.job import Job, Outcome, Parcel

_ORPHAN_CHECK_SECONDS = 2.0


def perform(parcel: Parcel, task: Task) -> Outcome:
    """Run one job to its outcome.

    An exception of the run becomes text in the record. A fault of the machine, and a configuration that breaks a rule,
    leave none: they become the text of the outcome, because not every exception survives a pickle.
    """
    if parcel.owner is not None and parcel.is_at_home:
        _end_with(parcel.owner)
    job, judge, folder = parcel.job, _Judge(parcel.job), Path(parcel.folder)
    try:
        with contextlib.ExitStack() as held:
            is_shared = os.access(folder, os.W_OK)
            if not is_shared:
                temporary = tempfile.TemporaryDirectory(prefix="mnist_scaling-", ignore_cleanup_errors=True)
                folder = Path(held.enter_context(temporary))
            values = task.checked(parcel.values)
            here = task.unpack(values, parcel.payload, parcel.is_at_home, held)
            report = judge if job.pruning else None
            record = measure(values, job.stage, job.seed, lambda: task.train(here, report, folder))
            # What was left in the study's own folder is there already, however large it is.
            return Outcome(of_job(record, job, job.notes | judge.notes), files={} if is_shared else _left(folder))
    except Exception as error:
        return Outcome(None, faults.as_text(error))


class _Judge:
    """Hears a trial's reports, and says whether its study's pruner stops it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._reports: list[float] = []
        self.notes: dict[str, Any] = {}
        """What the pruner noted on the trial."""

    def __call__(self, number: int, loss: float) -> bool:
        from mnist_scaling.tuning.cell import optuna_objects  # it imports optuna, which only such trials need

        assert self._job.pruning is not None
        assert number == len(self._reports) + 1, "reports are numbered from 1"
        self._reports.append(loss)
        stop, self.notes = optuna_objects.stopped(self._job.pruning, self._job.index, self._reports)
        # The control shows what an untuned grid would measure: it runs to its end, but later trials are judged by it.
        return stop and self._job.origin != CONTROL


def measure(
    values: Values, stage: str, seed: int, train: Callable[[], TrainResult], keep_errors: bool = True
) -> dict[str, Any]:
    """The record of a run: its result, or the error that ended it, unless errors are to be let through."""
    start = time.perf_counter()
    outcome, error = None, None
    try:
        outcome = train()
    except Exception as failure:  # any error of one run is that run's; the sweep decides what follows
        # A fault of the machine leaves no record, so the run is made again once the machine works.
        if not keep_errors or faults.is_fault(failure):
            raise
        error = str(failure) if isinstance(failure, InputError) else traceback.format_exc(limit=-3).strip()
    seconds = time.perf_counter() - start
    return make_record(
        stage, seed, FAILED if outcome is None else outcome.state, values,
        result=None if outcome is None else _measured(outcome), seconds=round(seconds, 4), error=error,
    )  # fmt: skip


def _measured(outcome: TrainResult) -> dict[str, Any]:
    """A result as JSON gives it back, which has no tuples, without its state."""
    result = json.loads(json.dumps(asdict(outcome)))
    return {name: value for name, value in result.items() if name != "state"}


def of_job(record: Mapping[str, Any], job: Job, notes: Mapping[str, Any]) -> dict[str, Any]:
    """A run's record with its job's number and, of a trial, how its setting was chosen."""
    chosen = {"origin": job.origin, NOTES: notes, RANGES: job.ranges} if job.stage == TRIAL else {}
    return {**record, "number": job.index, **chosen}


def _left(folder: Path) -> dict[str, bytes]:
    """What a run has left."""
    kept = (path for path in sorted(folder.iterdir()) if path.name != layout.RESULT)
    return {path.name: path.read_bytes() for path in kept if path.is_file() and not path.name.startswith(".")}


@functools.cache
def _end_with(owner: int) -> None:
    """End this process when the sweep's is gone: a killed sweep's workers would train on for ever."""

    def is_gone() -> bool:
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # it lives, under another user
            pass
        return False

    if owner != os.getpid():
        end_when(is_gone)


def end_when(is_gone: Callable[[], bool]) -> threading.Event:
    """End this process once nobody waits for it, until the event is set: no thread of Python can be ended alone."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_ORPHAN_CHECK_SECONDS):
            if is_gone():
                os._exit(1)

    threading.Thread(target=watch, daemon=True, name="orphan-watch").start()
    return over

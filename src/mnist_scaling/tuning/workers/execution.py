"""The job's side of a sweep, in whatever process a launcher starts: run one trial, record it, tell its study."""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mnist_scaling import config
from mnist_scaling.config import RunConfig
from mnist_scaling.study import files, layout
from mnist_scaling.study.layout import CHECKPOINT
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import FAILED, NOTES, TRIAL
from mnist_scaling.tuning.trainer import Report, Trainer
from mnist_scaling.tuning.workers import faults

Train = Callable[[RunConfig, Report | None], TrainResult]
"""One run, wherever its checkpoint goes."""

_ORPHAN_CHECK_SECONDS = 2.0


def run_job(job: Any, run: RunConfig, train: Any) -> dict[str, Any]:
    """interim"""
    from mnist_scaling.tuning.cell.pruning import stopped

    run = config.with_values(run, {**job.settings, "trial.stage": job.stage, "trial.index": job.index, "trial.number": job.index, "trial.origin": job.origin})
    reports: list[float] = []
    notes = dict(job.notes)

    def report(number: int, loss: float) -> bool:
        reports.append(loss)
        stop, more = stopped(job.pruning, job.index, reports)
        notes.update(more)
        return stop

    record = measure(run, train, report if job.pruning else None)
    record["number"] = job.index
    return {**record, NOTES: notes, "ranges": job.ranges}


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write a run's record, and only then delete its checkpoint: a kill in between loses neither."""
    faults.retry(lambda: files.write_sealed(folder / layout.RESULT, record))
    (folder / CHECKPOINT).unlink(missing_ok=True)


def measure(run: RunConfig, train: Train, report: Report | None = None, keep_errors: bool = True) -> dict[str, Any]:
    """The record of a run: its result, or the error that ended it.

    Parameters
    ----------
    run : RunConfig
    train : callable
        From a config, and a callable for reports or None, to a `TrainResult`.
    report : callable, optional
        Told a report's number and loss; True stops the run.
    keep_errors : bool
        Put an exception into the record as text; otherwise let it through.
    """
    start = time.perf_counter()
    outcome, error = None, None
    try:
        outcome = train(run, report)
    except Exception as failure:  # any error of one run is that run's; the sweep decides what follows
        # A fault of the machine leaves no record, so the run is made again once the machine works.
        if not keep_errors or faults.is_fault(failure):
            raise
        error = traceback.format_exc(limit=-3).strip()
    return _record(run, outcome, error, time.perf_counter() - start)


def _record(run: RunConfig, outcome: TrainResult | None, error: str | None, seconds: float) -> dict[str, Any]:
    result = None
    if outcome is not None:
        result = asdict(outcome)
        del result["state"]
        for name in ("reports", "curve"):
            result[name] = [list(point) for point in result[name]]  # JSON has no tuples
        result["branches"] = list(outcome.branches)
    return {
        "stage": run.trial.stage,
        "number": run.trial.index,
        "seed": run.seed,
        "origin": run.trial.origin if run.trial.stage == TRIAL else None,
        "state": FAILED if outcome is None else outcome.state,
        "seconds": round(seconds, 4),
        "error": error,
        "config": config.flatten(asdict(run)),
        "result": result,
    }


@functools.cache
def _end_with(host: str | None, owner: int | None) -> None:
    """End this process when the sweep's is gone: a killed sweep's workers would train on for ever."""
    if owner is None or owner == os.getpid() or host != socket.gethostname():
        return

    def watch() -> None:
        while True:
            time.sleep(_ORPHAN_CHECK_SECONDS)
            try:
                os.kill(owner, 0)
            except ProcessLookupError:
                os._exit(1)
            except PermissionError:  # it lives, under another user
                pass

    threading.Thread(target=watch, daemon=True, name="orphan-watch").start()

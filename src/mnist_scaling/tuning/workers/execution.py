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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnist_scaling import config
from mnist_scaling.config import RunConfig
from mnist_scaling.study import files, layout
from mnist_scaling.study.layout import CHECKPOINT
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import FAILED, NOTES, TRIAL
from mnist_scaling.tuning.stored.channel import Channel, SupersededError
from mnist_scaling.tuning.trainer import Report, Trainer
from mnist_scaling.tuning.workers import faults

Train = Callable[[RunConfig, Report | None], TrainResult]
"""One run, wherever its checkpoint goes."""

_ORPHAN_CHECK_SECONDS = 2.0


def task(run: RunConfig, hydra: Any, folder: Path) -> Callable[[Trainer], None]:
    """A job, to be worked on by a trainer.

    Parameters
    ----------
    run : RunConfig
    hydra : node of the configuration
        Hydra's own part of the job's.
    folder : Path
        The run's own folder.
    """
    sweeper = hydra.sweeper
    channel = Channel(run.trial, sweeper.storage, Path(hydra.sweep.dir), sweeper.pruner, sweeper.storage_patience)
    return lambda trainer: work(run, folder, channel, trainer)


def work(run: RunConfig, folder: Path, channel: Channel, trainer: Trainer) -> None:
    """Run one job of a sweep to its record, whatever happens inside it.

    An exception of the run becomes text in the record: one that can't be unpickled, or a dead worker, makes a
    launcher lose the returns of its whole batch, so nothing is left to the return value. A fault of the machine leaves
    no record.

    Parameters
    ----------
    run : RunConfig
        The run; ``run.trial`` says which one of which study.
    folder : Path
        The run's own folder.
    channel : Channel
        The connection to the trial's study.
    trainer : Trainer

    Raises
    ------
    MachineError
        When the machine is at fault (`faults`).
    """
    _end_with(run.trial.host, run.trial.owner)
    try:
        _work(run, folder, channel, trainer)
    except Exception as error:
        if not faults.is_fault(error):
            raise
        # In words, because not every error survives a pickle.
        raise faults.MachineError(faults.describe(error)) from None


def _work(run: RunConfig, folder: Path, channel: Channel, trainer: Trainer) -> None:
    is_trial = run.trial.stage == TRIAL
    try:
        record = measure(run, _in(folder, trainer), channel.report if channel.prunes else None)
        if is_trial:
            record[NOTES] = _if_reachable(channel.notes)
    except SupersededError as reason:
        print(f"Warning: a run in {folder} ends without a record: {reason}.", file=sys.stderr)
        return
    write_record(folder, record)
    # The sweep decides what follows a failure; and it tells what a storage that was away just now can't be told.
    if is_trial and record["state"] != FAILED and record[NOTES] is not None:
        _if_reachable(lambda: channel.tell(record))


def _if_reachable(ask: Callable[[], Any]) -> Any:
    """What a storage answers; None when it can't be reached, because a finished run must not be lost for that."""
    from mnist_scaling.tuning.stored import patience  # it imports optuna, which only the trials of a study need

    try:
        with patience.hurry():
            return faults.retry(ask)
    except Exception as error:
        if not faults.is_fault(error):
            raise
        return None


def _in(folder: Path, trainer: Trainer) -> Train:
    """Training whose checkpoints go into a run's own folder."""
    return lambda run, report: trainer.train(run, report, folder)


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
    except SupersededError:
        raise
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

"""The job's side of a sweep: run one trial, record it, tell its study. Runs in any launcher's process."""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_scaling import config
from mnist_scaling.config import RunConfig
from mnist_scaling.results import FAILED, TrainResult
from mnist_scaling.tuning import records

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

_ORPHAN_CHECK_SECONDS = 2.0


def work(
    run: RunConfig, folder: Path, storage: str | None, study_folder: Path, train: Callable[[RunConfig], TrainResult]
) -> None:
    """Run one job of a sweep to its record, whatever happens inside it.

    An exception becomes text in the record: one that can't be unpickled, or a dead worker, makes a
    launcher lose the returns of its whole batch, so nothing is left to the return value.

    Parameters
    ----------
    run : RunConfig
        The run; ``run.trial`` says which one of which study.
    folder : Path
        The run's own folder.
    storage : str or None
        URL of the study's storage, None for the default one in `study_folder`.
    study_folder : Path
        multirun/<name>.
    train : callable
        From a config to a `TrainResult`.
    """
    _end_with(run.trial.host, run.trial.owner)
    record = measure(run, train)
    records.write(folder / records.RESULT, record)
    if run.trial.stage == "trial" and record["state"] != FAILED:  # of failures the sweep decides
        _tell(run, record, storage, study_folder)


def measure(run: RunConfig, train: Callable[[RunConfig], TrainResult], keep_errors: bool = True) -> dict[str, Any]:
    """The record of a run: its result, or the error that ended it.

    Parameters
    ----------
    run : RunConfig
    train : callable
        From a config to a `TrainResult`.
    keep_errors : bool
        Put an exception into the record as text; otherwise let it through.
    """
    start = time.perf_counter()
    result, error, state = None, None, FAILED
    try:
        outcome = train(run)
        result, state = asdict(outcome), outcome.state
        del result["state"]
    except Exception:  # any error of one run is that run's; the sweep decides what follows
        if not keep_errors:
            raise
        error = traceback.format_exc(limit=-3).strip()
    return {
        "stage": run.trial.stage,
        "number": run.trial.index,
        "seed": run.seed,
        "state": state,
        "seconds": round(time.perf_counter() - start, 4),
        "error": error,
        "config": config.flatten(asdict(run)),
        "result": result,
    }


def _tell(run: RunConfig, record: dict[str, Any], storage: str | None, study_folder: Path) -> None:
    import optuna

    from mnist_scaling.tuning import study as studies

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name=str(run.trial.study), storage=_storage(storage, study_folder))
    studies.tell(study, run.trial.number, record["state"], (record["result"] or {}).get("val_loss"))


@functools.lru_cache(maxsize=1)
def _storage(url: str | None, folder: Path) -> BaseStorage:
    """One storage a process: a journal is replayed when opened, and read on from there afterwards."""
    from mnist_scaling.tuning import study as studies

    return studies.open_storage(url, folder)


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

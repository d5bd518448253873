"""Where studies are kept, and what is told to them."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from mnist_scaling.errors import InputError
from mnist_scaling.results import COMPLETE, DIVERGED, PRUNED

JOURNAL = "optuna.journal"
"""Default storage, inside the study's folder; optuna-dashboard opens it by its path."""

DIVERGED_VALUE = 100.0
"""Told to Optuna for a diverged run: worse than any finished one, yet a value, so that the sampler
learns to stay away. As a failure the trial would be invisible to it."""


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """Optuna's storage of a study.

    Parameters
    ----------
    url : str or None
        A database URL such as ``sqlite:///studies.db`` or ``postgresql+psycopg://host/db``, a journal
        as ``journal:///path``, or None for `JOURNAL` in `folder`.
    folder : Path
        The study's folder.

    Raises
    ------
    InputError
        When the storage can't be opened.
    """
    # A journal costs about an eighth of SQLite's time per trial (LOG.md, 2026-11-22: storage).
    if url is None or url.startswith("journal:"):
        path = folder / JOURNAL if url is None else Path(url.removeprefix("journal://").removeprefix("journal:"))
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
    try:
        return RDBStorage(url)
    except Exception as error:  # SQLAlchemy and the drivers raise their own types
        reason = str(error).splitlines()[0]
        raise InputError(
            f"`hydra.sweeper.storage` must be a database that opens, but {url} does not: {reason}"
        ) from error


def loss_for_optuna(state: str, val_loss: float | None) -> float | None:
    """The value to tell for a run in that state; None where it has none (FAILED, PRUNED)."""
    if state == DIVERGED:
        return DIVERGED_VALUE
    return val_loss if state == COMPLETE else None


def tell(study: optuna.Study, number: int, state: str, val_loss: float | None) -> None:
    """Tell a finished run to its study; a trial that is finished already is left as it is."""
    value = loss_for_optuna(state, val_loss)
    if value is not None:
        study.tell(number, value, skip_if_finished=True)
    else:
        failed = TrialState.PRUNED if state == PRUNED else TrialState.FAIL
        study.tell(number, state=failed, skip_if_finished=True)


def trial_id(study: optuna.Study, number: int) -> int:
    """The storage's id of a trial: Optuna has no public way from a number to a trial still to be written to."""
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)

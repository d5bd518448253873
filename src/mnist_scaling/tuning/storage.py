"""Where studies are kept, and what is told to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, layout
from mnist_scaling.study.vocabulary import COMPLETE, DIVERGED, PRUNED

_ENTRY = '{"op_code":'
"""How every entry of a journal begins."""

DIVERGED_VALUE = 100.0
"""Told to Optuna for a diverged run: worse than any finished one, yet a value, so that the sampler
learns to stay away. As a failure the trial would be invisible to it."""


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """Optuna's storage of a study.

    Parameters
    ----------
    url : str or None
        A database URL such as ``sqlite:///studies.db`` or ``postgresql+psycopg://host/db``, a journal
        as ``journal:///path``, or None for `layout.JOURNAL` in `folder`.
    folder : Path
        The study's folder.

    Raises
    ------
    InputError
        When the storage can't be opened.
    """
    # A journal costs about an eighth of SQLite's time per trial (LOG.md, 2026-11-22: storage).
    if _is_journal(url):
        path = _journal(url, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
    assert url is not None
    try:
        return RDBStorage(url)
    except Exception as error:  # SQLAlchemy and the drivers raise their own types
        reason = str(error).splitlines()[0]
        raise InputError(
            f"`hydra.sweeper.storage` must be a database that opens, but {url} does not: {reason}"
        ) from error


def mend(url: str | None, folder: Path) -> None:
    """Take torn lines out of a journal: a full disk can leave half an entry, and the next one behind it.

    Whoever wrote the half was told that it had failed, so that nothing is lost with it; an entry behind it
    on the same line counts and stays. Parameters as in `open_storage`, which can't open a torn one.
    """
    if not _is_journal(url) or not _journal(url, folder).exists():
        return
    path = _journal(url, folder)
    lock = JournalFileOpenLock(str(path))
    lock.acquire()
    try:
        text = path.read_text(encoding="utf-8")
        mended = "".join(entry + "\n" for line in text.splitlines() if (entry := _whole(line)))
        if mended != text:
            files.write_atomically(path, mended)
    finally:
        lock.release()


def _whole(line: str) -> str:
    """The longest end of a line that is an entry of its own; empty if none is."""
    start = 0
    while start >= 0:
        try:
            json.loads(line[start:])
        except ValueError:
            start = line.find(_ENTRY, start + 1)
        else:
            return line[start:]
    return ""


def _is_journal(url: str | None) -> bool:
    return url is None or url.startswith("journal:")


def _journal(url: str | None, folder: Path) -> Path:
    return folder / layout.JOURNAL if url is None else Path(url.removeprefix("journal://").removeprefix("journal:"))


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


def user_attributes(study: optuna.Study) -> Mapping[str, Any]:
    """`Study.user_attrs`, not to be changed."""
    # The public property copies every value deeply, which costs more than all else that is done with them.
    return study._storage.get_study_user_attrs(study._study_id)


def open_trial(study: optuna.Study, number: int) -> optuna.trial.Trial:
    """A trial of that number, to be written to from a process other than the one that asked for it."""
    # Optuna has no public way from a number to a trial that takes reports.
    identity = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    return optuna.trial.Trial(study, identity)

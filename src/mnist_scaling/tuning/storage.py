"""Where Optuna's studies are stored, and how results are reported to them."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout
from mnist_scaling.study.vocabulary import COMPLETE, DIVERGED, NOTES, PRUNED
from mnist_scaling.tuning import journal
from mnist_scaling.tuning.masking import masked

_SQLITE_SECONDS = 60.0
"""How long SQLite waits for a lock."""

_SCHEMA_WAITS = (0.2, 0.5, 1.0)
"""Seconds between tries to open an empty database in which another sweep makes the tables."""

_RACES = ("OperationalError", "ProgrammingError", "IntegrityError")
"""Names of SQLAlchemy's classes for what the loser of that race is told; an unreachable server is one of them."""

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
    if (path := journal_path(url, folder)) is not None:
        return journal.open_journal(path)
    assert url is not None
    # Connections that a restart of the server has ended are made again; SQLite waits while another process writes.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": _SQLITE_SECONDS}
    for seconds in (*_SCHEMA_WAITS, None):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except Exception as error:  # SQLAlchemy and the drivers raise their own types
            if seconds is None or not _is_race(error):
                reason = masked(str(error).splitlines()[0])
                raise InputError(
                    f"`hydra.sweeper.storage` must be a database that opens, but {masked(url)} does not: {reason}"
                ) from error
        time.sleep(seconds)
    raise AssertionError("the last wait is None")


@functools.lru_cache(maxsize=1)
def open_once(url: str | None, folder: Path) -> BaseStorage:
    """`open_storage`, once per process: a journal is read in full once, and then only its new lines."""
    return open_storage(url, folder)


def _is_race(error: Exception) -> bool:
    """Whether another sweep is making the tables of an empty database at the same time."""
    return any(kind in {c.__name__ for c in type(error).__mro__} for kind in _RACES)


def mend(url: str | None, folder: Path) -> None:
    """Make a journal readable that a kill, a full disk or damage has left unreadable; parameters of `open_storage`.

    Raises
    ------
    InputError
        When a line is damaged in a journal that is not the study's own.
    """
    open_once.cache_clear()  # a launcher may run jobs in this process, and what they have read may change now
    path = journal_path(url, folder)
    if path is None:
        return
    try:
        journal.mend(path)
    except journal.DamagedJournalError as damage:
        if url is not None:
            raise InputError(
                f"Every line of a journal must be an entry, but line {damage.line} of {path} is damaged: restore the "
                "file, or move it away; each study in it is then made again from the records of its runs."
            ) from damage
        aside = journal.set_aside(path)
        print(
            f"Warning: line {damage.line} of {path} is damaged: the file is now {aside.name}, and a new journal is "
            "made from the records of the runs.",
            file=sys.stderr,
        )


def journal_path(url: str | None, folder: Path) -> Path | None:
    """The file of a storage that is a journal; None for a database."""
    if url is None:
        return folder / layout.JOURNAL
    if not url.startswith("journal:"):
        return None
    return Path(url.removeprefix("journal://").removeprefix("journal:"))


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


def tell_record(study: optuna.Study, number: int, record: Mapping[str, Any]) -> None:
    """Tell a finished run with all that its trial lacks: reports and notes, which a run without a connection kept.

    Parameters
    ----------
    study : optuna.Study
    number : int
        Optuna's number of the trial; one that is finished already is left as it is.
    record : mapping
        Content of the run's result.json.
    """
    trial = study.get_trials(deepcopy=False)[number]
    if trial.state.is_finished():
        return
    result = record["result"] or {}
    for step, (_, loss) in enumerate(result.get("reports", []), start=1):
        if step not in trial.intermediate_values:
            open_trial(study, number).report(loss, step)
    for key, value in (record.get(NOTES) or {}).items():
        if trial.system_attrs.get(key) != value:
            study._storage.set_trial_system_attr(trial._trial_id, key, value)
    tell(study, number, record["state"], result.get("val_loss"))


def user_attributes(study: optuna.Study) -> Mapping[str, Any]:
    """`Study.user_attrs`, not to be changed."""
    # The public property copies every value deeply, which costs more than all else that is done with them.
    return study._storage.get_study_user_attrs(study._study_id)


def open_trial(study: optuna.Study, number: int) -> optuna.trial.Trial:
    """A trial of that number, to be written to from a process other than the one that asked for it."""
    # Optuna has no public way from a number to a trial that takes reports.
    identity = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    return optuna.trial.Trial(study, identity)

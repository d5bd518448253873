"""Where Optuna's studies are stored, and how results are reported to them."""

from __future__ import annotations

import functools
import logging
import re
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import TrialState

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, layout
from mnist_scaling.study.vocabulary import COMPLETE, DIVERGED, NOTES, PRUNED
from mnist_scaling.tuning.stored import journal, patience
from mnist_scaling.tuning.stored.masking import masked

_SQLITE_SECONDS = 60.0
"""How long SQLite waits for a lock."""

_SCHEMA_WAITS = (0.2, 0.5, 1.0)
"""Seconds between tries to open an empty database in which another sweep makes the tables."""

_RACES = ("OperationalError", "ProgrammingError", "IntegrityError")
"""Names of SQLAlchemy's classes for what the loser of that race is told; of SQLite it is the first."""

_NETWORK = {
    "connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}  # fmt: skip
"""Of libpq: a server that has vanished without a word is noticed within a minute or so, and not after hours."""

_LIBPQ = ("psycopg", "psycopg2")
"""Drivers that hand `_NETWORK` to libpq."""

_WORD = re.compile("[0-9a-f]{8}")
"""Of `study_prefix`."""

DIVERGED_VALUE = 100.0
"""Told to Optuna for a diverged run: worse than any finished one, yet a value, so that the sampler
learns to stay away. As a failure the trial would be invisible to it."""


def open_storage(url: str | None, folder: Path, seconds: float = 0.0) -> BaseStorage:
    """Optuna's storage of a study.

    Parameters
    ----------
    url : str or None
        A database URL such as ``sqlite:///studies.db`` or ``postgresql+psycopg://host/db``, a journal
        as ``journal:///path``, or None for `layout.JOURNAL` in `folder`.
    folder : Path
        The study's folder.
    seconds : float
        How long to wait for the server of a database, now and whenever it is asked (`patience`).

    Raises
    ------
    InputError
        When the storage can't be opened.
    LastingFaultError
        When its server was away for longer than `seconds`, which are more than 0.
    """
    # A journal costs about an eighth of SQLite's time per trial (LOG.md, 2026-11-22: storage).
    if (path := journal_path(url, folder)) is not None:
        return journal.open_journal(path)
    assert url is not None
    if is_file(url):
        return _open_database(url)
    # What Optuna says of a cut connection is said by `patience` in words.
    logging.getLogger(RDBStorage.__module__).setLevel(logging.ERROR)
    opened = patience.wait_for(lambda: _open_database(url), masked(url), seconds)
    return patience.patient(get_storage(opened), masked(url), seconds, opened.engine.dispose)


def is_file(url: str | None) -> bool:
    """Whether a storage is a file, which only the processes of one machine may write to."""
    return url is None or url.startswith(("journal:", "sqlite"))


def _open_database(url: str) -> RDBStorage:
    for seconds in (*_SCHEMA_WAITS, None):
        try:
            return RDBStorage(url, engine_kwargs=_options(url))
        except Exception as error:  # SQLAlchemy and the drivers raise their own types
            if seconds is None or not _is_race(error, is_file(url)):
                reason = masked(str(error).splitlines()[0])
                raise InputError(
                    f"`hydra.sweeper.storage` must be a database that opens, but {masked(url)} does not: {reason}"
                ) from error
        time.sleep(seconds)
    raise AssertionError("the last wait is None")


def _options(url: str) -> dict[str, Any]:
    """Of SQLAlchemy's engine."""
    # Connections that a restart of the server has ended are made again; SQLite waits while another process writes.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        return options | {"connect_args": {"timeout": _SQLITE_SECONDS}}
    import sqlalchemy

    # A process keeps one connection; what Optuna opens beside it, when it opens a database, is closed again.
    options |= {"pool_size": 1}
    parsed = sqlalchemy.make_url(url)
    if parsed.get_driver_name() not in _LIBPQ:
        return options
    options |= {"use_native_hstore": False}  # saves three statements per connection
    return options | {"connect_args": {key: value for key, value in _NETWORK.items() if key not in parsed.query}}


@functools.lru_cache(maxsize=1)
def open_once(url: str | None, folder: Path, seconds: float = 0.0) -> BaseStorage:
    """`open_storage`, once per process: a journal is read in full once, and then only its new lines."""
    return open_storage(url, folder, seconds)


def _is_race(error: Exception, in_a_file: bool) -> bool:
    """Whether another sweep is making the tables of an empty database at the same time."""
    if not in_a_file and patience.is_away(error):
        return False
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


def study_prefix(url: str | None, folder: Path) -> str:
    """What stands before the names of a study's Optuna studies; the folder's lock must be held.

    The default storage is the folder's own. Any other one may be shared by several checkouts, whose folders may have
    one name. So the name is followed by a word that was drawn by lot and stays in the folder.
    """
    if url is None:
        return ""
    path = folder / layout.STORAGE_ID
    try:
        word = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        word = ""
    if not _WORD.fullmatch(word):
        word = secrets.token_hex(4)
        files.write_atomically(path, word + "\n")
    return f"{folder.name} {word}: "


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
    # Optuna would find that out too, with four requests to a database.
    if study.get_trials(deepcopy=False)[number].state.is_finished():
        return
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

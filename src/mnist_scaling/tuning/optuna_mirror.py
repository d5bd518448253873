"""A study's trials in an Optuna storage: for people, optuna-dashboard and Optuna's own plots. Nothing reads it back.

A mirror that is away, full or deleted costs a warning, and what it lacks is added from the records at the next start
or end of a sweep. Its URL, which may hold a password, is written and printed nowhere.
"""

from __future__ import annotations

import re
import secrets
import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import TRIAL
from mnist_scaling.tuning.cell import search_space
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.trial import Trial, frozen

_FILE = re.compile(r"(sqlite(\+pysqlite)?:///|journal:)")
"""URLs of files."""

_GRACE_SECONDS = 5
"""How long the lock of a journal may be there before it counts as left by a kill."""


class Mirror:
    """Trials of a study in a storage, one Optuna study for each cell; filled by a thread of its own.

    The URL is one of a database (``sqlite:///studies.db``), ``journal:///path``, or None for `layout.JOURNAL`.
    """

    def __init__(self, url: str | None, folder: Path) -> None:
        self._url, self._folder = url, folder
        if url is not None and _FILE.match(url):
            self._url = re.sub(r"(?<=[:/])~(?=/)", str(Path.home()), url, count=1)
        self._storage: BaseStorage | None = None
        self._studies: dict[str, tuple[optuna.Study, int]] = {}
        self._names: set[str] = set()
        self._is_away = False
        self._thread = ThreadPoolExecutor(1, "mirror")
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def show(self, cells: Iterable[tuple[Cell, Sequence[Trial]]], again: bool = False) -> None:
        """Add what the storage lacks of these cells' finished trials, soon; after a failure only if asked `again`."""
        given = list(cells)
        self._thread.submit(self._guarded, given, again)

    def close(self) -> None:
        """Wait until everything is shown."""
        self._thread.shutdown()

    def _guarded(self, cells: Sequence[tuple[Cell, Sequence[Trial]]], again: bool) -> None:
        """Add trials; after a failure say so, once."""
        if self._is_away and not again:
            return
        try:
            try:
                self._add(cells)
            except Exception:
                if self._url is not None or not again:
                    raise
                # A kill or a full disk leaves half a line, at which Optuna stops. All of it is in the records.
                (self._folder / layout.JOURNAL).unlink(missing_ok=True)
                self._forget()
                self._add(cells)
            self._is_away = False
        except Exception as error:  # SQLAlchemy and the drivers raise their own types
            if not self._is_away:
                print(
                    f"Warning: the mirror for Optuna's dashboard can't be written ({type(error).__name__}). The study "
                    "goes on without it, and a later sweep fills it.",
                    file=sys.stderr,
                )
            self._is_away = True
            self._forget()

    def _forget(self) -> None:
        self._storage, self._studies = None, {}

    def _add(self, cells: Sequence[tuple[Cell, Sequence[Trial]]]) -> None:
        for cell, trials in cells:
            study, n_there = self._study(cell)
            for trial in trials:
                if trial.index < n_there:
                    continue
                if trial.index > n_there:  # it waits for those before it, so that Optuna's number of a trial is ours
                    break
                # Optuna refuses choices that differ within a study, and a range may have grown.
                ranges = {key: search_space.joined(cell.space[key], own) for key, own in trial.ranges.items()}
                shown = frozen(trial, ranges, user_attrs={"origin": trial.origin})
                path = self._folder / cell.folder / layout.run_folder(TRIAL, trial.index) / layout.RESULT
                try:
                    ended = datetime.fromtimestamp(path.stat().st_mtime)
                except FileNotFoundError:  # the run failed with all others, and was deleted meanwhile
                    break
                shown.datetime_start = ended - timedelta(seconds=trial.seconds or 0.0)
                shown.datetime_complete = ended
                study.add_trial(shown)
                n_there += 1
            self._studies[cell.name] = study, n_there

    def _study(self, cell: Cell) -> tuple[optuna.Study, int]:
        """A cell's study, and how many trials it has."""
        if cell.name not in self._studies:
            if self._storage is None:
                self._storage = _opened(self._url, self._folder)
                self._names = set(optuna.get_all_study_names(self._storage))
            name = _prefix(self._url, self._folder) + cell.name
            if name in self._names:
                study = optuna.load_study(study_name=name, storage=self._storage)
            else:
                study = optuna.create_study(study_name=name, storage=self._storage)
                with warnings.catch_warnings():
                    # Experimental since 2023; the name is what the dashboard's axes show.
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names(["val_loss"])
                for column, value in cell.axes.items():
                    study.set_user_attr(column, value)
            self._studies[cell.name] = study, len(study.get_trials(deepcopy=False))
        return self._studies[cell.name]


def _opened(url: str | None, folder: Path) -> BaseStorage:
    if url is None or url.startswith("journal:"):
        path = folder / layout.JOURNAL if url is None else Path(url.removeprefix("journal:").removeprefix("//"))
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = JournalFileOpenLock(str(path), grace_period=_GRACE_SECONDS)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    seconds = {"timeout": 60.0} if url.startswith("sqlite") else {"connect_timeout": 10} if "psycopg" in url else {}
    return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, "connect_args": seconds})


def _prefix(url: str | None, folder: Path) -> str:
    """What stands before the cells' names: several folders of one name may share a database, so a word drawn by lot."""
    if url is None:
        return ""
    path = folder / layout.STORAGE_ID
    if not path.exists():
        files.write_atomically(path, secrets.token_hex(4) + "\n")
    return f"{folder.name} {path.read_text().strip()}: "


def without_password(override: str) -> str:
    """A Hydra override, without its value where it gives a storage, whose URL may hold a password."""
    key, _, _ = override.partition("=")
    return f"{key}=…" if key.lstrip("+").startswith("hydra") and "storage" in override else override

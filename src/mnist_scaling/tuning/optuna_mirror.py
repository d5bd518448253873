"""A study's trials in an Optuna storage: for people, optuna-dashboard and Optuna's own plots. Nothing reads it back.

A mirror that is away, full or deleted costs a warning, and what it lacks is added from the records at the next start
or end of a sweep. Its URL, which may hold a password, is written and printed nowhere.
"""

from __future__ import annotations

import re
import secrets
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import TRIAL, column_of
from mnist_scaling.tuning.cell import search_space
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.trial import Trial, best, frozen

_FILE = re.compile(r"(sqlite(\+pysqlite)?:///|journal:)")
"""URLs of files."""

GRID = "best of each cell"
"""The study of the whole grid."""

_GRACE_SECONDS = 5
"""How long the lock of a journal may be there before it counts as left by a kill."""

_VERSION, _TEXT = "dashboard:note_ver", "dashboard:note_str:0"
"""Where optuna-dashboard keeps a study's note; importing it takes a second, and a note is shorter than its parts."""

_LONGEST_NOTE = 2045
"""Letters of a note that go into one attribute of a study."""


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
        self._best: dict[str, tuple[Cell, Trial]] = {}
        self._names: set[str] = set()
        self._is_away = False
        self._thread = ThreadPoolExecutor(1, "mirror")
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def show(self, cells: Iterable[tuple[Cell, Sequence[Trial]]], again: bool = False) -> None:
        """Add what the storage lacks of these cells' finished trials, soon; after a failure only if asked `again`."""
        given = list(cells)
        self._thread.submit(self._guarded, given, again)

    def close(self) -> None:
        """Wait until everything is shown, the grid last, because the dashboard lists the newest study first."""
        self._thread.submit(self._guarded, (), False, last=True)
        self._thread.shutdown()

    def _guarded(self, cells: Sequence[tuple[Cell, Sequence[Trial]]], again: bool, last: bool = False) -> None:
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
            if last and len(self._best) > 1:
                self._add_grid()
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
            if trials:
                _note(study, cell, trials, self._folder)
            if (selected := best(trials)) is not None:
                self._best[cell.name] = cell, selected
            for trial in trials:
                if trial.index < n_there:
                    continue
                if trial.index > n_there:  # it waits for those before it, so that Optuna's number of a trial is ours
                    break
                # Optuna refuses choices that differ within a study, and a range may have grown.
                ranges = {key: search_space.joined(cell.space[key], own) for key, own in trial.ranges.items()}
                shown = frozen(trial, ranges, user_attrs={"origin": trial.origin})
                try:
                    shown.datetime_start, shown.datetime_complete = self._times(cell, trial)
                except FileNotFoundError:  # the run failed with all others, and was deleted meanwhile
                    break
                study.add_trial(shown)
                n_there += 1
            self._studies[cell.name] = study, n_there

    def _add_grid(self) -> None:
        """The grid as one study, whose parameters are its axes, made anew where a cell's best trial is another now."""
        there = [one for one in self._best.values() if self._record(*one).is_file()]
        best_of = sorted(there, key=lambda one: (self._times(*one)[1], one[0].name))
        axes = pd.DataFrame([dict(cell.axes) for cell, _ in best_of])
        ranges: dict[str, BaseDistribution] = {
            str(axis): CategoricalDistribution(sorted(axes[axis].unique().tolist(), key=str)) for axis in axes
        }
        trials = [
            optuna.create_trial(value=one.value, params=params, distributions=ranges, user_attrs=dict(one.params))
            for params, (_, one) in zip(axes.to_dict("records"), best_of, strict=True)
        ]
        for shown, one in zip(trials, best_of, strict=True):
            shown.datetime_start, shown.datetime_complete = self._times(*one)
        name = _prefix(self._url, self._folder) + GRID
        assert self._storage is not None
        if name in self._names:
            old = optuna.load_study(study_name=name, storage=self._storage)
            if [(t.params, t.value) for t in old.get_trials()] == [(t.params, t.value) for t in trials]:
                return
            optuna.delete_study(study_name=name, storage=self._storage)
        made = _begun(name, {}, self._storage)
        made.add_trials(trials)
        losses = pd.Series([one.value for _, one in best_of], pd.MultiIndex.from_frame(axes))
        _write_note(made, _table_of(losses))
        self._names.add(name)

    def _record(self, cell: Cell, trial: Trial) -> Path:
        return self._folder / cell.folder / layout.run_folder(TRIAL, trial.index) / layout.RESULT

    def _times(self, cell: Cell, trial: Trial) -> tuple[datetime, datetime]:
        """When a trial began and ended, by its record."""
        ended = datetime.fromtimestamp(self._record(cell, trial).stat().st_mtime)
        return ended - timedelta(seconds=trial.seconds or 0.0), ended

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
                study = _begun(name, cell.axes, self._storage)
            self._studies[cell.name] = study, len(study.get_trials(deepcopy=False))
        return self._studies[cell.name]


def _begun(name: str, axes: Mapping[str, Any], storage: BaseStorage | None) -> optuna.Study:
    study = optuna.create_study(study_name=name, storage=storage)
    with warnings.catch_warnings():
        # Experimental since 2023; the name is what the dashboard's axes show.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["val_loss"])
    for column, value in axes.items():
        study.set_user_attr(column, value)
    return study


def _note(study: optuna.Study, cell: Cell, trials: Sequence[Trial], folder: Path) -> None:
    """Say on a cell's study what its best setting is so far, and where its runs lie, unless that is said."""
    text = f"**{cell.name}**: {len(trials)} trials, runs in `{folder / cell.folder}/`."
    if (selected := best(trials)) is not None:
        values = {"val_loss": selected.value, **{column_of(key): value for key, value in selected.params.items()}}
        rows = (
            f"| {name} | {f'{value:.5g}' if isinstance(value, float) else value} |" for name, value in values.items()
        )
        text += "\n\n" + "\n".join(
            [f"| best so far | trial {selected.index} ({selected.origin}) |", "|---|---|", *rows]
        )
        if (settings := len({tuple(sorted(trial.params.items())) for trial in trials})) < len(trials):
            text += f"\n\nSome trials share a setting: there are {settings} settings."
    _write_note(study, text)


def _table_of(losses: pd.Series) -> str:
    """The grid's losses as a note: a row for each value of the first axis, a column for those of all others."""
    first, *others = losses.index.names
    table = losses.unstack([*range(1, losses.index.nlevels)]) if others else losses.droplevel([]).to_frame("val_loss")
    table.columns = pd.Index(map(str, table.columns), name=None)
    name = " \\ ".join(filter(None, [str(first), ", ".join(map(str, others))]))
    head, *rows = table.to_csv(sep="|", float_format="%.4f", index_label=name).splitlines()
    what = "The lowest val_loss of each cell's trials (a figure below has test losses).\n"
    return "\n".join([what, head, "---|" * (table.shape[1] + 1), *rows])


def _write_note(study: optuna.Study, text: str) -> None:
    """Put a note on a study, unless it is there; of one that is too long for a database, its first paragraph."""
    text = text if len(text) <= _LONGEST_NOTE else text.partition("\n\n")[0]
    storage, number = study._storage, study._study_id
    known = storage.get_study_system_attrs(number)
    if known.get(_TEXT) != text:
        storage.set_study_system_attr(number, _VERSION, known.get(_VERSION, 0) + 1)
        storage.set_study_system_attr(number, _TEXT, text)


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

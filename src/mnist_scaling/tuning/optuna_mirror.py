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
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import CONTROL, SAMPLER, TRANSFER, TRIAL, column_of
from mnist_scaling.tuning.cell import search_space
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.trial import Trial, best, frozen

_FILE = re.compile(r"(sqlite(\+pysqlite)?:///|journal:)")
"""URLs of files."""

GRID = "START HERE, best trial of each cell"
"""The study of the whole grid."""

READ_FIRST = {"read first": "the note: last symbol at the left"}
"""An attribute of every study, shown on its first page in the dashboard, which has the note on another page."""

_GRACE_SECONDS = 5
"""How long the lock of a journal may be there before it counts as left by a kill."""

_VERSION, _TEXT, _LONGEST = "dashboard:note_ver", "dashboard:note_str:", 2045
"""Where optuna-dashboard keeps a study's note, in numbered parts of so many letters; importing it takes a second."""

_GRID_NOTE = """
**What this is.** A *cell* is one point of the grid, such as {example}. Each cell was tuned in a study of its own, which
this dashboard lists. Each trial of *this* study is the best trial of one cell: its parameters are the cell's place in
the grid, and its value is the cell's lowest `val_loss`, the loss on validation data. Lower is better.

**Look first** at these values. Click one to see how its cell was tuned.

{table}

**Then** try the symbols at the left. The second has *Slice* and *Contour*: how the loss falls along the axes. The first
has *Hyperparameter Importance*: what sets the best tenth of trials apart, so an axis with a short bar may matter, too.
Its *History* is no progress, since its points are cells. The fourth has all trials as *Parallel Coordinates* and in a
table. Figures in notes are of what `fit` had written when `make dashboard` was started.

**In tables** this is the column `val_loss` of `{folder}/cells.csv`. Laws are fitted to its `test_loss`, which is of
*repeats*: each cell's best setting, trained again from fresh seeds. Repeats are no trials, so none is shown here."""

_CELL_HELP = f"""

- **Origin** (an attribute of each trial): `{CONTROL}` is the configuration's own setting, untuned and the same in every
cell; `{TRANSFER}` is a neighbouring cell's best, which may be the control once more; `{SAMPLER}` is Optuna's proposal.
- **Pruned**: a trial that was worse than others on its way, and was stopped. Its value is the loss that it had then.
- **Repeats** train the selected setting and the control again from fresh seeds. They are in `trials.csv`, not here."""


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
        ranges = {str(axis): _range_of(axes[axis]) for axis in axes}
        trials = [
            optuna.create_trial(
                value=one.value, params=params, distributions=ranges, user_attrs={"cell": cell.name, **one.params}
            )
            for params, (cell, one) in zip(axes.to_dict("records"), best_of, strict=True)
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
        linked = [f"[{one.value:.4f}](../{self._study(cell)[0]._study_id}/note)" for cell, one in best_of]
        table = _table_of(pd.Series(linked, pd.MultiIndex.from_frame(axes)))
        text = _GRID_NOTE.format(example=best_of[-1][0].name, table=table, folder=self._folder)
        _write_note(made, *(text[i : i + _LONGEST] for i in range(0, len(text), _LONGEST)))
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
    for column, value in {**axes, **READ_FIRST}.items():
        study.set_user_attr(column, value)
    return study


def _range_of(values: pd.Series) -> BaseDistribution:
    """The range of an axis; if all are numbers, Optuna's plots have them in order and, above 0, in logarithms."""
    if values.dtype.kind not in "if" or values.isna().any():  # null beside numbers is read as NaN, which no range holds
        return CategoricalDistribution(sorted(values.unique().tolist(), key=str))
    low, high = values.min().item(), values.max().item()
    return (IntDistribution if values.dtype.kind == "i" else FloatDistribution)(low, high, log=low > 0)


def _note(study: optuna.Study, cell: Cell, trials: Sequence[Trial], folder: Path) -> None:
    """Say on a cell's study what its best setting is so far, and where its runs lie, unless that is said."""
    text = f"**{cell.name}**, a cell that is tuned on its own: {len(trials)} trials, runs in `{folder / cell.folder}/`."
    if (selected := best(trials)) is not None:
        text += f"\n\n**Trial {selected.index} is selected** (origin: {selected.origin}): its `val_loss`, the loss on "
        text += f"validation data, is the lowest so far, {selected.value:.5g}."
        text += "\n\n| parameter | column of trials.csv | its value |\n|---|---|---|" if selected.params else ""
        for key, value in selected.params.items():
            text += f"\n| {key} | {column_of(key)} | {f'{value:.5g}' if isinstance(value, float) else value} |"
    _write_note(study, text, _CELL_HELP)


def _table_of(losses: pd.Series) -> str:
    """The grid's losses in Markdown: a row for each value of the first axis, a column for those of all others."""
    first, *others = losses.index.names
    table = losses.unstack([*range(1, losses.index.nlevels)]) if others else losses.droplevel([]).to_frame("val_loss")
    table.columns = pd.Index(map(str, table.columns), name=None)
    name = " \\ ".join(filter(None, [str(first), ", ".join(map(str, others))]))
    head, *rows = table.to_csv(sep="|", index_label=name).splitlines()
    return "\n".join([head, "---|" * (table.shape[1] + 1), *rows])


def _write_note(study: optuna.Study, *parts: str) -> None:
    """Put a note on a study, in parts that a database takes, of which those are written that are not there."""
    storage, number = study._storage, study._study_id
    known = storage.get_study_system_attrs(number)
    told = {**{key: "" for key in known if key.startswith(_TEXT)}, **{f"{_TEXT}{i}": p for i, p in enumerate(parts)}}
    if new := {key: part for key, part in told.items() if known.get(key) != part}:
        for key, value in {_VERSION: known.get(_VERSION, 0) + 1, **new}.items():
            storage.set_study_system_attr(number, key, value)


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

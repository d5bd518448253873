"""A cell's Optuna study: ask, tell, and what a resume finds there."""

from __future__ import annotations

import hashlib
import os
import socket
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from mnist_scaling.errors import InputError
from mnist_scaling.results import COMPLETE, DIVERGED, PRUNED
from mnist_scaling.tuning import search_space
from mnist_scaling.tuning.grid import Cell

JOURNAL = "optuna.journal"
"""Default storage, inside the study's folder; optuna-dashboard opens it by its path."""

DIVERGED_VALUE = 100.0
"""Told to Optuna for a diverged run: worse than any finished one, yet a value, so that the sampler
learns to stay away. As a failure the trial would be invisible to it."""

INDEX, RECLAIMED, OWNER, STATE = "index", "reclaimed", "owner", "state"
"""User attributes of a trial."""


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


class Counted:
    """A study as a pruner is to see it: without reclaimed trials, whose settings come back as new ones."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def get_trials(self, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        """`optuna.Study.get_trials` of the trials that count or run."""
        return [t for t in self._study.get_trials(*arguments, **options) if not t.user_attrs.get(RECLAIMED)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


@dataclass(frozen=True)
class Ask:
    """A setting to try."""

    index: int
    """Place of the trial within its cell, from 0."""
    number: int
    """Optuna's number of the trial; differs from the index once a trial was reclaimed."""
    params: dict[str, Any]
    """Config key to value."""


class CellStudy:
    """The Optuna study of one cell.

    Parameters
    ----------
    cell : Cell
    storage : optuna storage
    sampler : DictConfig
        Node of the ``hydra/sweeper/sampler`` group.
    ignored : list of str
        Config keys that don't change a result, left out of the fingerprint.
    """

    def __init__(self, cell: Cell, storage: BaseStorage, sampler: DictConfig, ignored: list[str]) -> None:
        self.cell = cell
        self._sampler = sampler
        self.study = optuna.create_study(
            study_name=cell.name, storage=storage, direction="minimize", load_if_exists=True
        )
        fingerprint = cell.fingerprint(ignored)
        known = self.study.user_attrs.get("fingerprint")
        if known is None:
            self._describe(fingerprint)
        elif known != fingerprint:
            raise InputError(_difference(cell.name, known, fingerprint))

    def _describe(self, fingerprint: dict[str, Any]) -> None:
        for column, value in self.cell.axes.items():
            self.study.set_user_attr(column, value)
        with warnings.catch_warnings():
            # Experimental since 2023; the name is what the dashboard's axes show.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.set_metric_names(["val_loss"])
        first = search_space.baseline(self.cell.space, self.cell.values)
        if first:
            # Every cell starts from the same setting: the untuned control, and a fair first guess.
            self.study.enqueue_trial(first, user_attrs={INDEX: 0})
        # Last, so that a study killed half-way through this is described again.
        self.study.set_user_attr("fingerprint", fingerprint)

    def counted(self) -> int:
        """Finished trials that count towards n_trials: all but the reclaimed."""
        return sum(t.state.is_finished() and not t.user_attrs.get(RECLAIMED) for t in self._trials())

    def running(self) -> list[FrozenTrial]:
        """Trials that were asked and never told: after a kill, the zombies."""
        return [t for t in self._trials() if t.state == TrialState.RUNNING]

    def ask(self) -> Ask:
        """The next setting: an enqueued one, else the sampler's.

        The sampler is seeded afresh from (seed, cell, index): a seeded sampler that lives on would
        replay its first draws after a resume, and one seed would give all cells the same draws.
        """
        index = self._next_index()
        self.study.sampler = self._make_sampler(index)
        trial = self.study.ask(self.cell.space)
        if INDEX in trial.user_attrs:
            index = trial.user_attrs[INDEX]
        else:
            trial.set_user_attr(INDEX, index)
        trial.set_user_attr(OWNER, [socket.gethostname(), os.getpid()])
        return Ask(index, trial.number, dict(trial.params))

    def reclaim(self, trial: FrozenTrial) -> None:
        """Close a trial whose run died unfinished; its setting comes back at the same place."""
        self.discard(trial.number)
        index = trial.user_attrs.get(INDEX, self._next_index())
        self.study.enqueue_trial(trial.params, user_attrs={INDEX: index})

    def discard(self, number: int) -> None:
        """Take an unfinished trial out of the count."""
        trial = self.study._storage.get_trial(trial_id(self.study, number))
        if not trial.state.is_finished():
            self.study._storage.set_trial_user_attr(trial._trial_id, RECLAIMED, True)
            self.study.tell(number, state=TrialState.FAIL)

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _next_index(self) -> int:
        taken = {
            t.user_attrs[INDEX] for t in self._trials() if INDEX in t.user_attrs and not t.user_attrs.get(RECLAIMED)
        }
        return next(i for i in range(len(taken) + 1) if i not in taken)

    def _make_sampler(self, index: int) -> BaseSampler:
        # A quasi-random sequence is one sequence: its seed scrambles it and must not change on the way.
        place = 0 if str(self._sampler.get("_target_")).endswith("QMCSampler") else index
        text = f"{self.cell.run.seed}/{self.cell.name}/{place}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        # The sampler's class is named in the user's own conf/, which is as trusted as their code.
        return instantiate(self._sampler, seed=seed, _execution_whitelist_=self._sampler["_target_"])


def _difference(name: str, known: dict[str, Any], wanted: dict[str, Any]) -> str:
    keys = sorted(key for key in known.keys() | wanted.keys() if known.get(key) != wanted.get(key))
    changes = ", ".join(f"{key} was {known.get(key)} and is now {wanted.get(key)}" for key in keys)
    return (
        f"A study must keep its configuration, but that of cell '{name}' differs: {changes}; "
        "set it back, or give the new study another `name=`."
    )

"""A cell's Optuna study: ask, and what a resume finds there."""

from __future__ import annotations

import hashlib
import os
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_scaling.errors import InputError
from mnist_scaling.study import identity, layout
from mnist_scaling.study.identity import IDENTITY
from mnist_scaling.study.vocabulary import CONTROL, SAMPLER, TRANSFER
from mnist_scaling.tuning.cell import optuna_objects
from mnist_scaling.tuning.cell.trials import EXCLUDED, GROUP, INDEX, ORIGIN, OWNER, RECLAIMED, counting, in_ranges
from mnist_scaling.tuning.grid import search_space
from mnist_scaling.tuning.grid.partitioning import Cell
from mnist_scaling.tuning.stored.storage import open_trial

OPENED, WIDENED = "opened", "widened"
"""User attributes of a study, beside its axes and its identity: its plan."""

PLAN = "plan"
"""Key of cell.json: the plan, so that an emptied storage can be given it again."""

LEARNERS = (optuna.samplers.TPESampler, optuna.samplers.GPSampler)
"""Samplers that are told other cells' trials; others follow a sequence of their own, or keep a state."""


_STARTED = tuple(state for state in TrialState if state != TrialState.WAITING)


@dataclass(frozen=True)
class Ask:
    """A setting to try."""

    index: int
    """Place of the trial within its cell, from 0."""
    number: int
    """Optuna's number of the trial; differs from the index once a trial was reclaimed."""
    params: dict[str, Any]
    """Config key to value."""
    origin: str
    """Where the setting comes from."""


class CellStudy:
    """The Optuna study of one cell.

    Parameters
    ----------
    cell : Cell
    storage : optuna storage
    sampler : DictConfig
        Node of the ``hydra/sweeper/sampler`` group.
    prefix : str
        Before the cell's name in the name of its study.

    Attributes
    ----------
    neighbour_trials : callable
        From this cell's trials that may be learnt from, to trials of other cells as if they were its own;
        none unless it is set.
    """

    def __init__(self, cell: Cell, storage: BaseStorage, sampler: DictConfig, prefix: str = "") -> None:
        self.cell = cell
        self._sampler = sampler
        self.neighbour_trials: Callable[[Sequence[FrozenTrial]], Sequence[FrozenTrial]] = lambda own: ()
        self.study = optuna.create_study(
            study_name=prefix + cell.name, storage=storage, direction="minimize", load_if_exists=True
        )
        self._attributes = dict(self.study.user_attrs)
        known = self._attributes.get(IDENTITY)
        if known is None and self.trials():
            raise InputError(
                f"A study must have been begun with this version of mnist_scaling, but that of cell '{cell.name}' "
                "holds trials of an older one, which trained other bits: give the new study another `name=`."
            )
        if known is None:
            self._describe()
        else:
            _check(cell, known)

    def _describe(self) -> None:
        for column, value in self.cell.axes.items():
            self.study.set_user_attr(column, value)
        with warnings.catch_warnings():
            # Experimental since 2023; the name is what the dashboard's axes show.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.set_metric_names(["val_loss"])
        # Last, so that a study killed half-way through this is described again.
        self.study.set_user_attr(IDENTITY, identity.Identity(self.cell.settings, self.cell.ranges).record())

    @property
    def space(self) -> dict[str, BaseDistribution]:
        """What is tuned, by config key, with the ranges that were widened."""
        return self.ranges_with({})

    @property
    def widened(self) -> dict[str, dict[str, Any]]:
        """What was done to ranges, by config key: range, and the index and setting of the trial that tests it."""
        return self._attributes.get(WIDENED, {})

    @property
    def plan(self) -> dict[str, Any]:
        """The settings that the cell starts with, and what was done to its ranges."""
        return {key: self._attributes[key] for key in (OPENED, WIDENED) if key in self._attributes}

    def restore(self, plan: Mapping[str, Any]) -> None:
        """Take over what the storage lacks of a plan; the first settings last, since they open the cell."""
        widened = {**plan.get(WIDENED, {}), **self.widened}
        if widened != self.widened:
            self._remember(WIDENED, widened)
        if not self.opened and OPENED in plan:
            self._remember(OPENED, plan[OPENED])

    def ranges_with(self, plan: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """What is tuned, in the ranges that it would have with a plan."""
        widened = {**plan.get(WIDENED, {}), **self.widened}
        return self.cell.space | {key: json_to_distribution(entry["range"]) for key, entry in widened.items()}

    @property
    def opened(self) -> bool:
        """Whether the cell has its first settings."""
        return OPENED in self._attributes

    def open(self, transferred: Sequence[Mapping[str, Any]] = ()) -> None:
        """Fix the settings that the cell starts with: other cells' selected ones, then its control.

        Only the first call counts: a resume goes by what was fixed then. A range grows to hold a value
        that another cell found beyond it, and counts as widened.

        Parameters
        ----------
        transferred : sequence of mapping
            Settings, by config key.
        """
        if self.opened:
            return
        for setting in transferred:
            for key, value in setting.items():
                wider = search_space.including(self.space[key], value)
                if wider != self.space[key]:
                    entry = {"range": distribution_to_json(wider), "index": None}
                    self._remember(WIDENED, self.widened | {key: entry})
        plan = [[dict(setting), TRANSFER] for setting in transferred]
        control = search_space.baseline(self.cell.space, self.cell.values)
        if control:
            # Every cell tries the same setting, which is what an untuned grid would run.
            plan.append([control, CONTROL])
        self._remember(OPENED, plan)

    def _remember(self, key: str, value: Any) -> None:
        """Set an attribute of the study. Only this process writes them, so it reads them from a copy of its own."""
        self._attributes[key] = value
        self.study.set_user_attr(key, value)

    def widen(self, key: str, distribution: BaseDistribution, setting: Mapping[str, Any]) -> None:
        """Give a tuned key a wider range, and try `setting` in it next."""
        entry = {"range": distribution_to_json(distribution), "index": self.next_index(), "setting": dict(setting)}
        self._remember(WIDENED, self.widened | {key: entry})

    def counted(self) -> int:
        """Finished trials that count towards n_trials: all but the reclaimed."""
        return sum(t.state.is_finished() for t in counting(self.study))

    def running(self) -> list[FrozenTrial]:
        """Trials that were asked for and never told, which a kill leaves behind."""
        return [t for t in self.trials() if t.state == TrialState.RUNNING]

    def ask(self, together: int = 1) -> Ask:
        """The next setting: the one that is planned for this place in the cell, else the sampler's.

        A new sampler is made for each trial, seeded with (seed, cell, index). If one seeded sampler served all trials,
        it would repeat its first draws after a resume, and one seed would give all cells the same draws.

        Parameters
        ----------
        together : int
            Trials that are asked for together: their indices start at a multiple of it, and none of them
            learns from another.
        """
        index = self.next_index()
        group = index - index % together
        setting, origin = self._planned(index)
        state: dict[str, Any] = {}
        if not setting:
            setting, state = self._proposed(index, group)
        owner = [socket.gethostname(), os.getpid()]
        # One write for all of it, so that a kill at any moment leaves a whole trial or none.
        asked = create_trial(
            state=TrialState.RUNNING,
            params={key: setting[key] for key in self.space},
            distributions=self.space,
            user_attrs={INDEX: index, GROUP: group, ORIGIN: origin, OWNER: owner},
            system_attrs=state,
        )
        (trial,) = self.store([asked])
        return Ask(index, trial.number, dict(trial.params), origin)

    def store(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Put trials into the storage, one for each place in the cell; as they are there.

        A storage makes a trial twice where the connection broke before its answer came. The first of the two is
        reclaimed.
        """
        self.study.add_trials(trials)
        stored: dict[int, FrozenTrial] = {}
        for trial in counting(self.study, states=_STARTED):
            place: int = trial.user_attrs.get(INDEX, -1)
            if place in stored:
                self.reclaim(stored[place].number)
            if any(place == one.user_attrs[INDEX] for one in trials):
                stored[place] = trial
        return list(stored.values())

    def untouched_from(self, index: int) -> bool:
        """Whether no trial was ever asked for at this place or behind it, and no range was widened for it."""
        asked = any(t.user_attrs.get(INDEX, -1) >= index for t in self.trials())
        return not asked and all(entry["index"] != index for entry in self.widened.values())

    def _proposed(self, index: int, group: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """A setting that the sampler proposes, and the state that it wants kept with the trial.

        It proposes in a copy in memory, so that the study itself holds only what was really run. In the copy all trials
        have the present ranges; otherwise a multivariate model would leave out a key whose range was widened.
        """
        sampler = self._make_sampler(index)
        copy = optuna.create_study(direction="minimize", sampler=sampler)
        # A trial that is asked for again, in a storage that was emptied, must learn from no more than it did at first.
        earlier = [t for t in counting(self.study) if t.user_attrs.get(INDEX, -1) < index]
        own = [t for t in earlier if t.params.keys() == self.space.keys()]
        if isinstance(sampler, LEARNERS):
            copy.add_trials(self.neighbour_trials([t for t in own if t.user_attrs.get(GROUP) != group]))
        # Trials of the same group count as running, also where a resume finds them finished.
        copy.add_trials([in_ranges(t, self.space, running=t.user_attrs.get(GROUP) == group) for t in own])
        # A quasi-random sequence counts its own steps, so all earlier ones are drawn again.
        drawn = [t for t in own if self._is_drawn(t)] if isinstance(sampler, optuna.samplers.QMCSampler) else []
        trial = [copy.ask(self.space) for _ in range(len(drawn) + 1)][-1]
        return trial.params, copy.get_trials(deepcopy=False)[trial.number].system_attrs

    def _is_drawn(self, trial: FrozenTrial) -> bool:
        """Whether a trial's setting is one of a quasi-random sequence, which a cell's very first trial never is."""
        index = trial.user_attrs[INDEX]
        tested = {entry["index"] for entry in self.widened.values()}
        return index > 0 and index not in tested and trial.user_attrs[ORIGIN] == SAMPLER

    def _planned(self, index: int) -> tuple[dict[str, Any], str]:
        """The setting for a place in the cell and its origin; an empty one where the sampler is to choose."""
        counted = {trial.number for trial in counting(self.study)}
        for trial in self.trials():
            if trial.number not in counted and trial.user_attrs.get(INDEX) == index:
                if trial.params.keys() == self.space.keys():
                    return dict(trial.params), trial.user_attrs.get(ORIGIN, SAMPLER)
        opening = self._attributes.get(OPENED, [])
        if index < len(opening):
            return opening[index][0], opening[index][1]
        for entry in self.widened.values():
            if entry["index"] == index:
                return entry["setting"], SAMPLER
        return {}, SAMPLER

    def reclaim(self, number: int) -> None:
        """Take a trial out of the count; its setting comes back at the same place."""
        if self.trials()[number].state.is_finished():
            # Optuna changes no finished trial, so the number is noted on the study.
            self._remember(EXCLUDED, [*self._attributes.get(EXCLUDED, []), number])
        else:
            open_trial(self.study, number).set_user_attr(RECLAIMED, True)
            self.study.tell(number, state=TrialState.FAIL)

    def trials(self) -> list[FrozenTrial]:
        """Every trial of the study, as it is now, in the order of its numbers."""
        return self.study.get_trials(deepcopy=False)

    def next_index(self) -> int:
        """The first place in the cell that no trial has."""
        taken = {t.user_attrs[INDEX] for t in counting(self.study) if INDEX in t.user_attrs}
        return next(i for i in range(len(taken) + 1) if i not in taken)

    def _make_sampler(self, index: int) -> BaseSampler:
        # A quasi-random sequence is one sequence: its seed scrambles it and must not change on the way.
        place = 0 if str(self._sampler.get("_target_")).endswith("QMCSampler") else index
        text = f"{self.cell.run.seed}/{self.cell.name}/{place}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        return optuna_objects.make(self._sampler, seed=seed)


def _check(cell: Cell, known: Mapping[str, Any]) -> None:
    """Refuse to go on with a cell that was begun with other settings or ranges."""
    found = identity.differences(known["settings"], cell.settings, cell.defaults, cell.space)
    found += identity.differences(known["ranges"], cell.ranges, {})
    if found:
        raise InputError(
            f"A study must keep its configuration, but that of cell '{cell.name}' differs: {', '.join(found)}; "
            "set it back, or give the new study another `name=`. If nothing was changed, the storage is damaged: "
            f"delete the study's Optuna studies (of the default one, the file {layout.JOURNAL}): they are made again."
        )

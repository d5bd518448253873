"""Trials as Optuna keeps them: what is noted on them, which ones count, how samplers and pruners see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_scaling.tuning.grid import search_space
from mnist_scaling.tuning.stored import storage

INDEX, RECLAIMED, OWNER, ORIGIN, GROUP = "index", "reclaimed", "owner", "origin", "group"
"""User attributes of a trial. Its index is its place in the cell, from 0, which a setting keeps when its trial is
reclaimed; its group is the index of the first of those that were asked for together."""

EXCLUDED = "forgiven"
"""User attribute of a study: numbers of finished trials that don't count. Studies on disk have it by this name."""


def in_ranges(
    trial: FrozenTrial,
    ranges: Mapping[str, BaseDistribution],
    value: float | None = None,
    running: bool = False,
) -> FrozenTrial:
    """A trial as if it had been asked for in other ranges.

    Parameters
    ----------
    trial : FrozenTrial
    ranges : mapping
        Config key to range; a value outside it is moved to its end.
    value : float, optional
        Its loss, where that is to be another one too.
    running : bool
        As if it had not ended yet.
    """
    state, reports = (TrialState.RUNNING, {}) if running else (trial.state, trial.intermediate_values)
    value = None if running else trial.value if value is None else value
    return create_trial(
        state=state,
        value=value,
        params={key: search_space.clipped(ranges[key], v) for key, v in trial.params.items()},
        distributions=dict(ranges),
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
        intermediate_values=reports,
    )


def counting(study: optuna.Study, *arguments: Any, **options: Any) -> list[FrozenTrial]:
    """`optuna.Study.get_trials` without the reclaimed ones, whose settings come back as new trials."""
    excluded = storage.user_attributes(study).get(EXCLUDED, [])
    options.setdefault("deepcopy", False)
    trials = study.get_trials(*arguments, **options)
    found = [t for t in trials if not t.user_attrs.get(RECLAIMED) and t.number not in excluded]
    # By place: a setting that came back has a later number, and a sampler must not see that it was away.
    return sorted(found, key=lambda t: (_place(t), t.number))


def judged(study: optuna.Study, trial: FrozenTrial) -> tuple[optuna.Study, FrozenTrial]:
    """A study and one of its trials as a pruner is to see them: whatever was killed, or is slower, changes nothing.

    The view is a study in memory in which a trial's number is its place in the cell, because Hyperband takes a
    trial's bracket from its number. Reclaimed trials are left out. The trials that run beside the judged one are
    empty: what they have reported by now depends on who is faster. So are those of later rounds.

    Parameters
    ----------
    study : optuna.Study
    trial : FrozenTrial
        The one that is judged.

    Returns
    -------
    optuna.Study, FrozenTrial
        The view, and the trial in it.
    """
    own, group = _place(trial), trial.user_attrs.get(GROUP)
    # An early trial that is made again, because its record was lost, must not be judged by rounds that came after it.
    seen = {_place(t): t for t in counting(study) if group is None or _place(t) < group}
    seen[own] = trial
    view = optuna.create_study(study_name=study.study_name, directions=study.directions)
    empty = create_trial(state=TrialState.WAITING)
    view.add_trials([seen.get(place, empty) for place in range(max(seen) + 1)])
    return view, view.get_trials(deepcopy=False)[own]


def _place(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get(INDEX, trial.number))


def is_stopped(study: optuna.Study, number: int) -> bool:
    """Whether the study's pruner stops a trial after its latest report.

    Parameters
    ----------
    study : optuna.Study
    number : int
        Optuna's number of the trial.
    """
    trial = study.get_trials(deepcopy=False)[number]
    view, seen = judged(study, trial)
    stop = study.pruner.prune(view, seen)
    # Some pruners note on a trial how far it came, for those that are judged after it.
    for key, value in view.get_trials(deepcopy=False)[seen.number].system_attrs.items():
        if trial.system_attrs.get(key) != value:
            study._storage.set_trial_system_attr(trial._trial_id, key, value)
    return stop

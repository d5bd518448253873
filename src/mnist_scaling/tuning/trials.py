"""Trials as Optuna keeps them: what we note on them, which ones count, how they look from another cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_scaling.tuning import search_space, storage

INDEX, RECLAIMED, OWNER, ORIGIN, GROUP = "index", "reclaimed", "owner", "origin", "group"
"""User attributes of a trial; its group is the index of the first of those that were asked for together."""

FORGIVEN = "forgiven"
"""User attribute of a study: numbers of finished trials that don't count."""


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
        intermediate_values=reports,
    )


def counting(study: optuna.Study, *arguments: Any, **options: Any) -> list[FrozenTrial]:
    """`optuna.Study.get_trials` without the reclaimed ones, whose settings come back as new trials."""
    forgiven = storage.user_attributes(study).get(FORGIVEN, [])
    options.setdefault("deepcopy", False)
    trials = study.get_trials(*arguments, **options)
    found = [t for t in trials if not t.user_attrs.get(RECLAIMED) and t.number not in forgiven]
    # By place: a setting that came back has a later number, and a sampler must not see that it was away.
    return sorted(found, key=lambda t: (t.user_attrs.get(INDEX, t.number), t.number))


class Judges:
    """A study as a pruner is to see it: without reclaimed trials, and without those that run beside its own.

    What a trial's companions have reported by now depends on who is faster; the same rows are to come out.

    Parameters
    ----------
    study : optuna.Study
    trial : FrozenTrial
        The one that is judged.
    """

    def __init__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._study, self._number, self._group = study, trial.number, trial.user_attrs.get(GROUP)

    def get_trials(self, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        """The trials that count, but for the companions."""
        found = counting(self._study, *arguments, **options)
        alone = self._group is None
        return [t for t in found if alone or t.number == self._number or t.user_attrs.get(GROUP) != self._group]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

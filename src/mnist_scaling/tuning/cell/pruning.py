"""Whether a trial is stopped: a pure function of its reports and of the trials of earlier rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from omegaconf import OmegaConf
from optuna.trial import TrialState, create_trial

from mnist_scaling.tuning.cell import optuna_objects
from mnist_scaling.tuning.cell.trial import Trial, frozen

if TYPE_CHECKING:
    from mnist_scaling.tuning.workers.job import Pruning


def stopped(given: Pruning, index: int, reports: Sequence[float]) -> tuple[bool, dict[str, Any]]:
    """Whether a trial is to stop after its latest report, and what the pruner notes on it.

    The pruner sees a study in memory in which a trial's number is its place in the cell, because Hyperband takes a
    trial's bracket from its number. The trials that run beside the judged one are empty there: what they have reported
    by now depends on who is faster.

    Parameters
    ----------
    given : Pruning
    index : int
        The trial's place in its cell.
    reports : sequence of float
        All of its reports so far.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna_objects.make(OmegaConf.create(given.pruner))
    seen = {t["index"]: _shown(t) for t in given.earlier}
    empty = create_trial(state=TrialState.WAITING)
    stop, notes = False, dict[str, Any]()
    # Some pruners note on a trial how far it came, so every report is judged in its turn.
    for n in range(1, len(reports) + 1):
        study = optuna.create_study(study_name=given.study, direction="minimize")
        so_far = dict(enumerate(reports[:n], start=1))
        judged = create_trial(state=TrialState.RUNNING, intermediate_values=so_far, system_attrs=notes)
        study.add_trials([*(seen.get(place, empty) for place in range(index)), judged])
        stop = pruner.prune(study, study.get_trials(deepcopy=False)[index])
        notes = dict(study.get_trials(deepcopy=False)[index].system_attrs)
    return stop, notes


def _shown(trial: Mapping[str, Any]) -> optuna.trial.FrozenTrial:
    """A finished trial of an earlier round, without its setting, which no pruner looks at."""
    seen = trial["state"], trial["value"], tuple(trial["reports"]), trial["notes"]
    return frozen(Trial(trial["index"], {}, {}, "", *seen))

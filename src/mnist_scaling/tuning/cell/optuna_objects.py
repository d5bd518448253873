"""Optuna's samplers and pruners, which conf/ names: made, refused where they can't work here, and asked to prune."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import optuna
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState, create_trial

from mnist_scaling.errors import InputError, require
from mnist_scaling.tuning.cell.trial import frozen

if TYPE_CHECKING:
    from mnist_scaling.tuning.workers.job import Pruning

_TARGET = "_target_"


def make(node: DictConfig, **arguments: Any) -> Any:
    """The object that a node of a config group describes, with whatever it wraps.

    Its classes are named in the user's own conf/, which is as trusted as their code (SECURITY.md).
    """
    alone = DictConfig(OmegaConf.to_container(node, resolve=True))  # Hydra would copy the whole config around the node
    written = OmegaConf.to_yaml(alone)
    targets = re.findall(rf"\b{_TARGET}: (\S+)", written)  # every class that it names, at any depth
    with warnings.catch_warnings():
        # The user chose the experimental class by naming it, and every worker would repeat the warning.
        warnings.simplefilter("ignore", ExperimentalWarning)
        if len(targets) > 1:
            return instantiate(alone, **arguments, _execution_whitelist_=targets)
        return _call(written, targets[0])(**arguments)


@functools.lru_cache(maxsize=16)
def _call(node: str, target: str) -> Callable[..., Any]:
    """What makes the object of a node that wraps no other; found once, because every trial has a sampler of its own."""
    return instantiate(OmegaConf.create(node), _partial_=True, _execution_whitelist_=[target])  # type: ignore[no-any-return]


def check(sampler: DictConfig, pruner: DictConfig | None) -> None:
    """Refuse, before anything is trained, what could not propose a setting or prune."""
    require(
        "CmaEsSampler" not in str(sampler[_TARGET]) or find_spec("cmaes") is not None,
        "`hydra/sweeper/sampler` must have the packages that it needs, but CmaEsSampler lacks cmaes: run "
        "`pip install cmaes`, or choose another sampler.",
    )
    for group, node in {"sampler": sampler, "pruner": pruner}.items():
        if not node:
            continue
        try:
            make(node, **({"seed": 0} if group == "sampler" else {}))
        except (TypeError, ValueError, HydraException) as error:
            said = str(error.__cause__ or error).strip().splitlines()[0]
            raise InputError(
                f"The keys of `hydra.sweeper.{group}` must be those of {str(node[_TARGET]).rsplit('.', 1)[-1]}, "
                f"but Optuna says: {said}."
            ) from None


def stopped(given: Pruning, index: int, reports: Sequence[float]) -> tuple[bool, dict[str, Any]]:
    """Whether a trial is to stop after the latest of its reports, and what the pruner notes on it.

    The pruner sees a study in memory in which a trial's number is its index in the cell, because Hyperband takes a
    trial's bracket from its number. The trials that run beside the judged one are empty there: what they have reported
    by now depends on who is faster.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = make(OmegaConf.create(given.pruner))
    seen = {trial.index: frozen(trial) for trial in given.earlier}
    empty = create_trial(state=TrialState.WAITING)
    stop, notes = False, dict[str, Any]()
    # Some pruners note on a trial how far it came, so every report is judged in its turn.
    for n in range(1, len(reports) + 1):
        study = optuna.create_study(study_name=given.cell, direction="minimize")
        so_far = dict(enumerate(reports[:n], start=1))
        judged = create_trial(state=TrialState.RUNNING, intermediate_values=so_far, system_attrs=notes)
        study.add_trials([*(seen.get(place, empty) for place in range(index)), judged])
        stop = pruner.prune(study, study.get_trials(deepcopy=False)[index])
        notes = dict(study.get_trials(deepcopy=False)[index].system_attrs)
    return stop, notes

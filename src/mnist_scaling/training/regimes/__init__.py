"""How long a run trains, and so what D and C mean: every regime by its name.

A regime answers seven questions (`passes.Regime`); CONTRIBUTING.md says where a new one goes.

    what to train on           `n_train`: how many of the subset's images are used
    how long                   `n_seen`: how many images are processed, D
    when to evaluate           inside `train`, by `Run.evaluate`
    when to stop               inside `train`, by returning
    which weights count        those of the run's model when `train` returns; `Run.restore` brings back others
    which schedule is usual    its file in conf/regime/; those that it can work with: `schedules`
    what to record             the `RunOutcome` that `train` returns
"""

from __future__ import annotations

from mnist_scaling.config import RunConfig, one_of, require
from mnist_scaling.training.regimes.early_stopping import EarlyStopping
from mnist_scaling.training.regimes.passes import IsoFlopBudget, Passes, Regime, Repeat, SingleEpoch
from mnist_scaling.training.regimes.wsd import Wsd

__all__ = ["REGIMES", "Passes", "Regime", "build"]

REGIMES: dict[str, type[Regime]] = {
    "single_epoch": SingleEpoch,
    "early_stopping": EarlyStopping,
    "isoflop": IsoFlopBudget,
    "wsd": Wsd,
    "repeat": Repeat,
}
"""Every regime by the value of `regime.name`."""


def build(run: RunConfig, flops_per_example: int) -> Regime:
    """The regime of a run, whose model's training takes so many FLOPs per example (`model_size.Size.training`).

    InputError tells of an unknown name, a key that the regime needs, or a schedule that is not for it.
    """
    one_of("regime.name", run.regime.name, tuple(REGIMES))
    kind = REGIMES[run.regime.name]
    schedule = run.optim.schedule
    require(
        schedule in kind.schedules,
        f"`optim.schedule` must be one of {', '.join(kind.schedules)} with regime={run.regime.name}, "
        f"but got {schedule!r}: choose one of them.",
    )
    return kind(run, flops_per_example)

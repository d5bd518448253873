"""What a regime is to the loop, and the learning-rate factors that regimes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import cos, pi, sqrt
from typing import ClassVar

from mnist_scaling.config import RunConfig
from mnist_scaling.training.run import Run, RunOutcome


class Regime(ABC):
    """One way to decide how long a run trains; each run gets an object of its own."""

    schedules: ClassVar[tuple[str, ...]]
    """Values of `optim.schedule` that it can work with."""

    def __init__(self, config: RunConfig, flops_per_example: int) -> None:
        del flops_per_example  # which a budget asks for
        self.config = config

    def n_train(self, available: int) -> int:
        """Unique examples that are used, U, of so many in the subset: here all of them."""
        return available

    @abstractmethod
    def n_seen(self, n_train: int) -> int:
        """Examples processed, D, of a run on `n_train` unique ones; an upper bound where the run itself decides."""

    @abstractmethod
    def train(self, run: Run) -> RunOutcome:
        """Train the run's model; `run.Ended` passes through."""


def factor(schedule: str, progress: float, warmup: float, decay: float = 0.2, shape: str = "sqrt") -> float:
    """Factor on the peak learning rate at a share of the run.

    With p the progress and w the warm-up's share: p / w while p < w; then, with q = (p - w) / (1 - w),
    (1 + cos(pi q)) / 2 for cosine, 1 - q for linear, 1 for constant. Cosine and linear reach zero at
    the run's own end, so that every run is a finished one (Hoffmann et al. 2022, section 3.1). wsd (warm-up,
    stable, decay) is 1 until p = 1 - decay, then `fall` (Hägele et al. 2024, section 3).

    Progress, warm-up and decay are shares of the run in [0, 1]; `shape` is how wsd falls.
    """
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1 - warmup)
    if schedule == "cosine":
        return (1 + cos(pi * rest)) / 2
    if schedule == "linear":
        return 1 - rest
    if schedule == "wsd" and progress > 1 - decay:
        return fall((progress - (1 - decay)) / decay, shape)
    return 1.0


def fall(share: float, shape: str) -> float:
    """Factor at a share q of a decay: 1 - sqrt(q), which lingers at small rates, or 1 - q."""
    return 1 - (sqrt(share) if shape == "sqrt" else share)


def phase(schedule: str, progress: float, warmup: float, decay: float = 0.2) -> str:
    """What the learning rate is doing: warmup, constant, decay, or the name of a schedule that falls throughout."""
    if progress < warmup:
        return "warmup"
    if schedule == "wsd":
        return "decay" if progress > 1 - decay else "constant"
    return schedule

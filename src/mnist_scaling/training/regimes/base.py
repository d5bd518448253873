"""What a regime is to the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from mnist_scaling.config import RunConfig
from mnist_scaling.training.run.run import Run, RunOutcome


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

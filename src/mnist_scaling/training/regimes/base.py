"""What a regime is to the loop, and what most regimes share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import ceil
from typing import ClassVar

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig
from mnist_scaling.training.run.run import Run, RunOutcome
from mnist_scaling.training.step import schedules


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


class Passes(Regime):
    """A regime whose batches are all known beforehand: passes over the unique examples until D is reached.

    Each pass is a fresh random order. Passes follow each other without a gap: a batch may hold the end of
    one and the start of the next, so that all batches but the last are full and D is exact.
    """

    schedules: ClassVar[tuple[str, ...]] = ("cosine", "linear", "constant", "wsd")

    def n_seen(self, n_train: int) -> int:
        """Every example once."""
        return n_train

    def flags(self, n_train: int) -> tuple[str, ...]:
        """Codes for the run's row."""
        del n_train
        return ()

    def batches(
        self, n_train: int, batch_size: int, generator: torch.Generator, device: torch.device | None = None
    ) -> Iterator[Tensor]:
        """Positions in the subset, one batch at a time; they add up to `n_seen` examples.

        The order is drawn on the CPU, so that it is the same everywhere, and goes to the device once per pass: a copy
        per step would wait for the device.
        """
        left = self.n_seen(n_train)
        rest = torch.empty(0, dtype=torch.int64)
        while left:
            rows = torch.cat([rest, torch.randperm(n_train, generator=generator)])[:left]
            # The last batch of a pass waits for the next pass, unless the run ends here.
            whole = len(rows) if len(rows) == left else len(rows) // batch_size * batch_size
            if whole:
                yield from rows[:whole].to(device).split(batch_size)
            rest, left = rows[whole:], left - whole

    def train(self, run: Run) -> RunOutcome:
        """Take every step on the schedule, and measure what is due after it."""
        o, examples = self.config.optim, self.n_seen(run.n_train)
        total = ceil(examples / run.batch_size)
        for number, rows in enumerate(self.batches(run.n_train, run.batch_size, run.order(), run.device), start=1):
            progress = schedules.progress(number, total)
            run.step(rows, schedules.factor(o.schedule, progress, o.warmup, o.decay, o.decay_shape))
            if number == total:
                run.check()
            run.report_if_due(number, total)
            run.add_curve_point_if_due(examples, schedules.phase(o.schedule, progress, o.warmup, o.decay))
        return RunOutcome(run.seen, run.steps, self.flags(run.n_train))

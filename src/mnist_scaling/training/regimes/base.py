"""What a regime is to the loop, and what most regimes share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig
from mnist_scaling.training.step import schedules

if TYPE_CHECKING:
    from mnist_scaling.training.run.observed_run import ObservedRun
    from mnist_scaling.training.run.run_monitor import RunMonitor
    from mnist_scaling.training.run.session import Session


@dataclass(frozen=True)
class Outcome:
    """What a finished run is to record; its D, epochs and C follow from `n_seen`."""

    n_seen: int
    """Examples processed until the weights that count."""
    steps: int
    """Optimiser steps until then."""
    flags: tuple[str, ...] = ()
    """Codes for the run's row."""


@dataclass(frozen=True)
class PlannedStep:
    """A step that is known before the run starts."""

    rows: Tensor
    """Positions of its examples in the subset."""
    factor: float
    """On the peak learning rate."""
    phase: str
    """What the learning rate is doing."""
    number: int
    """From 1."""
    total: int
    """Steps of the run."""

    @property
    def is_last(self) -> bool:
        """Whether the run ends with it."""
        return self.number == self.total


class Regime(Protocol):
    """One way to decide how long a run trains; each run gets an object of its own."""

    schedules: ClassVar[tuple[str, ...]]
    """Values of `optim.schedule` that it can work with."""

    def __init__(self, run: RunConfig, flops_per_example: int) -> None: ...

    def n_train(self, available: int) -> int:
        """Unique examples that are used, U, of so many in the subset."""
        ...

    def n_seen(self, n_train: int) -> int:
        """Examples processed, D, of a run on `n_train` unique ones; an upper bound where the run itself decides."""
        ...

    def train(self, session: Session) -> Outcome:
        """Train the session's model; `run_monitor.Ended` passes through."""
        ...


class Lockstep:
    """A regime whose batches are all known beforehand: passes over the unique examples until D is reached.

    Each pass is a fresh random order. Passes follow each other without a gap: a batch may hold the end of
    one and the start of the next, so that all batches but the last are full and D is exact.
    """

    schedules: ClassVar[tuple[str, ...]] = ("cosine", "linear", "constant", "wsd")

    def __init__(self, run: RunConfig, flops_per_example: int) -> None:
        self.run, self.flops_per_example = run, flops_per_example

    def n_train(self, available: int) -> int:
        """The whole subset."""
        return available

    def n_seen(self, n_train: int) -> int:
        """Every example once."""
        return n_train

    def flags(self, n_train: int) -> tuple[str, ...]:
        """Codes for the run's row."""
        del n_train
        return ()

    def passes(self, n_train: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Positions in the subset, whole batches of about one pass at a time; they add up to `n_seen` examples."""
        left = self.n_seen(n_train)
        rest = torch.empty(0, dtype=torch.int64)
        while left:
            rows = torch.cat([rest, torch.randperm(n_train, generator=generator)])[:left]
            # The last batch of a pass waits for the next pass, unless the run ends here.
            whole = len(rows) if len(rows) == left else len(rows) // batch_size * batch_size
            if whole:
                yield rows[:whole]
            rest, left = rows[whole:], left - whole

    def batches(
        self, n_train: int, batch_size: int, generator: torch.Generator, device: torch.device | None = None
    ) -> Iterator[Tensor]:
        """Positions in the subset, one batch at a time.

        The order is drawn on the CPU, so that it is the same everywhere, and goes to the device once per pass: a copy
        per step would wait for the device.
        """
        for rows in self.passes(n_train, batch_size, generator):
            yield from rows.to(device).split(batch_size)

    def plan(
        self, n_train: int, batch_size: int, generator: torch.Generator, device: torch.device | None = None
    ) -> Iterator[PlannedStep]:
        """Every step of a run, from its first to its last."""
        total = ceil(self.n_seen(n_train) / batch_size)
        for number, rows in enumerate(self.batches(n_train, batch_size, generator, device), start=1):
            yield PlannedStep(rows, *self.pace(number, total), number, total)

    def pace(self, number: int, total: int) -> tuple[float, str]:
        """Factor on the peak learning rate at a step of so many, and what the rate is doing."""
        optim, progress = self.run.optim, schedules.progress(number, total)
        factor = schedules.factor(optim.schedule, progress, optim.warmup, optim.decay, optim.decay_shape)
        return factor, schedules.phase(optim.schedule, progress, optim.warmup, optim.decay)

    def outcome(self, run: RunMonitor) -> Outcome:
        """What a run that has taken every step is to record."""
        return Outcome(run.seen, run.steps, self.flags(run.n_train))

    def train(self, session: Session) -> Outcome:
        """Take every planned step."""
        for step in self.plan(session.n_train, session.batch_size, session.order(), session.device):
            session.step(step.rows, step.factor)
            self.after(session, step.number, step.total)
        return self.outcome(session)

    def after(self, run: ObservedRun, number: int, total: int) -> None:
        """Measure what is due after a step that was taken and counted; `run_monitor.Ended` passes through."""
        if number == total:
            run.check()
        run.report_if_due(number, total)
        run.add_curve_point_if_due(self.n_seen(run.n_train), self.pace(number, total)[1])

"""What a regime is to the loop, and what most regimes share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig
from mnist_scaling.training import schedules

if TYPE_CHECKING:
    from mnist_scaling.training.session import Session


@dataclass(frozen=True)
class Outcome:
    """What a finished run is to record; its D, epochs and C follow from `n_seen`."""

    n_seen: int
    """Examples processed until the weights that count."""
    steps: int
    """Optimiser steps until then."""
    flags: tuple[str, ...] = ()
    """Codes for the run's row."""


class Regime(Protocol):
    """One way to decide how long a run trains; a fresh object each run."""

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
        """Train the session's model; `session.Ended` passes through."""
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

    def batches(self, n_train: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Positions in the subset, a batch at a time; they add up to `n_seen` examples."""
        left = self.n_seen(n_train)
        rest = torch.empty(0, dtype=torch.int64)
        while left:
            rows = torch.cat([rest, torch.randperm(n_train, generator=generator)])[:left]
            # The last batch of a pass waits for the next pass, unless the run ends here.
            whole = len(rows) if len(rows) == left else len(rows) // batch_size * batch_size
            if whole:
                yield from rows[:whole].split(batch_size)
            rest, left = rows[whole:], left - whole

    def train(self, session: Session) -> Outcome:
        """Every batch, at the rate that the schedule gives over the whole run."""
        n, batch_size, optim = session.n_train, session.batch_size, session.config.optim
        total = ceil(self.n_seen(n) / batch_size)
        for step, rows in enumerate(self.batches(n, batch_size, session.order()), start=1):
            progress = (step - 0.5) / total
            session.step(rows, schedules.factor(optim.schedule, progress, optim.warmup, optim.decay, optim.decay_shape))
            if step == total:
                session.check()
            session.pace(step, total)
            session.trace(self.n_seen(n), schedules.phase(optim.schedule, progress, optim.warmup, optim.decay))
        return Outcome(session.seen, session.steps, self.flags(n))

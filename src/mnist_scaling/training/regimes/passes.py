"""What a regime is to the loop, learning-rate factors, and the regimes whose batches are all known beforehand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from math import ceil, cos, pi, sqrt
from typing import ClassVar

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig, require
from mnist_scaling.study.columns import SINGLE
from mnist_scaling.study.flags import REPEATED_DATA
from mnist_scaling.training.run import Run, RunOutcome


class Regime(ABC):
    """One way to decide how long a run trains; each run gets an object of its own."""

    schedules: ClassVar[tuple[str, ...]]
    """Values of `optim.schedule` that it can work with."""
    needs: ClassVar[Mapping[str, str]] = {}
    """Keys of `regime` that must be given, and an example of each."""

    def __init__(self, config: RunConfig, flops_per_example: int) -> None:
        for key, example in self.needs.items():
            require(
                getattr(config.regime, key) not in (None, ()),
                f"`regime.{key}` must be given with regime={config.regime.name}, but got none: give {example}.",
            )
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
            progress = (number - 0.5) / total  # the middle of the step wastes neither end
            run.step(rows, factor(o.schedule, progress, o.warmup, o.decay, o.decay_shape))
            if number == total:
                run.check()
            run.report_if_due(number, total)
            run.add_curve_point_if_due(examples, phase(o.schedule, progress, o.warmup, o.decay))
        return RunOutcome(run.seen, run.steps, self.flags(run.n_train))


class SingleEpoch(Passes):
    """Every example is seen once: D = U, and the generalisation gap plays no part."""


class Repeat(Passes):
    """`regime.epochs` passes: D = U * epochs, so that U and D can be told apart (Muennighoff et al. 2023).

    The schedule spans the whole run, so a run of 4 epochs is not the first quarter of one of 16. One epoch is
    `single_epoch`, bit for bit.
    """

    needs: ClassVar[Mapping[str, str]] = {"epochs": "the passes, such as 4"}

    def n_seen(self, n_train: int) -> int:
        """All of the subset, `regime.epochs` times."""
        assert self.config.regime.epochs is not None
        return n_train * self.config.regime.epochs


FEWEST_BATCHES = 4
"""A budget must pay for at least this many steps: a shorter run would be little more than its warm-up."""

FEWEST_EXAMPLES = 50
"""A budget must pay for at least this many examples: with fewer, rounding to whole ones misses it by more than 1 %."""


class IsoFlopBudget(Passes):
    """C is given and D follows: D = round(`regime.flops` / FLOPs per example), at most 1 % off the budget.

    A D below the subset's size uses only D unique images (U = D, one epoch); one above it repeats them, and
    the run is marked `repeated_data`: it lies below what fresh images would give (Hoffmann et al. 2022,
    approach 2, has no such rows).
    """

    needs: ClassVar[Mapping[str, str]] = {"flops": "a budget, such as 4e9"}

    def __init__(self, config: RunConfig, flops_per_example: int) -> None:
        super().__init__(config, flops_per_example)
        budget = (config.regime.flops or 0.0) * config.regime.scale
        self.examples = round(budget / flops_per_example)
        # A sweep asks before it starts, with the config's own batch size. What its tuner tries then may be too
        # large for the budget; that is a poor trial, and the tuner learns from it.
        from_a_sweep = config.trial.stage != SINGLE
        least = FEWEST_EXAMPLES if from_a_sweep else max(FEWEST_BATCHES * config.optim.batch_size, FEWEST_EXAMPLES)
        require(
            self.examples >= least,
            f"`regime.flops` must pay for {FEWEST_BATCHES} batches and {FEWEST_EXAMPLES} examples, which is "
            f"{least * flops_per_example:.3g} at width {config.model.width} and batch size {config.optim.batch_size}, "
            f"but got {budget:.3g}: raise the budget, or give a smaller model or batch.",
        )

    def n_train(self, available: int) -> int:
        """No more than are seen: U = D within the first pass."""
        return min(available, self.examples)

    def n_seen(self, n_train: int) -> int:
        """What the budget buys."""
        return self.examples

    def flags(self, n_train: int) -> tuple[str, ...]:
        """Marks a run of more than one pass."""
        return (REPEATED_DATA,) if self.examples > n_train else ()

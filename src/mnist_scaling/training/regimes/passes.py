"""Training on batches that are known beforehand: every example once, several times, or as far as a FLOP budget pays."""

from __future__ import annotations

from mnist_scaling.config import RunConfig, require
from mnist_scaling.study.flags import REPEATED_DATA
from mnist_scaling.study.vocabulary import SINGLE
from mnist_scaling.training.regimes.base import Passes


class SingleEpoch(Passes):
    """Every example is seen once: D = U, and the generalisation gap plays no part."""


class Repeat(Passes):
    """`regime.epochs` passes: D = U * epochs, so that U and D can be told apart (Muennighoff et al. 2023).

    The schedule spans the whole run, so a run of 4 epochs is not the first quarter of one of 16. One epoch is
    `single_epoch`, bit for bit.
    """

    def __init__(self, config: RunConfig, flops_per_example: int) -> None:
        super().__init__(config, flops_per_example)
        require(
            config.regime.epochs is not None,
            "`regime.epochs` must be given with regime=repeat, but got none: give the passes, such as 4.",
        )

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

    def __init__(self, config: RunConfig, flops_per_example: int) -> None:
        super().__init__(config, flops_per_example)
        require(
            config.regime.flops is not None,
            "`regime.flops` must be given with regime=isoflop, but got none: give a budget, such as 4e9.",
        )
        budget = (config.regime.flops or 0.0) * config.regime.scale
        self.examples = round(budget / flops_per_example)
        # A sweep asks before it starts, with the config's own batch size. What its tuner tries then may be too
        # large for the budget; that is a poor trial, and the tuner learns from it.
        tuned = config.trial.stage != SINGLE
        least = FEWEST_EXAMPLES if tuned else max(FEWEST_BATCHES * config.optim.batch_size, FEWEST_EXAMPLES)
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
        del n_train
        return self.examples

    def flags(self, n_train: int) -> tuple[str, ...]:
        """Marks a run of more than one pass."""
        return (REPEATED_DATA,) if self.examples > n_train else ()

"""Training on the same examples several times."""

from __future__ import annotations

from mnist_scaling.config import RunConfig, require
from mnist_scaling.training.regimes.base import Passes


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

"""One run at a constant rate, decayed at several places: one training, the losses of many data sizes."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import ClassVar

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig, require
from mnist_scaling.training.data import splits
from mnist_scaling.training.regimes.passes import Regime, fall
from mnist_scaling.training.run import Run, RunOutcome


class Wsd(Regime):
    """Warm-up, constant rate, and a short decay to zero branched off before each of several data sizes.

    The branch of D examples is the run with schedule=wsd on D examples: it shares the trunk's first
    1 - `optim.decay`, then decays over the rest of its own D, bit for bit as if it had been trained alone
    (Hägele et al. 2024). The trunk then goes on from where the branch left it. Its images come in the order
    of the nested subsets: the first D are those of ``data.fraction = D / 50,000`` for the same seed, shuffled
    within each stretch between two branches. Every image is seen once, so a branch has U = D.

    Warm-up is `optim.warmup` of the smallest branch. A row's FLOPs are what a run of that D alone would cost;
    its `flops_spent` is what it cost here: the trunk since the branch before, and its own decay.
    """

    schedules: ClassVar[tuple[str, ...]] = ("wsd",)
    needs: ClassVar[Mapping[str, str]] = {"branches": "shares such as [0.25,0.5,1]"}

    def __init__(self, config: RunConfig, flops_per_example: int) -> None:
        super().__init__(config, flops_per_example)
        self.shares = [share for share in config.regime.branches if share <= config.regime.last]
        require(
            len(self.shares) > 0,
            f"`regime.last` must be at least the first of `regime.branches`, {config.regime.branches[0]:g}, but got "
            f"{config.regime.last:g}: raise it.",
        )
        self.sizes = [max(1, round(share * splits.n_train(config.data))) for share in self.shares]

    def n_train(self, available: int) -> int:
        """As many as the largest branch sees."""
        return min(self.sizes[-1], available)

    def n_seen(self, n_train: int) -> int:
        """The trunk and every decay: what is really processed."""
        return round((1 - self.config.optim.decay) * n_train + self.config.optim.decay * sum(self.sizes))

    def train(self, run: Run) -> RunOutcome:
        """Trunk and branches."""
        order = in_stretches(self.sizes, run.order()).to(run.device)  # once, not in every step
        for share, size in zip(self.shares, self.sizes, strict=True):
            total = ceil(size / run.batch_size)
            start = min(sum((i + 0.5) / total <= 1 - self.config.optim.decay for i in range(total)), total - 1)
            self._trunk(run, order, start)
            trunk = run.save()
            self._branch(run, order[:size], total, share)
            if size < self.sizes[-1]:
                run.restore(trunk)
        return RunOutcome(run.seen, run.steps)

    def _trunk(self, run: Run, order: Tensor, end: int) -> None:
        """On at the constant rate to this step."""
        total = ceil(self.sizes[-1] / run.batch_size)
        warm = self.config.optim.warmup * ceil(self.sizes[0] / run.batch_size)
        while run.steps < end:
            i = run.steps
            rows = order[i * run.batch_size : (i + 1) * run.batch_size]
            run.step(rows, min(1.0, (i + 0.5) / warm) if warm else 1.0)
            run.report_if_due(run.steps, total)
            run.add_curve_point_if_due(self.sizes[-1], "warmup" if i + 0.5 < warm else "constant")

    def _branch(self, run: Run, order: Tensor, total: int, share: float) -> None:
        """From here to a rate of zero over the rest of a branch's own examples."""
        optim = self.config.optim
        for rows in order[run.seen :].split(run.batch_size):
            done = (run.steps + 0.5) / total - (1 - optim.decay)
            run.step(rows, fall(max(0.0, done / optim.decay), optim.decay_shape))
        run.check(cut_short=True)
        run.add_branch(share)


def in_stretches(ends: list[int], generator: torch.Generator) -> Tensor:
    """Positions 0 … ends[-1] - 1, shuffled within each stretch that ends at one of `ends`.

    The first ends[k] of them are the positions below ends[k] for every k, whatever comes after.
    """
    starts = [0, *ends[:-1]]
    return torch.cat([a + torch.randperm(b - a, generator=generator) for a, b in zip(starts, ends, strict=True)])

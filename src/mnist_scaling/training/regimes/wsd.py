"""One run at a constant rate, decayed at several places: one training, the losses of many data sizes."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig, require
from mnist_scaling.training.data import splits
from mnist_scaling.training.regimes.base import Outcome
from mnist_scaling.training.step import schedules

if TYPE_CHECKING:
    from mnist_scaling.training.run.session import Session

CHECKPOINT_EVERY = 200
"""Steps between checkpoints of the trunk; each costs some milliseconds."""


class Wsd:
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

    def __init__(self, run: RunConfig, flops_per_example: int) -> None:
        del flops_per_example
        self.run = run
        require(
            len(run.regime.branches) > 0,
            "`regime.branches` must be given with regime=wsd, but got none: give shares such as [0.25,0.5,1].",
        )
        self.shares = [share for share in run.regime.branches if share <= run.regime.last]
        require(
            len(self.shares) > 0,
            f"`regime.last` must be at least the first of `regime.branches`, {run.regime.branches[0]:g}, but got "
            f"{run.regime.last:g}: raise it.",
        )
        self.sizes = [max(1, round(share * splits.n_train(run.data))) for share in self.shares]

    def n_train(self, available: int) -> int:
        """As many as the largest branch sees."""
        return min(self.sizes[-1], available)

    def n_seen(self, n_train: int) -> int:
        """The trunk and every decay: what is really processed."""
        return round((1 - self.run.optim.decay) * n_train + self.run.optim.decay * sum(self.sizes))

    def train(self, session: Session) -> Outcome:
        """Trunk and branches; goes on from a checkpoint."""
        order = in_stretches(self.sizes, session.order()).to(session.device)  # once, not in every step
        session.resume()
        for share, size in list(zip(self.shares, self.sizes, strict=True))[len(session.branches) :]:
            total = ceil(size / session.batch_size)
            start = min(sum((i + 0.5) / total <= 1 - self.run.optim.decay for i in range(total)), total - 1)
            self._trunk(session, order, start)
            trunk = session.save()
            self._branch(session, order[:size], total, share)
            if size < self.sizes[-1]:
                session.restore(trunk)
                session.save_checkpoint()
        return Outcome(session.seen, session.steps)

    def _trunk(self, session: Session, order: Tensor, end: int) -> None:
        """On at the constant rate to this step."""
        total = ceil(self.sizes[-1] / session.batch_size)
        warm = self.run.optim.warmup * ceil(self.sizes[0] / session.batch_size)
        while session.steps < end:
            i = session.steps
            rows = order[i * session.batch_size : (i + 1) * session.batch_size]
            session.step(rows, min(1.0, (i + 0.5) / warm) if warm else 1.0)
            session.report_if_due(session.steps, total)
            session.add_curve_point_if_due(self.sizes[-1], "warmup" if i + 0.5 < warm else "constant")
            if session.steps % CHECKPOINT_EVERY == 0:
                session.save_checkpoint()

    def _branch(self, session: Session, order: Tensor, total: int, share: float) -> None:
        """From here to a rate of zero over the rest of a branch's own examples."""
        optim = self.run.optim
        for rows in order[session.seen :].split(session.batch_size):
            done = (session.steps + 0.5) / total - (1 - optim.decay)
            session.step(rows, schedules.fall(max(0.0, done / optim.decay), optim.decay_shape))
        session.check(cut_short=True)
        session.add_branch(share)


def in_stretches(ends: list[int], generator: torch.Generator) -> Tensor:
    """Positions 0 … ends[-1] - 1, shuffled within each stretch that ends at one of `ends`.

    The first ends[k] of them are the positions below ends[k] for every k, whatever comes after.
    """
    starts = [0, *ends[:-1]]
    return torch.cat([a + torch.randperm(b - a, generator=generator) for a, b in zip(starts, ends, strict=True)])

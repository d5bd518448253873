"""Training until the validation loss stops falling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, inf
from typing import Any, ClassVar

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig
from mnist_scaling.study.flags import UNDERTRAINED
from mnist_scaling.training.regimes.passes import Regime, fall
from mnist_scaling.training.run import Run, RunOutcome


class EarlyStopping(Regime):
    """Passes over the unique examples until the validation loss was `patience` times worse than its best.

    It is evaluated after every pass. The best weights count: D, epochs, steps and C of the row are those
    behind them, `epochs_spent` and `flops_spent` what was really run. Without an end to aim at, the rate is
    constant after a warm-up (`optim.warmup` of the first pass), and with schedule=wsd a decay from the best
    weights follows: `optim.decay` of the whole, at least a pass. A run that reaches `max_epochs` before its
    patience is over is marked undertrained.

    Reports to a pruner are the validation losses after 1, 2, 4, … passes, equally far for all batch sizes.
    """

    schedules: ClassVar[tuple[str, ...]] = ("constant", "wsd")  # which don't need to know the run's end
    needs: ClassVar[Mapping[str, str]] = {"patience": "a whole number", "max_epochs": "a whole number"}

    def __init__(self, config: RunConfig, flops_per_example: int) -> None:
        super().__init__(config, flops_per_example)
        self.most = int(config.regime.max_epochs or 0)
        self.patience = int(config.regime.patience or 0)
        self.optim = config.optim
        self._worse = 0
        """Evaluations in a row without a new best."""
        self._best_loss = inf
        self._best: dict[str, Any] = {}

    def n_seen(self, n_train: int) -> int:
        """At the most: the cap. Where the run ends is not known before."""
        return n_train * self.most

    def train(self, run: Run) -> RunOutcome:
        """Passes until patience or cap, then the decay, if any; the best weights at the end."""
        order = run.order()
        per_pass = ceil(run.n_train / run.batch_size)
        epoch = 0
        while epoch < self.most and self._worse < self.patience:
            epoch += 1
            for rows in self._pass(run, order):
                run.step(rows, min(1.0, (run.steps + 0.5) / per_pass / self.optim.warmup) if self.optim.warmup else 1.0)
            self._look(run, "constant")
            if epoch & (epoch - 1) == 0:
                run.report(epoch.bit_length(), epoch / self.most, self._best_loss)
        flags = () if self._worse >= self.patience else (UNDERTRAINED,)
        if self.optim.schedule == "wsd":
            self._decay(run, order)
        run.restore(self._best)
        return RunOutcome(run.seen, run.steps, flags)

    def _pass(self, run: Run, order: torch.Generator) -> Sequence[Tensor]:
        """Positions of every example in a fresh order, one batch at a time, on the run's device."""
        return torch.randperm(run.n_train, generator=order).to(run.device).split(run.batch_size)

    def _look(self, run: Run, phase: str) -> None:
        """Evaluate, and keep the weights that are better than all before; equal is not better."""
        run.check(cut_short=True)
        loss = run.evaluate(phase)
        self._worse += 1
        if loss < self._best_loss:
            self._best_loss, self._worse, self._best = loss, 0, run.save()

    def _decay(self, run: Run, order: torch.Generator) -> None:
        """From the best weights to a rate of zero; the best evaluation on the way counts, if it is a new best."""
        run.restore(self._best)
        per_pass = ceil(run.n_train / run.batch_size)
        share = self.optim.decay
        passes = max(1, round(share / (1 - share) * run.steps / per_pass))
        done, total = 0, passes * per_pass
        for _ in range(passes):
            for rows in self._pass(run, order):
                run.step(rows, fall((done + 0.5) / total, self.optim.decay_shape))
                done += 1
            self._look(run, "decay")

"""One run in a lane: what it trains on, as the lane takes it, and when it is looked at."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import pad

from mnist_scaling.config import OptimConfig, RunConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.training import regimes, run_end, seeding
from mnist_scaling.training.data import splits
from mnist_scaling.training.models.model_size import measure
from mnist_scaling.training.regimes import Lockstep
from mnist_scaling.training.run import weights
from mnist_scaling.training.run.observed_run import ObservedRun, Watch
from mnist_scaling.training.run.run_monitor import CHECK_EVERY, Ended
from mnist_scaling.training.run.scoring import Report
from mnist_scaling.training.step import schedules
from mnist_scaling.training.step.acceleration import ACCELERATOR

PREPARING = threading.RLock()
"""Held while a run uses what the runs of a process have in common: torch's global stream of random numbers."""

SMALLEST_ROOM = 16
"""Room for examples in the smallest batch of a lane; others have 4 times, 16 times as much, and so on."""


def room(run: RunConfig) -> int:
    """Examples per step of the run's lane."""
    found = SMALLEST_ROOM
    while found < min(run.optim.batch_size, splits.n_train(run.data)):
        found *= 4
    return found


def shape(run: RunConfig) -> RunConfig:
    """What runs of one lane have in common; all else is set to one value."""
    model = replace(run.model, dropout=0.5 if run.model.dropout else 0.0)
    optim = run.optim
    constants = OptimConfig(
        name=optim.name, batch_size=room(run), weight_decay=optim.weight_decay, momentum=optim.momentum,
        nesterov=optim.nesterov, beta2=optim.beta2, clip=optim.clip,
    )  # fmt: skip
    return RunConfig(model=model, optim=constants, data=run.data.whole)


@dataclass(eq=False)
class SharedRun:
    """One run in a lane, as a `Learner` and with the steps that it has yet to take."""

    config: RunConfig
    report: Report | None
    folder: Path | None
    watch: Watch | None
    answer: Future[TrainResult] = field(default_factory=Future)
    taken: int = 0
    """Steps."""
    until: int = 0
    """The step at which it is looked at next."""
    _sums: list[tuple[float, int]] = field(default_factory=list)

    def prepare(self, device: torch.device) -> None:
        """Everything that does not need the lane."""
        with PREPARING:
            self._prepare(device)
        self.plan = self._plan()
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # a lane's stream reads what was prepared

    def _prepare(self, device: torch.device) -> None:
        config = self.config
        self.dataset = splits.load(config.data, device)
        self.size = measure(config.model, self.dataset.image_shape, self.dataset.classes)
        regime = regimes.build(config, self.size.training)
        assert isinstance(regime, Lockstep)
        self.regime = regime
        n = regime.n_train(splits.n_train(config.data))
        self.part = splits.training_part(self.dataset, n, config.data, config.seed)
        self.model: nn.Module = weights.initial_model(config, self.dataset.image_shape, self.dataset.classes).to(device)
        n_seen = regime.n_seen(n)
        self.session = ObservedRun(config, self, self.dataset, self.size, n_seen, self.report, self.watch)
        self.n_seen = n_seen
        self.total = ceil(n_seen / self.session.batch_size)

    def mean_loss(self) -> float:
        """Mean training loss of the steps since the last call."""
        mean = sum(total for total, _ in self._sums) / sum(count for _, count in self._sums)
        self._sums.clear()
        return mean

    def _plan(self) -> object:
        """The steps as the lane takes them."""
        assert ACCELERATOR is not None
        config, batch, examples = self.config, self.session.batch_size, room(self.config)
        order = torch.cat(list(self.regime.passes(len(self.part), batch, self.session.order())))
        padded = torch.zeros(self.total * batch, dtype=torch.int64)
        rows, labels = torch.empty(2, self.total, examples, dtype=torch.int64)
        for known, numbers in ((self.part.rows, rows), (self.part.labels, labels)):
            padded[: self.n_seen] = known.cpu()[order]
            numbers.copy_(pad(padded.view(-1, batch), (0, examples - batch)))
        sizes = torch.full((self.total,), batch)
        sizes[-1] = self.n_seen - batch * (self.total - 1)
        optim = config.optim
        found = schedules.factors(optim.schedule, self.total, optim.warmup, optim.decay, optim.decay_shape)
        rates = self.session.peak_lr * torch.tensor(found, dtype=torch.float64)
        # Consecutive keys of a counter-based generator are as good as any; the seed decides where they start.
        keys = (seeding.stream_seed(config.seed, "dropout") >> 1) + torch.arange(self.total)
        return ACCELERATOR.plan(rows, labels, sizes, rates, keys, config.model.dropout, optim)

    def go_on(self) -> tuple[int, int]:
        """From which step on, and to which, it can go before it is looked at."""
        batch, examples = self.session.batch_size, self.n_seen
        until = min(self.total, (self.taken // CHECK_EVERY + 1) * CHECK_EVERY)
        due = (
            number for number in range(self.taken + 1, until)
            if self.session.is_due(number, self.total, number * batch, examples)
        )  # fmt: skip
        self.until = next(due, until)
        return self.taken, self.until

    def take_in(self, summed: float) -> TrainResult | None:
        """Look at the run after its steps; its result once it has ended."""
        self._sums.append((summed, self.until - self.taken))
        examples = min(self.until * self.session.batch_size, self.n_seen)
        end: Ended | None = None
        try:
            self.session.count_steps(self.until - self.taken, examples - self.session.seen)
            self.regime.after(self.session, self.until, self.total)
        except Ended as ended:
            end = ended
        self.taken = self.until
        if end is None and self.taken < self.total:
            return None
        result = run_end.finish(self.session, self.size, end or self.regime.outcome(self.session))
        run_end.leave_weights(self.config, result, self.model, self.dataset, self.folder)
        return result

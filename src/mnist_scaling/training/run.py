"""One run in training: what a regime steps, and what is counted, looked at, reported, scored and saved on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, isfinite, log
from typing import Any

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig
from mnist_scaling.study.columns import BRANCH, DIVERGED, PRUNED
from mnist_scaling.training import scoring, seeding
from mnist_scaling.training.data import splits
from mnist_scaling.training.data.distortions import Augmenter
from mnist_scaling.training.engine import Engine
from mnist_scaling.training.model_size import Size
from mnist_scaling.training.scoring import CurveRecorder, Report, ReportSlice

CHECK_EVERY = 25
"""Steps between looks at the loss; each look waits for the device."""

DIVERGED_AT = 2.0
"""A mean loss above this many times ln(classes), that of a uniform guess, is a diverged run."""

Watch = Callable[[int, int, float], None]
"""Receives the steps that a run has taken, those it will take at the most, and its mean training loss of late."""


class Ended(Exception):  # noqa: N818  (the end of a run is no error)
    """The run is over before its regime says so: diverged, or pruned."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


@dataclass(frozen=True)
class RunOutcome:
    """What a finished run is to record; its D, epochs and C follow from `n_seen`."""

    n_seen: int
    """Examples processed until the weights that count."""
    steps: int
    """Optimiser steps until then."""
    flags: tuple[str, ...] = ()
    """Codes for the run's row."""


class Run:
    """One model that is trained as one configuration says.

    A step, a look at the losses, a report or a score raises `Ended` where the run has diverged or is told to stop.
    `n_seen` examples are what the run is expected to process, for the size of reports. With an augmenter, which draws
    the images anew, the engine trains on its part. See `loop.train_model` for the others.
    """

    def __init__(
        self,
        config: RunConfig,
        engine: Engine,
        dataset: splits.Dataset,
        size: Size,
        n_seen: int,
        report: Report | None = None,
        watch: Watch | None = None,
        augmenter: Augmenter | None = None,
    ) -> None:
        self.config, self.engine, self.dataset, self.size = config, engine, dataset, size
        self.part = engine.part if augmenter is None else augmenter.base
        """The run's training images as they are."""
        self.n_train = len(self.part)
        self.batch_size = min(config.optim.batch_size, self.n_train)
        self.seen = self.steps = 0
        """Examples and steps behind the weights as they are now."""
        self.spent = 0
        """Examples processed in all, also those whose weights were given up."""
        self.reports: list[tuple[float, float]] = []
        """Share of the run and loss of each report so far."""
        self.branches: list[dict[str, Any]] = []
        """Counts and losses of each finished decay, of a regime that has several."""
        self.curve = CurveRecorder(engine.model, self.part, dataset.validation, config)
        self._n_seen, self._report, self._watch, self._augmenter = n_seen, report, watch, augmenter
        self._report_slice = None if report is None else ReportSlice(dataset.validation, config, size, n_seen)
        self._worst = DIVERGED_AT * log(dataset.classes)
        self._unchecked = 0
        engine.model.train()

    def order(self) -> torch.Generator:
        """The run's own stream for the order of its examples, from its start."""
        return seeding.generator(self.config.seed, "order")

    @property
    def device(self) -> torch.device:
        """Where the examples lie."""
        return self.part.rows.device

    # Steps

    def step(self, rows: Tensor, factor: float) -> None:
        """One optimiser step on the training images at `rows`, at a factor on the peak rate, and a look at times."""
        drawn = rows if self._augmenter is None else self._augmenter.draw(rows, self.seen)
        self.engine.step(drawn, self.config.peak_lr * factor)
        self.steps += 1
        self.seen += len(rows)
        self.spent += len(rows)
        self._unchecked += 1
        if self.steps % CHECK_EVERY == 0:
            self.check()

    def check(self, cut_short: bool = False) -> None:
        """Look at the mean training loss since the last look.

        `Ended` when it is not finite or, unless few steps `cut_short` the mean, above `DIVERGED_AT` times chance.
        """
        if not self._unchecked:
            return
        mean = self.engine.mean_loss()
        self._unchecked = 0
        if self._watch is not None:
            taken, most = (ceil(examples / self.batch_size) for examples in (self.spent, self._n_seen))
            self._watch(taken, max(taken, most), mean)
        if not isfinite(mean) or (mean > self._worst and not cut_short):
            raise Ended(DIVERGED)

    # Losses on the way

    def report_if_due(self, step: int, total: int) -> None:
        """Measure and report a loss to the pruner when a report is due after this step of so many."""
        due, number = self._report_slice, len(self.reports) + 1
        if due is None or due.part is None or not due.is_due(number, step, total):
            return
        loss, _ = scoring.evaluate(self.engine.model, due.part)
        self.engine.model.train()
        self.report(number, step / total, loss)

    def report(self, number: int, share: float, loss: float) -> None:
        """Report a loss that is known; a number may be used once, in ascending order.

        A loss that is not finite is not reported: the next look at the training loss calls the run diverged. It raises
        Ended when the run is told to stop.
        """
        if self._report is None or number > self.config.reports.points or not isfinite(loss):
            return
        self.reports.append((share, loss))
        if self._report(number, loss):
            raise Ended(PRUNED)

    def add_curve_point_if_due(self, total: int, phase: str) -> None:
        """Add a point to the learning curve when one is due at these examples of so many."""
        if self.curve.is_due(self.seen, total):
            self.curve.add(self.seen, phase)

    def evaluate(self, phase: str) -> float:
        """Validation loss of the weights as they are, also a point of the learning curve."""
        part = self.dataset.validation.head(self.config.data.max_eval)
        loss, _ = scoring.evaluate(self.engine.model, part)
        self.engine.model.train()
        if not isfinite(loss):
            raise Ended(DIVERGED)
        self.curve.add(self.seen, phase, loss)
        return loss

    # Scores

    def score(self, known: int | None = None) -> dict[str, float]:
        """The losses that the run's stage may see, of the weights as they are, on the first `known` training images."""
        scores = scoring.score(self.engine.model, self.dataset, self.part.head(known), self.config)
        self.engine.model.train()
        if not scores["val_loss"] <= self._worst:
            raise Ended(DIVERGED)
        return scores

    def add_branch(self, share: float) -> None:
        """Score the weights as they are and record them as the end of a run of that share of the data."""
        before = sum(branch["spent"] for branch in self.branches)
        counts = {BRANCH: share, "n_seen": self.seen, "steps": self.steps, "spent": self.spent - before}
        # The first `seen` images are those of this branch; the rest it has not seen yet.
        self.branches.append(counts | self.score(self.seen))

    # Saved states

    def save(self) -> dict[str, Any]:
        """All that the next step depends on, copied: weights, optimiser, dropout's stream, counts."""
        self.check(cut_short=True)  # so that no half-filled window has to be saved
        return {"seen": self.seen, "steps": self.steps, "engine": self.engine.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a saved state, bit for bit; what was spent stays spent."""
        self.check(cut_short=True)
        self.seen, self.steps = state["seen"], state["steps"]
        self.engine.load_state_dict(state["engine"])

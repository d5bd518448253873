"""Watching one run, whoever takes its steps: counts, a look at the loss now and then, scores."""

from __future__ import annotations

from math import isfinite, log
from typing import Any

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig
from mnist_scaling.study.vocabulary import DIVERGED
from mnist_scaling.training import seeding
from mnist_scaling.training.data import splits
from mnist_scaling.training.data.augmentation import Augmenter
from mnist_scaling.training.models import parametrization
from mnist_scaling.training.run import scoring
from mnist_scaling.training.run.curve_recorder import CurveRecorder
from mnist_scaling.training.run.gradient_noise import GradientNoiseRecorder
from mnist_scaling.training.step.engine import Learner

CHECK_EVERY = 25
"""Steps between looks at the loss; each look waits for the device."""

DIVERGED_AT = 2.0
"""A mean loss above this many times ln(classes), that of a uniform guess, is a diverged run."""


class Ended(Exception):  # noqa: N818  (the end of a run is no error)
    """The run is over before its regime says so: diverged, or pruned."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


class RunMonitor:
    """One run in training, watched.

    Parameters
    ----------
    config : RunConfig
    learner : Learner
        Its model and its examples.
    dataset : data.Dataset
        For evaluations.
    augmenter : Augmenter, optional
        Draws the learner's images anew before each step; the learner then trains on its part.
    """

    def __init__(
        self, config: RunConfig, learner: Learner, dataset: splits.Dataset, augmenter: Augmenter | None = None
    ) -> None:
        self.config, self.learner, self.dataset, self._augmenter = config, learner, dataset, augmenter
        self.part = learner.part if augmenter is None else augmenter.base
        """The run's training images as they are."""
        self.n_train = len(self.part)
        self.batch_size = min(config.optim.batch_size, self.n_train)
        self.peak_lr = parametrization.peak_lr(config.model, config.optim)
        """What the factors of the schedule multiply."""
        self.seen = self.steps = 0
        """Examples and steps behind the weights as they are now."""
        self.spent = 0
        """Examples processed in all, also those whose weights were given up."""
        self.resumed_at = 0
        """Of those, the ones processed before the run was killed and resumed."""
        self.reports: list[tuple[float, float]] = []
        """Share of the run and loss of each report so far."""
        self.branches: list[dict[str, Any]] = []
        """Counts and losses of each finished decay, of a regime that has several."""
        self.curve = CurveRecorder(learner.model, self.part, dataset.validation, config)
        self.noise = GradientNoiseRecorder(learner.model, self.part, config)
        self._worst = DIVERGED_AT * log(dataset.classes)
        self._unchecked = 0
        learner.model.train()

    def order(self) -> torch.Generator:
        """The run's own stream for the order of its examples, from its start."""
        return seeding.generator(self.config.seed, "order")

    @property
    def device(self) -> torch.device:
        """Where the examples lie."""
        return self.learner.part.rows.device

    def drawn(self, rows: Tensor) -> Tensor:
        """Positions in the learner's part of the next step's examples, given theirs in the run's training images."""
        return rows if self._augmenter is None else self._augmenter.draw(rows, self.seen)

    def count_steps(self, steps: int, examples: int) -> None:
        """Count steps that were taken on so many examples; look at the loss at each multiple of `CHECK_EVERY`.

        No multiple may lie between the first and the last of them.

        Raises
        ------
        Ended
            When the training loss shows that the run has diverged.
        """
        self.steps += steps
        self.seen += examples
        self.spent += examples
        self._unchecked += steps
        if self.steps % CHECK_EVERY == 0:
            self.check()
        self.noise.add_if_due(self.seen - examples, self.seen)

    def check(self, cut_short: bool = False) -> None:
        """Look at the mean training loss since the last look.

        Parameters
        ----------
        cut_short : bool
            Only ask whether it is finite: a mean of few steps may be high by chance.

        Raises
        ------
        Ended
            When it is not finite, or above `DIVERGED_AT` times chance.
        """
        if not self._unchecked:
            return
        mean = self.learner.mean_loss()
        self._unchecked = 0
        self.watched(mean)
        if not isfinite(mean) or (mean > self._worst and not cut_short):
            raise Ended(DIVERGED)

    def watched(self, mean_loss: float) -> None:
        """Tell whoever watches the run its mean training loss since the last look; here nobody does."""

    def score(self, known: int | None = None) -> dict[str, float | None]:
        """The losses that the run's stage may see, of the weights as they are.

        Parameters
        ----------
        known : int, optional
            Only the first so many of the training images have been seen.

        Raises
        ------
        Ended
            When the validation loss is that of a diverged run.
        """
        scores: dict[str, float | None] = {**self.noise.columns(self.seen)}
        scores |= scoring.score(self.learner.model, self.dataset, self.part.head(known), self.config)
        self.learner.model.train()
        val_loss = scores["val_loss"]
        if val_loss is None or not val_loss <= self._worst:
            raise Ended(DIVERGED)
        return scores

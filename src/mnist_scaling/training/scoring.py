"""Losses of a model: at the end of a run, on the way for the pruner, and along its learning curve."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import RunConfig
from mnist_scaling.study import columns
from mnist_scaling.study.columns import TRIAL
from mnist_scaling.training import engine
from mnist_scaling.training.data import distortions, splits
from mnist_scaling.training.model_size import Size

EVAL_BATCH = 128
"""Images per forward pass of an evaluation, few enough for a core's cache; the loss depends on it by rounding only."""

EVAL_BATCH_ON_GPU = 2500
"""The same where a forward pass of a few images takes as long as one of thousands."""

Report = Callable[[int, float], bool]
"""Receives the number of a report, from 1, and a validation loss; True asks the run to stop."""


@torch.inference_mode()
def evaluate(model: nn.Module, part: splits.Examples) -> tuple[float, float]:
    """Mean cross-entropy and error rate of a model on a part, dropout off.

    Sums are float64, so the mean is exact to rounding whatever the batch: on the device, which then need not be
    waited for, but on the CPU for MPS, which has no float64.
    """
    device = part.labels.device
    sums_on = torch.device("cpu") if device.type == "mps" else device
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=sums_on)
    wrong = torch.zeros((), dtype=torch.int64, device=sums_on)
    forward = engine.forward(model, part)
    batch = EVAL_BATCH if device.type == "cpu" else EVAL_BATCH_ON_GPU
    for rows, labels in zip(part.rows.split(batch), part.labels.split(batch), strict=True):
        logits = forward(rows)
        loss += cross_entropy(logits, labels, reduction="sum").to(sums_on)
        wrong += (logits.argmax(1) != labels).sum().to(sums_on)
    return loss.item() / len(part), wrong.item() / len(part)


def score(model: nn.Module, dataset: splits.Dataset, part: splits.Examples, config: RunConfig) -> dict[str, float]:
    """The losses that a finished run's stage may see: a trial's on validation only, else on all parts, `part` being the
    run's own training images as they are.
    """
    limit = config.data.max_eval
    scores = dict(zip(("val_loss", "val_error"), evaluate(model, dataset.validation.head(limit)), strict=True))
    if config.trial.stage != TRIAL:
        scores |= zip(("test_loss", "test_error"), evaluate(model, dataset.test.head(limit)), strict=True)
        for kind in config.data.off_distribution:
            changed = distortions.off_distribution(config.data.whole, kind, dataset.test.rows.device)
            scores |= zip(columns.off_distribution(kind), evaluate(model, changed.head(limit)), strict=True)
        scores["train_loss"] = evaluate(model, part.head(len(dataset.validation)))[0]
    return scores


class ReportSlice:
    """The validation images that a run's reports are measured on, few enough to cost what they may.

    There are ``m = cost * n_seen * training / (points * forward)`` of them, with the FLOPs per
    example of a training step and of a forward pass; the first m of one fixed stratified order, so that
    all trials of a cell are compared on the same images. With fewer than `reports.least` there are no reports.
    """

    def __init__(self, validation: splits.Examples, config: RunConfig, size: Size, n_seen: int) -> None:
        self.points = config.reports.points
        wanted = config.reports.cost * n_seen * size.training / (self.points * size.forward)
        m = min(len(validation), config.data.max_eval or len(validation), floor(wanted))
        self.part = splits.fair_sample(validation, m) if m >= config.reports.least else None

    def is_due(self, number: int, step: int, total: int) -> bool:
        """Whether the report of this number, from 1, is due after a step of so many: they are evenly spaced."""
        return number <= self.points and step >= total * number / (self.points + 1)


FIRST = 1 / 64
"""Share of the run at the first of its log-spaced points."""


class CurveRecorder:
    """Collects points of one run's learning curve.

    Both losses are taken with dropout off: the validation loss on a fixed stratified slice or on what the
    regime evaluates anyway, the training loss on the first `curve.images` of the run's own images, which are
    stratified too.
    """

    def __init__(self, model: nn.Module, part: splits.Examples, validation: splits.Examples, config: RunConfig) -> None:
        self.model, self.config = model, config
        self.points: list[tuple[int, float, float, str]] = []
        """`study.columns.CURVE_FIELDS` of each."""
        self._train = part.head(config.curve.images)
        images = min(config.curve.images, config.data.max_eval or len(validation))
        self._slice = splits.fair_sample(validation, images) if config.curve.points else None

    def is_due(self, seen: int, total: int) -> bool:
        """Whether one of `curve.points`, evenly in log up to the end, is due at `seen` of `total` examples."""
        points, number = self.config.curve.points, len(self.points)
        if number >= points:
            return False
        share = FIRST ** (1 - number / (points - 1)) if points > 1 else 1.0
        return seen >= ceil(total * share)

    def add(self, seen: int, phase: str, val_loss: float | None = None) -> None:
        """Add a point; the validation loss is evaluated on the slice unless it is known."""
        if val_loss is None:
            assert self._slice is not None
            val_loss, _ = evaluate(self.model, self._slice)
        train_loss, _ = evaluate(self.model, self._train)
        self.model.train()
        self.points.append((seen, _short(val_loss), _short(train_loss), phase))


def _short(loss: float) -> float:
    """Six digits: a curve is to be drawn and smoothed, not compared bit by bit."""
    return float(f"{loss:.6g}")

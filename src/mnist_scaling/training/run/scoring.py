"""Losses of a model: at the end of a run, and on the way for the pruner."""

from __future__ import annotations

from collections.abc import Callable
from math import floor

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import RunConfig
from mnist_scaling.study import columns
from mnist_scaling.study.vocabulary import TRIAL
from mnist_scaling.training.data import off_distribution, splits
from mnist_scaling.training.models.model_size import Size
from mnist_scaling.training.step import engine

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
    """The losses that a finished run's stage may see: a trial's on validation only, else on all parts.

    Parameters
    ----------
    model : nn.Module
    dataset : data.Dataset
    part : data.Examples
        The run's own training images, as they are.
    config : RunConfig
        Its stage, how many images count, and the `data.off_distribution` scores that it is to have.
    """
    limit = config.data.max_eval
    scores = dict(zip(("val_loss", "val_error"), evaluate(model, dataset.validation.head(limit)), strict=True))
    if config.trial.stage != TRIAL:
        scores |= zip(("test_loss", "test_error"), evaluate(model, dataset.test.head(limit)), strict=True)
        for kind in config.data.off_distribution:
            changed = off_distribution.part(config.data, kind, dataset.test.rows.device)
            scores |= zip(columns.off_distribution(kind), evaluate(model, changed.head(limit)), strict=True)
        scores["train_loss"] = evaluate(model, part.head(len(dataset.validation)))[0]
    return scores


class ReportSlice:
    """The validation images that a run's reports are measured on, few enough to cost what they may.

    There are ``m = cost * n_seen * training / (points * forward)`` of them, with the FLOPs per
    example of a training step and of a forward pass; the first m of one fixed stratified order, so that
    all trials of a cell are compared on the same images. With fewer than `reports.least` there are no reports.

    Parameters
    ----------
    validation : data.Examples
    config : RunConfig
    size : Size
        Of the model.
    n_seen : int
        Examples that the run is expected to process.
    """

    def __init__(self, validation: splits.Examples, config: RunConfig, size: Size, n_seen: int) -> None:
        self.points = config.reports.points
        wanted = config.reports.cost * n_seen * size.training / (self.points * size.forward)
        m = min(len(validation), config.data.max_eval or len(validation), floor(wanted))
        enough = m >= config.reports.least
        self.part = validation.take(splits.validation_order(validation)[:m]) if enough else None

    def is_due(self, number: int, step: int, total: int) -> bool:
        """Whether the report of this number, from 1, is due after a step of so many: they are evenly spaced."""
        return self.part is not None and number <= self.points and step >= total * number / (self.points + 1)

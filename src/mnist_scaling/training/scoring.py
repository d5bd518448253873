"""Losses of a model: at the end of a run, and on the way for the pruner."""

from __future__ import annotations

from collections.abc import Callable
from math import floor, isfinite

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import RunConfig
from mnist_scaling.training import data
from mnist_scaling.training.fast import small_cnn
from mnist_scaling.training.model_size import Size

EVAL_BATCH = 128
"""Images per forward pass of an evaluation, few enough for a core's cache; the loss depends on it by rounding only."""

Report = Callable[[int, float], bool]
"""Told the number of a report, from 1, and a validation loss; True asks the run to stop."""


@torch.inference_mode()
def evaluate(model: nn.Module, part: data.Part) -> tuple[float, float]:
    """Mean cross-entropy and error rate of a model on a part, dropout off.

    Sums are kept in float64 on the device, so the mean is exact to rounding whatever the batch.
    """
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=part.labels.device)
    wrong = torch.zeros((), dtype=torch.int64, device=part.labels.device)
    by_hand = small_cnn.forward(model, part) if small_cnn.supports(model, part) else None  # type: ignore[arg-type]
    for rows, labels in zip(part.rows.split(EVAL_BATCH), part.labels.split(EVAL_BATCH), strict=True):
        logits = by_hand.logits(rows.unsqueeze(0))[0].mT if by_hand else model(part.pictures(rows))
        loss += cross_entropy(logits, labels, reduction="sum")
        wrong += (logits.argmax(1) != labels).sum()
    return loss.item() / len(part), wrong.item() / len(part)


def score(model: nn.Module, dataset: data.Dataset, part: data.Part, config: RunConfig) -> dict[str, float]:
    """The losses that a finished run's stage may see: a trial's on validation only, else on all parts."""
    limit = config.data.max_eval
    scores = dict(zip(("val_loss", "val_error"), evaluate(model, dataset.validation.head(limit)), strict=True))
    if config.trial.stage != "trial":
        scores |= zip(("test_loss", "test_error"), evaluate(model, dataset.test.head(limit)), strict=True)
        scores["train_loss"] = evaluate(model, part.head(data.N_VALIDATION))[0]
    return scores


class Reporter:
    """Reports the loss on a slice of the validation images, small enough to cost what it may.

    The slice holds ``m = cost * n_seen * training / (points * forward)`` images, with the FLOPs per
    example of a training step and of a forward pass; the first m of one fixed stratified order, so that
    all trials of a cell are compared on the same images.
    """

    def __init__(
        self,
        model: nn.Module,
        report: Report | None,
        validation: data.Part,
        config: RunConfig,
        size: Size,
        n_seen: int,
    ) -> None:
        self.model, self.report, self.points = model, report, config.reports.points
        self.told: list[tuple[float, float]] = []
        wanted = config.reports.cost * n_seen * size.training / (self.points * size.forward)
        m = min(len(validation), config.data.max_eval or len(validation), floor(wanted))
        if m < config.reports.least:
            self.report = None
        if self.report is not None:
            self.slice = validation.take(data.validation_order(validation)[:m])

    def stops(self, step: int, total: int) -> bool:
        """Report if a report is due after this step; whether the run is to stop."""
        number = len(self.told) + 1
        if self.report is None or number > self.points or step < total * number / (self.points + 1):
            return False
        loss, _ = evaluate(self.model, self.slice)
        self.model.train()
        if not isfinite(loss):
            return False  # the loop's own look at the training loss will call it diverged
        self.told.append((step / total, loss))
        return self.report(number, loss)

"""Training in closed form: a loss that a formula gives at once, with reports, diverging and failing settings.

The loss of a run of width w on n images, at learning rate r, batch size b and dropout p, is

    L = 0.05 + w^(-1/2) + n^(-1/2) (1 + log10(r / r*)^2 + log10(b / 16)^2 + p) (1 + 0.02 noise(seed, r)),

where r* = 0.03 sqrt(8 / w) may lie beyond the range, so that some ranges are widened.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from math import log10

from mnist_scaling.config import RunConfig
from mnist_scaling.study.columns import COMPLETE, DIVERGED, PRUNED, TRIAL, TrainResult
from mnist_scaling.tuning.task import Report

REPORTS = 3


def train(run: RunConfig, report: Report | None) -> TrainResult:
    """One run in closed form."""
    loss = _loss(run)
    if run.model.width == 8 and run.trial.stage == TRIAL and _noise(run, "fails") > 0.7:
        raise ZeroDivisionError(f"this setting fails: {run.optim.lr}")
    result = _result(run, loss)
    lost_repeat = run.trial.stage != TRIAL and run.model.width == 16 and run.seed == 2
    if lost_repeat or run.optim.lr * run.model.width > 0.14:
        empty = {"val_loss": None, "val_error": None, "test_loss": None, "test_error": None, "train_loss": None}
        return replace(result, state=DIVERGED, **empty)
    reports: list[tuple[float, float]] = []
    for number in range(1, REPORTS + 1):
        # The curves cross: a trial's first report says little about its end.
        on_the_way = loss * (1 + (REPORTS + 1 - number) * (0.25 + 0.2 * _noise(run, f"report {number}")))
        if report is None:
            continue
        reports.append((number / (REPORTS + 1), on_the_way))
        if report(number, on_the_way):
            spent = result.flops * number // (REPORTS + 1)
            seen = {"reports": tuple(reports), "flops": spent, "flops_spent": spent}
            return replace(result, state=PRUNED, val_loss=None, val_error=None, **seen)
    return replace(result, reports=tuple(reports))


def _loss(run: RunConfig) -> float:
    n, width = 50_000 * run.data.fraction, run.model.width
    distance = log10(run.optim.lr / (0.03 * (8 / width) ** 0.5)) ** 2
    distance += log10(run.optim.batch_size / 16) ** 2 + run.model.dropout
    return 0.05 + width**-0.5 + n**-0.5 * (1 + distance) * (1 + 0.02 * _noise(run, "seed"))


def _noise(run: RunConfig, what: str) -> float:
    """A number in [-1, 1] that depends on the run's setting and seed, and on nothing else."""
    setting = (run.model.width, run.data.fraction, run.optim.lr, run.optim.batch_size, run.model.dropout, run.seed)
    digest = hashlib.sha256(repr((what, setting)).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**31 - 1


def _result(run: RunConfig, loss: float) -> TrainResult:
    n = round(50_000 * run.data.fraction)
    test = None if run.trial.stage == TRIAL else loss
    return TrainResult(
        COMPLETE, 100, 10, 20, 70, n, n, 1.0, n // 32, 600 * n, 200 * n, 60 * n, loss, 0.1, test, test, test
    )

"""A loss that rises with N or with D beyond noise: bad luck of a cell's tuning, or of its seeds."""

from __future__ import annotations

from mnist_scaling.planning.checks import NOT_APPLICABLE, REPEATS, TRIALS, Card, of_flag
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.flags import NON_MONOTONE


def check(studied: Studied) -> Card:
    """The flag; without repeats or a law of N and D nobody knows what noise is."""
    if studied.table.se is None and not any(len(f.law.inputs) > 1 for f in studied.result.fitted.values()):
        return Card(NON_MONOTONE, NOT_APPLICABLE, "Without repeats, and without a law of N and D, no noise is known.")
    absent = "No loss rises with N at one D, or with D at one N, by more than noise."
    return of_flag(studied, NON_MONOTONE, absent, (TRIALS, REPEATS))

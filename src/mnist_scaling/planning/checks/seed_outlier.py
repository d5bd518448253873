"""A cell whose repeats scatter far more than the others', or whose mean lies far off the best law."""

from __future__ import annotations

from mnist_scaling.planning.checks import REPEATS, TRIALS, Card, of_flag
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.flags import SEED_OUTLIER


def check(studied: Studied) -> Card:
    """The flag."""
    absent = "No cell's repeats scatter more than the others', and none lies far off the best law."
    return of_flag(studied, SEED_OUTLIER, absent, (REPEATS, TRIALS))

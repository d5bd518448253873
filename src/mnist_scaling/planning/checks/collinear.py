"""A grid whose N and D move together, so that no exponent is of N or of D alone."""

from __future__ import annotations

from mnist_scaling.planning.checks import NOT_APPLICABLE, OFF_LADDER, Card, of_flag
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.flags import COLLINEAR


def check(studied: Studied) -> Card:
    """The flag, where the table has both."""
    if not studied.table.has(("N", "D")):
        return Card(COLLINEAR, NOT_APPLICABLE, "The table has not both of N and D.")
    return of_flag(studied, COLLINEAR, "N and D move apart from each other.", (OFF_LADDER,))

"""A plateau at chance: cells that have learnt nothing, because their settings are bad or their training is short."""

from __future__ import annotations

from mnist_scaling.planning.checks import NOT_APPLICABLE, TRIALS, Card, of_flag
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.flags import CHANCE_LEVEL


def check(studied: Studied) -> Card:
    """The flag, for losses of a known number of classes."""
    if not studied.result.options.classes:
        return Card(CHANCE_LEVEL, NOT_APPLICABLE, "The number of classes is not known, so no loss is known for chance.")
    return of_flag(studied, CHANCE_LEVEL, "No loss is near that of guessing.", (TRIALS,))

"""A loss that still fell at the end of a run, because a cap on its length came first."""

from __future__ import annotations

import numpy as np

from mnist_scaling.planning.checks import LONGER, NOT_APPLICABLE, PASS, WARNING, Card
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.flags import UNDERTRAINED, kind


def stopped(studied: Studied) -> np.ndarray:
    """Whether each row's runs were to end when their validation loss had stopped falling, shape (rows,)."""
    lengths = studied.cells.reindex(columns=["epochs", "epochs_spent"]).astype(float)
    return np.asarray((lengths["epochs_spent"] > lengths["epochs"]) | cut(studied))


def cut(studied: Studied) -> np.ndarray:
    """Whether a cap ended runs of each row, shape (rows,)."""
    return np.asarray([UNDERTRAINED in str(text) for text in studied.cells.reindex(columns=["flags"])["flags"]])


def check(studied: Studied) -> Card:
    """Runs that a cap ended; a run whose length is given sees what it was to see, whatever its loss still does."""
    converging, rows = stopped(studied).sum(), tuple(map(int, studied.cells.index[cut(studied)]))
    if not converging:
        why = "The length of these runs is given, and is what D is: a loss that still falls at their end is the law."
        return Card(NOT_APPLICABLE, why)
    if not rows:
        return Card(PASS, f"All {converging} cells ended because their validation loss had stopped falling.")
    cause = f"In {len(rows)} of {converging} cells a run ended at its cap, before its validation loss had stopped"
    return Card(WARNING, f"{cause} falling.", rows, kind(UNDERTRAINED).remedy, (LONGER,))

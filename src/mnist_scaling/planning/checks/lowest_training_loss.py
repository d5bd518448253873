"""Whether a converged run has reached its lowest training loss, or validation ended it while training still gained."""

from __future__ import annotations

import numpy as np

from mnist_scaling.planning.checks import INFO, NOT_APPLICABLE, PASS, Card
from mnist_scaling.planning.checks.still_falling import cut, stopped
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.layout import CURVES
from mnist_scaling.study.tables.csv_table import read_study_table

LATE = 0.75
"""Share of a run after which a new lowest training loss says that it still fell at the end."""

GAIN = 0.98
"""Factor on the lowest loss before that a new lowest one must be below."""


def check(studied: Studied) -> Card:
    """From the curves of the repeats: training loss at the weights that count, against the lowest of the run."""
    path = studied.folder / CURVES
    rows = studied.cells.index[stopped(studied) & ~cut(studied)]
    if not len(rows):
        why = "No run here ended because its loss had stopped falling, so none was to reach its lowest training loss."
        return Card(NOT_APPLICABLE, why)
    if not path.is_file():
        return Card(NOT_APPLICABLE, f"There is no {path.name}.")
    falling, above = set(), []
    curves = read_study_table(path).sort_values("n_seen", kind="stable")
    for (cell, _), curve in curves[curves["cell"].isin(rows)].groupby(["cell", "seed"]):
        train, best = curve["train_loss"].to_numpy(float), int(np.argmin(curve["val_loss"]))
        if late := int(LATE * len(train)):
            above.append(train[best] / train.min())
            if train[late:].min() < GAIN * train[:late].min():
                falling.add(int(cell))
    if not above:
        return Card(NOT_APPLICABLE, "The learning curves are too short to tell.")
    said = f"At the weights that count the training loss is {np.median(above):.2f} times the lowest of its run (median)"
    if not falling:
        return Card(PASS, f"{said}, which no run lowered in its last quarter.")
    cause = f"{said}; in {len(falling)} of {len(rows)} cells it still fell when validation loss ended the run."
    remedy = "These are the best weights by validation; a larger regime.patience, under another name, trains on."
    return Card(INFO, cause, tuple(sorted(falling)), remedy)

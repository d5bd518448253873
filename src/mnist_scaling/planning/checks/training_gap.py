"""A training loss far below the validation loss, or above it: whether dropout is right."""

from __future__ import annotations

import numpy as np

from mnist_scaling.planning.checks import INFO, NOT_APPLICABLE, PASS, TRIALS, WARNING, Card
from mnist_scaling.planning.studied import Studied

FAR = 4.0
"""Validation loss over training loss that says that a model knows its examples by heart: 2.2 at the most in one pass,
up to 27 in several (kept tables of tests/asking)."""

ABOVE = 0.05
"""Share by which a training loss must exceed the validation loss: they are of other images."""


def check(studied: Studied) -> Card:
    """ln(validation loss / training loss) of the repeats, against the dropout that the tuner has selected."""
    cells = studied.cells.reindex(columns=["train_loss", "repeat_val_loss", "dropout", "edges", "limits"])
    gap = np.log(cells["repeat_val_loss"].astype(float) / cells["train_loss"].astype(float))
    if not gap.notna().any():
        return Card(NOT_APPLICABLE, "No training loss is known.")
    memorised, above = (tuple(map(int, gap.index[where])) for where in (gap > np.log(FAR), gap < -np.log1p(ABOVE)))
    if above:
        cause = f"In {len(above)} of {len(gap)} cells the training loss is above the validation loss: wrong labels or "
        remedy = "With data.label_noise this is to be expected; else tune dropout down to 0, and look at the data."
        return Card(WARNING, f"{cause}changed images in training, or too much dropout.", above, remedy)
    ends = f"Validation loss is {np.exp(gap.min()):.2f} to {np.exp(gap.max()):.2f} times the training loss"
    if not memorised:
        return Card(PASS, f"{ends}.")
    far = f"{ends}, more than {FAR:g} times in {len(memorised)} cells: they know their examples by heart."
    if "dropout" not in studied.source.tuned:
        remedy = "Tune model.dropout, under another name."
        return Card(WARNING, f"{far} Dropout was not tuned.", memorised, remedy)
    at = cells.loc[[*memorised]]
    chosen = at["dropout"].astype(float)
    ended = sum("dropout" in f"{e};{n}".split(";") for e, n in zip(at["edges"], at["limits"], strict=True))
    said = f"{far} Tuning weighed that and selected a dropout of {chosen.min():.2f} to {chosen.max():.2f}"
    if not ended:
        remedy = "More data, not more dropout, closes this gap."
        return Card(INFO, f"{said}, inside its range.", memorised, remedy)
    remedy = "More trials tell whether the end of the range is right."
    return Card(WARNING, f"{said}, at an end of its range in {ended}.", memorised, remedy, (TRIALS,))

"""Irregularities of cells and their runs: what tuning left open, how runs ended, training against validation loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from mnist_scaling.planning.checks.card import INFO, LONGER, NOT_APPLICABLE, PASS, RANGE, WARNING, Card
from mnist_scaling.planning.growth import TRIALS
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.flags import SEARCH_EDGE, UNDERTRAINED, kind
from mnist_scaling.study.layout import CURVES
from mnist_scaling.study.tables.csv_table import read_study_table
from mnist_scaling.study.vocabulary import NO, YES

LATE, GAIN = 0.75, 0.98
"""Share of a run after which a training loss below this factor on its lowest before says that it still fell."""

FAR = 4.0
"""Validation loss over training loss that says that a model knows its examples by heart: 2.2 at the most in one pass,
up to 27 in several (kept tables of tests/asking)."""

ABOVE = 0.05
"""Share by which a training loss must exceed the validation loss: they are of other images."""


def _rows(found: Iterable[int]) -> tuple[int, ...]:
    return tuple(map(int, found))


def uncertified(studied: Studied) -> Card:
    """The column `tuned` of the certificate."""
    said = studied.cells.reindex(columns=["tuned"])["tuned"]
    judged, rows = int(said.isin([YES, NO]).sum()), _rows(said.index[said == NO])
    if not judged:
        return Card(NOT_APPLICABLE, "Nothing was tuned here, or no cell has a certificate of it.")
    if not rows:
        return Card(PASS, f"All {judged} cells are certified as tuned.")
    why = "a value lies at an edge, or further trials should gain more than a cell's noise"
    remedy = "More trials settle it; `plan … flops=…` gives them where they pay."
    return Card(WARNING, f"Not certified as tuned: {len(rows)} of {judged} cells: {why}.", rows, remedy, (TRIALS,))


def search_edge(studied: Studied) -> Card:
    """The column `edges` of the certificate, which leaves limits out: beyond an edge may lie a better value."""
    if not studied.source.tuned or "edges" not in studied.cells:
        return Card(NOT_APPLICABLE, "Nothing was tuned here, or nobody knows in which ranges.")
    edges = studied.cells["edges"].dropna().astype(str)
    edges = edges[edges != ""]
    if edges.empty:
        return Card(PASS, "No selected value lies at an edge of its range, or the edge is a limit.")
    keys = Counter(key for text in edges for key in text.split(";"))
    said = ", ".join(f"{key} in {n} cell{'s' * (n != 1)}" for key, n in keys.items())
    cause = f"Selected values lie at the edge of their range: {said}."
    return Card(WARNING, cause, _rows(edges.index), kind(SEARCH_EDGE).remedy, (RANGE, TRIALS))


def _ended(studied: Studied) -> tuple[pd.Series, pd.Series]:
    """Whether each row's runs were to end when their loss had stopped falling, and whether a cap came first."""
    of = studied.cells.reindex(columns=["epochs", "epochs_spent", "flags"])
    cut = of["flags"].astype(str).str.contains(UNDERTRAINED)
    return (of["epochs_spent"].astype(float) > of["epochs"].astype(float)) | cut, cut


def still_falling(studied: Studied) -> Card:
    """Runs that a cap ended; a run whose length is given sees what it was to see, whatever its loss still does."""
    stopping, cut = _ended(studied)
    if not stopping.any():
        why = "The length of these runs is given, and is what D is: a loss that still falls at their end is the law."
        return Card(NOT_APPLICABLE, why)
    if not cut.any():
        return Card(PASS, f"All {stopping.sum()} cells ended because their validation loss had stopped falling.")
    cause = f"In {cut.sum()} of {stopping.sum()} cells a run ended at its cap, before its validation loss had stopped"
    return Card(WARNING, f"{cause} falling.", _rows(cut.index[cut]), kind(UNDERTRAINED).remedy, (LONGER,))


def lowest_training_loss(studied: Studied) -> Card:
    """The training loss at the weights that count against the lowest of its run, by the curves of the repeats."""
    stopping, cut = _ended(studied)
    rows, path = stopping.index[stopping & ~cut], studied.folder / CURVES
    if not len(rows) or not path.is_file():
        why = "No run here ended because its loss had stopped falling, so none was to reach its lowest training loss."
        return Card(NOT_APPLICABLE, f"There is no {path.name}." if len(rows) else why)
    falling, above = set(), []
    curves = read_study_table(path).sort_values("n_seen", kind="stable")
    for (cell, _), curve in curves[curves["cell"].isin(rows)].groupby(["cell", "seed"]):
        train, best = curve["train_loss"].to_numpy(float), int(np.argmin(curve["val_loss"]))
        if late := int(LATE * len(train)):
            above.append(train[best] / train.min())
            if train[late:].min() < GAIN * train[:late].min():
                falling.add(cell)
    if not above:
        return Card(NOT_APPLICABLE, "The learning curves are too short to tell.")
    said = f"At the weights that count the training loss is {np.median(above):.2f} times the lowest of its run (median)"
    if not falling:
        return Card(PASS, f"{said}, which no run lowered in its last quarter.")
    cause = f"{said}; in {len(falling)} of {len(rows)} cells it still fell when validation loss ended the run."
    remedy = "These are the best weights by validation; a larger regime.patience, under another name, trains on."
    return Card(INFO, cause, _rows(sorted(falling)), remedy)


def training_gap(studied: Studied) -> Card:
    """ln(validation loss / training loss) of the repeats, against the dropout that the tuner has selected."""
    cells = studied.cells.reindex(columns=["train_loss", "repeat_val_loss", "dropout", "edges", "limits"])
    gap = np.log(cells["repeat_val_loss"].astype(float) / cells["train_loss"].astype(float))
    if not gap.notna().any():
        return Card(NOT_APPLICABLE, "No training loss is known.")
    memorised, above = (_rows(gap.index[where]) for where in (gap > np.log(FAR), gap < -np.log1p(ABOVE)))
    if above:
        cause = f"In {len(above)} of {len(gap)} cells the training loss is above the validation loss: wrong labels or "
        remedy = "With data.label_noise this is to be expected; else tune dropout down to 0, and look at the data."
        return Card(WARNING, f"{cause}changed images in training, or too much dropout.", above, remedy)
    ends = f"Validation loss is {np.exp(gap.min()):.2f} to {np.exp(gap.max()):.2f} times the training loss"
    if not memorised:
        return Card(PASS, f"{ends}.")
    far = f"{ends}, more than {FAR:g} times in {len(memorised)} cells: they know their examples by heart."
    if "dropout" not in studied.source.tuned:
        return Card(WARNING, f"{far} Dropout was not tuned.", memorised, "Tune model.dropout, under another name.")
    at = cells.loc[[*memorised]]
    chosen = at["dropout"].astype(float)
    ended = sum("dropout" in f"{e};{n}".split(";") for e, n in zip(at["edges"], at["limits"], strict=True))
    said = f"{far} Tuning weighed that and selected a dropout of {chosen.min():.2f} to {chosen.max():.2f}"
    if not ended:
        return Card(INFO, f"{said}, inside its range.", memorised, "More data, not more dropout, closes this gap.")
    remedy = "More trials tell whether the end of the range is right."
    return Card(WARNING, f"{said}, at an end of its range in {ended}.", memorised, remedy, (TRIALS,))

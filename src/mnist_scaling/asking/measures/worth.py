"""kind: worth. What the data of an arm are worth in examples of a baseline, at equal loss.

    D_eff: the examples of the baseline that give the same loss, by its curve of log L over log D at the same size
    of: all      D_eff / D              what one example is worth
    of: further  (D_eff - U) / (D - U)  what one further, repeated example is worth; U unique examples count fully

The curve is interpolated in logs between the baseline's cells, and followed beyond them by at most the factor `reach`;
cells farther away are left out and counted. A worth need not be the same in all cells, so a note has its range, and how
many cells rest on the curve beyond the baseline's own. Cells of one size share a curve and so its errors, which the
interval of their mean holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.asking.measures import Findings, MeasureKind, Number, columns, mean_of_dependent
from mnist_scaling.asking.measures import arm as arm_named
from mnist_scaling.asking.study_arms import LOSS, StudyArm
from mnist_scaling.errors import InputError


@dataclass(frozen=True)
class WorthKeys:
    """Keys of this kind."""

    baseline: str
    """The arm whose examples are the currency."""
    of: str = "all"
    """One of all, or further: see above."""
    same: tuple[str, ...] = ("width",)
    """Columns in which a cell and its baseline must agree."""
    D: str = "n_train"
    """Column of the amount of data that is valued; `further` takes n_seen beyond it."""
    reach: float = 1.5
    """How far beyond its cells the baseline's curve is followed, as a factor of D."""


def measure(keys: WorthKeys, arms: Mapping[str, StudyArm]) -> Findings:
    """Slots <arm>_worth: the mean over cells, geometric for `all`, with an interval that holds what cells share."""
    if keys.of not in ("all", "further"):
        raise InputError(f"`of` of kind worth must be all or further, but got {keys.of!r}: choose one.")
    baseline = arm_named(arms, keys.baseline, "baseline")
    columns(baseline, *keys.same, "n_seen", keys.D)
    numbers: dict[str, Number] = {}
    notes: list[str] = []
    for name, arm in arms.items():
        if name == baseline.name:
            continue
        columns(arm, *keys.same, "n_seen", keys.D)
        effective = [_effective(baseline.rows, cell, keys) for _, cell in arm.rows.iterrows()]
        logs, slopes = np.array([one[0] for one in effective]), np.array([one[1] for one in effective])
        known = np.isfinite(logs)
        if not known.all():
            unknown = int((~known).sum())
            notes.append(
                f"{arm.label}: {unknown} of {len(known)} cells have losses that {baseline.label} does not reach, and "
                "are left out: the worth is that of the others alone."
            )
        # Each cell has noise of its own, beside that of the baseline's cells.
        sources = np.hstack([slopes, np.diag(-slopes.sum(axis=1))])[known]
        logs, (unique, seen) = logs[known], arm.rows[[keys.D, "n_seen"]].to_numpy(float)[known].T
        beyond = sum(one[2] for one, is_known in zip(effective, known, strict=True) if is_known)
        if keys.of == "all":
            single = np.exp(logs) / unique
            worth = mean_of_dependent(logs - np.log(unique), sources).exp()
            meaning = f"{arm.label}: what one example is worth in examples of {baseline.label}"
        else:
            further = np.exp(logs) / (seen - unique)
            single = further - unique / (seen - unique)
            worth = mean_of_dependent(single, further[:, None] * sources)
            meaning = f"{arm.label}: what one further example is worth in examples of {baseline.label}"
        numbers[f"{name}_worth"] = Number(worth, meaning, factor=True)
        if len(single):
            outside = f"; {beyond} of these {len(single)} rest on the curve of {baseline.label} beyond its own cells"
            notes.append(
                f"{arm.label}: single cells give {single.min():.2g} to {single.max():.2g}{outside if beyond else ''}."
            )
    return Findings(numbers, {}, tuple(notes))


def _effective(baseline: pd.DataFrame, cell: pd.Series, keys: WorthKeys) -> tuple[float, np.ndarray, bool]:
    """log D of the baseline at the cell's loss, NaN where its curve does not reach there; its slopes in the log losses
    of the baseline's rows; whether it lies beyond the baseline's cells. In the cell's own log loss the slope is minus
    their sum: a common factor changes nothing.
    """
    slopes = np.zeros(len(baseline))
    own = np.flatnonzero((baseline[list(keys.same)] == cell[list(keys.same)]).all(axis=1))
    own = own[np.argsort(baseline["n_seen"].to_numpy(float)[own], kind="stable")]
    d, loss = (np.log(baseline[column].to_numpy(float)[own]) for column in ("n_seen", LOSS))
    kept = np.ones(len(own), bool)
    kept[1:] = loss[1:] < np.minimum.accumulate(loss)[:-1]  # more data at a higher loss is noise
    own, d, loss, at = own[kept], d[kept], loss[kept], float(np.log(cell[LOSS]))
    if len(d) < 2:
        return float("nan"), slopes, True
    k = int(np.clip(np.searchsorted(-loss, -at) - 1, 0, len(d) - 2))  # the piece that holds it, or the outermost one
    share = (at - loss[k]) / (loss[k + 1] - loss[k])
    reached = d[k] + share * (d[k + 1] - d[k])
    slopes[own[k : k + 2]] = np.array([share - 1, -share]) * (d[k + 1] - d[k]) / (loss[k + 1] - loss[k])
    far = np.log(keys.reach)
    beyond = not d[0] <= reached <= d[-1]
    return (float(reached) if d[0] - far <= reached <= d[-1] + far else float("nan")), slopes, beyond


KIND = MeasureKind(WorthKeys, measure)

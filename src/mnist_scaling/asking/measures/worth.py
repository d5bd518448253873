"""kind: worth. What the data of an arm are worth in examples of a baseline, at equal loss.

    D_eff: the examples of the baseline that give the same loss, by its curve of log L over log D at the same size
    of: all      D_eff / D              what one example is worth
    of: further  (D_eff - U) / (D - U)  what one further, repeated example is worth; U unique examples count fully

The curve is interpolated in logs between the baseline's cells, and followed beyond them by at most the factor `reach`;
cells farther away are left out and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.asking.measures.base import Found, Kind, Number, columns, exponential, mean
from mnist_scaling.asking.measures.base import arm as arm_named
from mnist_scaling.asking.study_arms import LOSS, Arm
from mnist_scaling.errors import InputError


@dataclass(frozen=True)
class Keys:
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


def measure(keys: Keys, arms: Mapping[str, Arm]) -> Found:
    """Slots <arm>_worth: the mean over cells, with Student's interval, geometric for `all`."""
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
        effective = np.array([_effective(baseline.rows, cell, keys) for _, cell in arm.rows.iterrows()])
        known = np.isfinite(effective)
        if not known.all():
            beyond = int((~known).sum())
            notes.append(
                f"{arm.label}: {beyond} of {len(known)} cells have losses that {baseline.label} does not reach, and "
                "are left out."
            )
        unique, seen = arm.rows[keys.D].to_numpy(float), arm.rows["n_seen"].to_numpy(float)
        if keys.of == "all":
            found = exponential(mean(np.log(effective / unique)))
            meaning = f"{arm.label}: what one example is worth in examples of {baseline.label}"
        else:
            found = mean((effective - unique) / (seen - unique))
            meaning = f"{arm.label}: what one further example is worth in examples of {baseline.label}"
        numbers[f"{name}_worth"] = Number(found, meaning)
    return Found(numbers, {}, tuple(notes))


def _effective(baseline: pd.DataFrame, cell: pd.Series, keys: Keys) -> float:
    """D of the baseline at the cell's loss; NaN where its curve does not reach there."""
    rows = baseline[(baseline[list(keys.same)] == cell[list(keys.same)]).all(axis=1)].sort_values("n_seen")
    if len(rows) < 2:
        return float("nan")
    d = np.log(rows["n_seen"].to_numpy(float))
    loss = np.minimum.accumulate(np.log(rows[LOSS].to_numpy(float)))  # more data at a higher loss is noise
    kept = np.concatenate([[True], np.diff(loss) < 0])
    d, loss, at = d[kept], loss[kept], float(np.log(cell[LOSS]))
    if len(d) < 2:
        return float("nan")
    if at > loss[0]:
        found = d[0] + (at - loss[0]) * (d[1] - d[0]) / (loss[1] - loss[0])
    elif at < loss[-1]:
        found = d[-1] + (at - loss[-1]) * (d[-1] - d[-2]) / (loss[-1] - loss[-2])
    else:
        found = float(np.interp(-at, -loss, d))
    far = np.log(keys.reach)
    return float(np.exp(found)) if d[0] - far <= found <= d[-1] + far else float("nan")


KIND = Kind(Keys, measure)

"""kind: difference. Exponents of each arm, and how far they are from those of one arm.

    log L = c - alpha log N - beta log D                            of each arm
    log (L_arm / L_ref) = c - d_alpha log N - d_beta log D          where the arms share their cells

The difference is fitted to the ratio of the losses of each cell where the arms share cells, so that what both share
cancels; otherwise the two intervals are added as independent ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.asking.measures.base import Found, Kind, Number, columns, exponential, mean
from mnist_scaling.asking.measures.base import arm as arm_named
from mnist_scaling.asking.study_arms import LOSS, Arm
from mnist_scaling.fitting.interval import Interval
from mnist_scaling.fitting.least_squares import exponents

NAMES = {"alpha": "N", "beta": "D"}
"""What the exponent of each variable is called."""


@dataclass(frozen=True)
class Keys:
    """Keys of this kind."""

    reference: str
    """The arm that the others are compared with."""
    N: str = "n_params"
    """Column of the model's size."""
    D: str = "n_seen"
    """Column of the amount of data."""
    cells: tuple[str, ...] = ("n_params", "n_train")
    """Columns that make two cells of two arms the same cell."""
    margin: float = 0.03
    """Differences of exponents up to this size don't matter."""


def measure(keys: Keys, arms: Mapping[str, Arm]) -> Found:
    """Exponents by arm, differences from the reference, the ratio of the losses, and verdicts."""
    reference = arm_named(arms, keys.reference, "reference")
    numbers: dict[str, Number] = {}
    words: dict[str, str] = {}
    notes: list[str] = []
    own = {name: _exponents(arm.rows, keys) for name, arm in arms.items()}
    for name, found in own.items():
        for exponent, interval in found.items():
            meaning = f"{arms[name].label}: exponent of the loss in {NAMES[exponent]}"
            numbers[f"{name}_{exponent}"] = Number(interval, meaning)
    for name, arm in arms.items():
        if name == reference.name:
            continue
        pairs = _pairs(arm, reference, keys)
        if pairs is None:
            notes.append(f"{arm.label} and {reference.label} share no grid of cells, so they are compared unpaired.")
            differences = {k: _independent(own[name][k], own[reference.name][k]) for k in own[name]}
        else:
            differences = _exponents(pairs, keys)
            ratio = exponential(mean(np.log(pairs[LOSS])))
            numbers[f"{name}_loss_ratio"] = Number(ratio, f"loss of {arm.label} over that of {reference.label}")
        for exponent, interval in differences.items():
            slot = f"{name}_{exponent}_difference"
            numbers[slot] = Number(interval, f"{arm.label} minus {reference.label}: exponent in {NAMES[exponent]}")
            words[f"{name}_{exponent}_verdict"] = verdict(interval, keys.margin)
    return Found(numbers, words, tuple(notes))


def verdict(difference: Interval, margin: float) -> str:
    """What an interval says of a difference: it differs, it is equivalent within the margin, or it is not settled."""
    if difference.bounded and -margin <= difference.low and difference.high <= margin:
        return "equivalent"
    return "differs" if difference.excludes(0) else "not settled"


def _exponents(rows: pd.DataFrame, keys: Keys) -> dict[str, Interval]:
    """Those of the variables that the rows vary, fitted together."""
    inputs = {"alpha": rows[keys.N].to_numpy(float), "beta": rows[keys.D].to_numpy(float)}
    varying = {name: x for name, x in inputs.items() if len(np.unique(x)) > 1}
    if not varying:
        return {}
    return dict(zip(varying, exponents(rows[LOSS], *varying.values()), strict=True))


def _pairs(arm: Arm, reference: Arm, keys: Keys) -> pd.DataFrame | None:
    """The cells of an arm with the ratio of its loss to the reference's; None unless every cell has its partner."""
    columns(arm, *keys.cells)
    columns(reference, *keys.cells)
    wanted = list(dict.fromkeys([*keys.cells, keys.N, keys.D]))
    left, right = arm.rows[[*wanted, LOSS]], reference.rows[[*keys.cells, LOSS]]
    if left.duplicated(list(keys.cells)).any() or right.duplicated(list(keys.cells)).any():
        return None
    both = left.merge(right, on=list(keys.cells), suffixes=("", "_reference"))
    if len(both) < max(3, 0.8 * min(len(left), len(right))):
        return None
    return both.assign(**{LOSS: both[LOSS] / both[f"{LOSS}_reference"]})


def _independent(a: Interval, b: Interval) -> Interval:
    """a - b of two independent estimates."""
    value = a.value - b.value
    if not (a.bounded and b.bounded):
        return Interval(value)
    half = float(np.hypot(a.high - a.low, b.high - b.low)) / 2
    return Interval(value, value - half, value + half)


KIND = Kind(Keys, measure)

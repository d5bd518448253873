"""kind: relation. How one column goes as powers of others: log y = c + sum_i k_i log x_i, for each arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mnist_scaling.asking.measures import Findings, MeasureKind, Number, columns
from mnist_scaling.asking.study_arms import LOSS, StudyArm
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import exponents


@dataclass(frozen=True)
class RelationKeys:
    """Keys of this kind."""

    x: tuple[str, ...]
    """Columns of cells.csv."""
    y: str = LOSS
    """A column of cells.csv; `loss` is that of each arm."""


def measure(keys: RelationKeys, arms: Mapping[str, StudyArm]) -> Findings:
    """Powers <arm>_<x>, and <arm>_scatter: the root mean square of the residuals of log y."""
    numbers: dict[str, Number] = {}
    notes: list[str] = []
    for name, arm in arms.items():
        y, *inputs = columns(arm, keys.y, *keys.x)
        estimates = [-k for k in exponents(y, *inputs)]
        for x, power in zip(keys.x, estimates, strict=True):
            numbers[f"{name}_{x}"] = Number(power, f"{arm.label}: power of {keys.y} in {x}")
            if not power.known:
                notes.append(f"{arm.label}: {len(y)} cells do not tell the power of {keys.y} in {x}.")
        scatter = float("nan")
        if all(power.known for power in estimates) and len(y) > len(estimates) + 1:
            powers = np.array([power.value for power in estimates])
            residual = np.log(y) - powers @ np.log(np.array(inputs))
            scatter = float(residual.std(ddof=len(estimates) + 1))
        numbers[f"{name}_scatter"] = Number(Interval(scatter), f"{arm.label}: scatter of log {keys.y} about it", None)
    return Findings(numbers, {}, tuple(notes))


KIND = MeasureKind(RelationKeys, measure)

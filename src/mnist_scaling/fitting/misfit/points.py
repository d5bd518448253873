"""What the misfit is learnt from: at most `MOST_CELLS` points with a log loss each, and what is known of its noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mnist_scaling.fitting.estimation.estimate import Fit
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.process import Axes
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.noise import seed_noise

MOST_CELLS = 100
"""More rows than this are averaged over neighbourhoods, because the time grows with the cube of their number."""

BINS = 10
"""Neighbourhoods along each axis of two, over the table's range; of one axis, their square."""


@dataclass(frozen=True)
class Points:
    """Points, their log losses, and the noise of these."""

    logs: dict[str, Array]
    """Of the inputs, around the middle of the table, shape (m,)."""
    y: Array
    variance: Array
    """Of y, shape (m,), up to a factor that is unknown:"""
    log_factor: tuple[float, float]
    """Mean and standard deviation of that factor's logarithm, before the misfit is looked at."""


def points_of(table: Table, axes: Axes, fit: Fit) -> Points:
    """The points of a table; `fit` is of all its rows, and says what neighbourhoods average over."""
    seeds = seed_noise(table)
    logs = axes.centred(table.logs(axes.names))
    if seeds is not None:
        cells = Points(logs, table.y, seeds.variance, (0.0, float(np.sqrt(2 / max(seeds.dof, 1.0)))))
    else:
        # The law's residuals hold its misfit too, so that the noise is likely to be less.
        usual = float(np.mean(fit.residual**2)) * fit.n / max(fit.n - fit.free, 1)
        cells = Points(logs, table.y, np.full(fit.n, max(usual, 1e-16)), (np.log(0.5), 1.0))
    return cells if len(table) <= MOST_CELLS else _neighbourhoods(cells, axes, fit)


def _neighbourhoods(cells: Points, axes: Axes, fit: Fit) -> Points:
    """Means of residuals over boxes, put back on the law at the box' mean point; their scatter says the noise."""
    bins = BINS if len(axes.names) == 2 else BINS**2
    box = np.zeros(len(cells.y), int)
    for x, half in zip(cells.logs.values(), axes.half, strict=True):
        box = box * bins + np.clip(((x / half + 1) / 2 * bins).astype(int), 0, bins - 1)
    _, box = np.unique(box, return_inverse=True)
    number = np.bincount(box)

    def mean(values: Array) -> Array:
        return np.bincount(box, values) / number

    logs = {k: mean(x) for k, x in cells.logs.items()}
    residual = mean(fit.residual)
    y = fit.law.evaluate(fit.theta[None], logs)[0][0] + residual
    out = replace(cells, logs=logs, y=y, variance=mean(cells.variance) / number)
    dof = len(box) - len(number)
    if cells.log_factor[0] == 0 or dof < len(number):
        return out
    scatter = float(((fit.residual - residual[box]) ** 2).sum()) / dof
    return replace(out, variance=scatter / number, log_factor=(0.0, float(np.sqrt(2 / dof))))

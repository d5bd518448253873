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

SAME = 0.02
"""Gap in ln D below which amounts are one level: whole batches move an amount by up to 1.2 %."""


@dataclass(frozen=True)
class Cells:
    """Points, their log losses, and the noise of these."""

    logs: dict[str, Array]
    """Of the inputs, around the middle of the table, shape (m,)."""
    y: Array
    variance: Array
    """Of y, shape (m,), up to a factor that is unknown:"""
    log_factor: tuple[float, float]
    """Mean and standard deviation of that factor's logarithm, before the misfit is looked at."""
    level: np.ndarray
    """Number of each cell's amount of data, whose cells may share an error, shape (m,); all differ where few repeat."""


def cells_of(table: Table, axes: Axes, fit: Fit) -> Cells:
    """The points of a table; `fit` is of all its rows, and says what neighbourhoods average over."""
    seeds = seed_noise(table)
    logs = axes.centred(table.logs(axes.names))
    level = _levels(logs["D"]) if "D" in logs and len(logs) > 1 else np.arange(len(table))
    if seeds is not None:
        cells = Cells(logs, table.y, seeds.variance, (0.0, float(np.sqrt(2 / max(seeds.dof, 1.0)))), level)
    else:
        # The law's residuals hold its misfit too, so that the noise is likely to be less.
        usual = float(np.mean(fit.residual**2)) * fit.n / max(fit.n - fit.free, 1)
        cells = Cells(logs, table.y, np.full(fit.n, max(usual, 1e-16)), (np.log(0.5), 1.0), level)
    return cells if len(table) <= MOST_CELLS else _neighbourhoods(cells, axes, fit)


def _levels(log_d: Array) -> np.ndarray:
    """Number of each row's amount of data; amounts nearer than `SAME` are one."""
    order = np.argsort(log_d, kind="stable")
    number = np.empty(len(log_d), int)
    number[order] = np.concatenate([[0], np.cumsum(np.diff(log_d[order]) > SAME)])
    return number if 2 * (number.max() + 1) <= len(log_d) else np.arange(len(log_d))


def _neighbourhoods(cells: Cells, axes: Axes, fit: Fit) -> Cells:
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
    variance = mean(cells.variance) / number
    out = replace(cells, logs=logs, y=y, variance=variance, level=np.arange(len(number)))
    dof = len(box) - len(number)
    if cells.log_factor[0] == 0 or dof < len(number):
        return out
    scatter = float(((fit.residual - residual[box]) ** 2).sum()) / dof
    return replace(out, variance=scatter / number, log_factor=(0.0, float(np.sqrt(2 / dof))))

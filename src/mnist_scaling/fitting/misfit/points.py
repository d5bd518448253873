"""What the misfit is learnt from: at most `MOST_CELLS` points with a log loss each, and what is known of its noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from mnist_scaling.fitting.estimation.estimate import Fit
from mnist_scaling.fitting.estimation.problem import robust_scale
from mnist_scaling.fitting.fitted import EXACT
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.process import Axes
from mnist_scaling.fitting.rows import Table, level_of
from mnist_scaling.fitting.uncertainty.noise import MOST_OUTLYING, seed_noise

MOST_CELLS = 100
"""More rows than this are averaged over neighbourhoods, because the time grows with the cube of their number."""

BINS = 10
"""Neighbourhoods along each axis of two, over the table's range; of one axis, their square."""

NEIGHBOURS = 4
"""Nearest rows that a row is held against."""

OUTLYING = 6.0
"""Robust standard deviations beyond which a row is no neighbour of its neighbours, but a broken one."""


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
    level: np.ndarray
    """Number of each cell's amount of data, whose cells may share an error, shape (m,); all differ where few repeat."""
    broken: np.ndarray
    """Mask of the table's rows that are left out, shape (n,)."""


def points_of(table: Table, axes: Axes, fit: Fit) -> Points:
    """The points of a table without its broken rows; `fit`, of all rows, says what neighbourhoods average over."""
    seeds, near = seed_noise(table), axes.centred(table.logs(axes.names))
    broken = _broken(np.stack([x / h for x, h in zip(near.values(), axes.half, strict=True)]), fit.residual)
    whole = ~broken
    logs, y, residual = {k: x[whole] for k, x in near.items()}, table.y[whole], fit.residual[whole]
    level = _levels(logs["D"]) if "D" in logs and len(logs) > 1 else np.arange(len(y))
    if seeds is not None:
        cells = Points(logs, y, seeds.variance[whole], (0.0, float(np.sqrt(2 / max(seeds.dof, 1.0)))), level, broken)
    else:
        # The law's residuals hold its misfit too, so that the noise is likely to be less.
        usual = robust_scale(residual, fit.free) ** 2
        cells = Points(logs, y, np.full(len(y), max(usual, 1e-16)), (np.log(0.5), 1.0), level, broken)
    return cells if len(y) <= MOST_CELLS else _neighbourhoods(cells, axes, fit, residual)


def _broken(u: Array, residual: Array) -> np.ndarray:
    """Mask of the few rows that are far off their neighbours, by far more than rows usually are: no smooth misfit."""
    if len(residual) <= NEIGHBOURS:
        return np.zeros(len(residual), bool)
    near = cKDTree(u.T).query(u.T, NEIGHBOURS + 1)[1][:, 1:]
    off = np.abs(residual - np.median(residual[near], axis=1))
    far = off > max(OUTLYING * robust_scale(off), EXACT)
    return far if far.sum() <= max(1, MOST_OUTLYING * len(far)) else np.zeros(len(far), bool)


def _levels(log_d: Array) -> np.ndarray:
    """Number of each row's amount of data, where amounts repeat; else each row's own number."""
    number = level_of(log_d)
    return number if 2 * (number.max() + 1) <= len(log_d) else np.arange(len(log_d))


def _neighbourhoods(cells: Points, axes: Axes, fit: Fit, residual: Array) -> Points:
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
    centre = mean(residual)
    y = fit.law.evaluate(fit.theta[None], logs)[0][0] + centre
    variance = mean(cells.variance) / number
    out = replace(cells, logs=logs, y=y, variance=variance, level=np.arange(len(number)))
    dof = len(box) - len(number)
    if cells.log_factor[0] == 0 or dof < len(number):
        return out
    scatter = float(((residual - centre[box]) ** 2).sum()) / dof
    return replace(out, variance=scatter / number, log_factor=(0.0, float(np.sqrt(2 / dof))))

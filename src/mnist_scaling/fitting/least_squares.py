"""Exponents by least squares in logs, with Student intervals: log L = c - sum_i a_i log x_i."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from mnist_scaling.fitting.interval import Interval

LEVEL = 0.95


def exponents(loss: ArrayLike, *inputs: ArrayLike, level: float = LEVEL) -> list[Interval]:
    """Exponents of a power law in several inputs.

    loss = k * prod_i x_i^-a_i. The interval is Student's with n - p - 1 degrees of freedom; with none
    left, or inputs that move together, it is NaN.

    Parameters
    ----------
    loss : array_like, shape (n,)
        Positive; rows that are not finite are left out.
    *inputs : array_like, shape (n,)
        x_i, positive.
    level : float
        Of each interval, such as 0.95.

    Returns
    -------
    list of Interval
        One a_i for each input.
    """
    y = np.log(np.asarray(loss, float))
    x = np.log(np.array([np.asarray(column, float) for column in inputs]).T)
    kept = np.isfinite(y) & np.isfinite(x).all(axis=1)
    y, x = y[kept], x[kept]
    free = len(y) - x.shape[1] - 1
    if free < 0:
        return [Interval()] * len(inputs)
    x = x - x.mean(axis=0)
    gram = x.T @ x
    if np.linalg.matrix_rank(x, tol=1e-8) < x.shape[1]:
        return [Interval()] * len(inputs)
    slopes = np.linalg.solve(gram, x.T @ (y - y.mean()))
    if free == 0:
        return [Interval(-float(s)) for s in slopes]
    residual = y - y.mean() - x @ slopes
    errors = np.sqrt(residual @ residual / free * np.diag(np.linalg.inv(gram)))
    half = float(stdtrit(free, 0.5 + level / 2)) * errors
    return [Interval(-float(s), -float(s + h), -float(s - h)) for s, h in zip(slopes, half, strict=True)]


def exponent(loss: ArrayLike, x: ArrayLike, level: float = LEVEL) -> Interval:
    """The one exponent of loss = k * x^-a."""
    return exponents(loss, x, level=level)[0]

"""The loss as a surface over batch size and data, of which one number is the critical batch size.

    log L(B, D) = q(log E), q cubic        D = E (1 + B / B_crit)        B_crit = k E^g

E examples would be enough for the same loss if batches were small. So B_crit depends on the loss alone, as E does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit, stdtrit

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL

LIMITS = (np.log(0.25), np.log(65536)), (-1.0, 1.0)
"""Of log B_crit in the middle of the data, and of its power in E; beyond 1 more data would not mean a lower loss."""

NEWTON_STEPS = 30
"""To solve for E; far more than it takes."""


FEWEST_FOR_CUBIC = 14
"""Rows from which q is cubic, else it is quadratic: the loss leaves chance slowly, and nears its floor slowly, too."""


@dataclass(frozen=True)
class BatchSurface:
    """A fitted surface."""

    fitted: Array
    """Log loss of each row, shape (rows,)."""
    sigma: float
    """Standard deviation of the rows' noise."""
    free: int
    """Degrees of freedom of it."""
    found: Array
    """log B_crit in the middle of the data, and its power, shape (2,); NaN where they are at a limit."""
    covariance: Array
    """Of both, shape (2, 2)."""
    ends: tuple[float, float]
    """Least and most log D."""

    @property
    def growth(self) -> Interval:
        """The power of B_crit in E."""
        return self._interval(np.array([0.0, 1.0]))

    def critical(self, place: int) -> Interval:
        """log B_crit at one of the `ends`, where it is E."""
        return self._interval(np.array([1.0, self.ends[place] - sum(self.ends) / 2]))

    def _interval(self, weights: Array) -> Interval:
        value = float(weights @ self.found)
        half = stdtrit(self.free, 0.5 + LEVEL / 2) * np.sqrt(weights @ self.covariance @ weights)
        return Interval(value, value - half, value + half)


def fit_surface(batch: Array, data: Array, loss: Array) -> BatchSurface | None:
    """Least squares of log losses over log batch sizes and log data; None with fewer than six rows.

    Parameters
    ----------
    batch, data, loss : array, shape (rows,)
        Logarithms.
    """
    ends = float(data.min()), float(data.max())
    x = data - sum(ends) / 2

    def residual(p: Array) -> Array:
        return np.polyval(p[2:], enough(batch, x, p[0], p[1])) - loss

    degree = 3 if len(loss) >= FEWEST_FOR_CUBIC else 2
    start = np.array([batch.mean(), 0.0, *np.polyfit(x, loss, degree)])
    free = len(loss) - len(start)
    if free < 1:
        return None
    low, high = (np.array([*(limit[k] for limit in LIMITS), *(degree + 1) * [(-np.inf, np.inf)[k]]]) for k in (0, 1))
    fit = least_squares(residual, start, bounds=(low, high), x_scale="jac")
    sigma = float(np.sqrt(2 * fit.cost / free))
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac)[:2, :2] * sigma**2
    found = np.full(2, np.nan) if fit.active_mask.any() else fit.x[:2]
    return BatchSurface(fit.fun + loss, sigma, free, found, covariance, ends)


def enough(batch: Array, data: Array, critical: float, power: float) -> Array:
    """log E of rows, by Newton's method: log E + log(1 + B / B_crit(E)) = log D.

    Parameters
    ----------
    batch, data : array, shape (rows,)
        log B and log D.
    critical, power : float
        log B_crit at log E = 0, and its power in E.
    """
    found = data.copy()
    for _ in range(NEWTON_STEPS):
        share = expit(batch - critical - power * found)  # of the examples that only large batches need
        found = found - (found - np.log1p(-share) - data) / np.maximum(1 - power * share, 1e-3)
    return found

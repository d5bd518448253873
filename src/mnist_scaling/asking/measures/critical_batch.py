"""kind: critical_batch. Up to which batch size more examples per step save steps.

    log L(B, D) = q(log E), q cubic        D = E (1 + B / B_crit)        B_crit = k E^g

E examples would be enough for the same loss if batches were small, so that B_crit depends on the loss alone, as E does.
Below B_crit a larger batch saves steps and costs few examples; at B_crit it costs twice the examples; beyond it they
are wasted.

Source: McCandlish et al. 2018 (arXiv 1812.06162), section 2.3, equation 2.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit, stdtrit

from mnist_scaling.asking.measures import Findings, MeasureKind, Number, columns
from mnist_scaling.asking.study_arms import LOSS, StudyArm
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL

LIMITS = (np.log(0.25), np.log(65536)), (-1.0, 1.0)
"""Of log B_crit in the middle of the data, and of its power in E; beyond 1 more data would not mean a lower loss."""

NEWTON_STEPS = 30
"""To solve for E; far more than it takes."""

FEWEST_FOR_CUBIC = 14
"""Rows from which q is cubic, else it is quadratic: the loss leaves chance slowly, and nears its floor slowly, too."""

TOO_FEW = "critical batch sizes need three batch sizes, and more cells."


@dataclass(frozen=True)
class CriticalBatchKeys:
    """Keys of this kind."""

    batch: str = "batch_size"
    """Column of the batch size."""


def measure(keys: CriticalBatchKeys, arms: Mapping[str, StudyArm]) -> Findings:
    """By arm B_crit at the least and the most data, <arm>_first and _last, each with _loss, what small batches reach
    there; and <arm>_growth, the power of B_crit in the data.
    """
    findings = Findings()
    for name, arm in arms.items():
        batch, data, loss = (np.log(column) for column in columns(arm, keys.batch, "n_seen", LOSS))
        surface = fit_surface(batch, data, loss) if len(np.unique(batch)) > 2 else None
        critical = [surface.critical(place) if surface else Interval() for place in (0, 1)]
        at = surface.losses if surface else (np.nan, np.nan)
        growth = surface.growth if surface else Interval()
        numbers = {f"{name}_growth": Number(growth, f"{arm.label}: power of the critical batch size in the data")}
        words = {}
        for place, (end, which) in enumerate((("first", "least"), ("last", "most"))):
            meaning = f"{arm.label}: critical batch size with the {which} data"
            numbers[f"{name}_{end}"] = Number(critical[place].exp(), meaning, factor=True)
            words[f"{name}_{end}_loss"] = f"a loss of {np.exp(at[place]):.3g}" if surface else "no loss"
        findings = findings | Findings(numbers, words, () if surface else (f"{arm.label}: {TOO_FEW}",))
    return findings


@dataclass(frozen=True)
class BatchSurface:
    """The loss as a surface over batch size and data."""

    fitted: Array
    """log B_crit in the middle of the data, and its power, shape (2,); NaN where they are at a limit."""
    covariance: Array
    """Of both, shape (2, 2)."""
    free: int
    """Degrees of freedom of the noise."""
    ends: tuple[float, float]
    """Least and most log D."""
    losses: tuple[float, float]
    """q, the log loss of small batches, at the ends."""

    @property
    def growth(self) -> Interval:
        """The power of B_crit in E."""
        return self._interval(np.array([0.0, 1.0]))

    def critical(self, place: int) -> Interval:
        """log B_crit at one of the `ends`, where it is E."""
        return self._interval(np.array([1.0, self.ends[place] - sum(self.ends) / 2]))

    def _interval(self, weights: Array) -> Interval:
        value = float(weights @ self.fitted)
        half = stdtrit(self.free, 0.5 + LEVEL / 2) * np.sqrt(weights @ self.covariance @ weights)
        return Interval(value, value - half, value + half)


def fit_surface(batch: Array, data: Array, loss: Array) -> BatchSurface | None:
    """Least squares of log losses over log batch sizes and log data, all (rows,); None with too few rows."""
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
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac)[:2, :2] * 2 * fit.cost / free
    fitted = np.full(2, np.nan) if fit.active_mask.any() else fit.x[:2]
    first, last = np.polyval(fit.x[2:], [x.min(), x.max()])
    return BatchSurface(fitted, covariance, free, ends, (float(first), float(last)))


def enough(batch: Array, data: Array, critical: float, power: float) -> Array:
    """log E of rows, by Newton's method: log E + log(1 + B / B_crit(E)) = log D.

    `batch` and `data` are log B and log D, (rows,); `critical` is log B_crit at log E = 0, and `power` its power in E.
    """
    log_e = data.copy()
    for _ in range(NEWTON_STEPS):
        share = expit(batch - critical - power * log_e)  # of the examples that only large batches need
        log_e = log_e - (log_e - np.log1p(-share) - data) / np.maximum(1 - power * share, 1e-3)
    return log_e


KIND = MeasureKind(CriticalBatchKeys, measure)

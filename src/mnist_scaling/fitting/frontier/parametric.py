"""Frontiers of surfaces under the table's own cost, log C = k + kappa_N log N + kappa_D log D.

Hoffmann et al. 2022, approach 3, without assuming C = 6 N D: convolutions and small nets do not obey it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.least_squares import plane

if TYPE_CHECKING:
    from mnist_scaling.fitting.misfit.process import Axes


@dataclass(frozen=True)
class Cost:
    """log C = constant + kappa_n log N + kappa_d log D."""

    constant: float
    kappa_n: float
    kappa_d: float
    rmse_log: float
    """How far the rows are from it: 0.05 is 5 % of C."""
    assumed: bool = False
    """True when the table has no C and 6 N D stands in."""

    def log_c(self, log_n: Array, log_d: Array) -> Array:
        """log C of models of log N and log D, of any shape."""
        return self.constant + self.kappa_n * log_n + self.kappa_d * log_d

    def of(self, table: Table) -> Array:
        """log C of the rows, or what stands for it, shape (n,)."""
        if "C" in table.inputs:
            return np.log(table.inputs["C"])
        return self.log_c(np.log(table.inputs["N"]), np.log(table.inputs["D"]))


def cost_coefficients(table: Table, variables: Sequence[str]) -> tuple[Array, float] | None:
    """(k, kappa_1, …) of log C = k + sum_i kappa_i log x_i, or of 6 N D where the table has no C; and how far rows are.

    None where C does not grow with each of the variables.
    """
    if "C" not in table.inputs:
        return (np.array([np.log(6), 1.0, 1.0]), 0.0) if tuple(variables) == ("N", "D") else None
    found = plane(np.log(table.inputs["C"]), *table.logs(variables).values())
    if not found.determined or (found.coefficients[1:] <= 0.05).any():
        return None
    return found.coefficients, float(np.sqrt(np.mean(found.residual**2)))


def fit_cost(table: Table) -> Cost | None:
    """The table's own cost; None where N or D never varies, or C does not grow with both."""
    found = cost_coefficients(table, ("N", "D")) if table.has(("N", "D")) else None
    if found is None:
        return None
    constant, kappa_n, kappa_d = map(float, found[0])
    return Cost(constant, kappa_n, kappa_d, found[1], "C" not in table.inputs)


SEARCHED = 2.0
"""Half-spans from the middle of the table in which minima are looked for, and farther for budgets beyond the table."""

FARTHEST = 3.0
"""Half-spans beyond which no minimum is looked for."""

POINTS = 61
"""Sizes tried for each budget; the best is refined by a parabola."""


@dataclass(frozen=True)
class Valley:
    """Where each surface is lowest at each budget."""

    log_n: Array
    log_d: Array
    """Each of shape (surfaces, m); NaN where the lowest point is not inside of what was searched."""
    log_loss: Array
    """The lowest of what was searched, of the same shape: at an end of it, too."""
    exponents: Mapping[str, Array]
    """Of "N", "D" and "loss" in C: lines through a surface's minima, shape (surfaces,); NaN where half have none."""


def valley(log_loss: Callable[[Mapping[str, Array]], Array], axes: Axes, cost: Cost, log_c: Array) -> Valley:
    """The minima of surfaces over these axes at budgets, shape (m,).

    `log_loss` is from logs of "N" and "D", shape (n,) each, to ln L of every surface, shape (surfaces, n).
    """
    log_c = np.atleast_1d(np.asarray(log_c, float))
    low, high = _searched(axes, cost, log_c)
    log_n = low[:, None] + np.maximum(high - low, 0.0)[:, None] * np.linspace(0, 1, POINTS)
    log_d = (log_c[:, None] - cost.constant - cost.kappa_n * log_n) / cost.kappa_d
    values = log_loss({"N": log_n.ravel(), "D": log_d.ravel()}).reshape(-1, *log_n.shape)
    position, value = _lowest(values)
    step = (high - low) / (POINTS - 1)
    best_n = np.where(step > 0, low + step * position, np.nan)
    best_d = (log_c - cost.constant - cost.kappa_n * best_n) / cost.kappa_d
    inside = np.where(np.isfinite(best_n), value, np.nan)
    exponents = {k: lines(log_c, y) for k, y in (("N", best_n), ("D", best_d), ("loss", inside))}
    return Valley(best_n, best_d, np.where(step > 0, value, np.nan), exponents)


def _searched(axes: Axes, cost: Cost, log_c: Array) -> tuple[Array, Array]:
    """Smallest and largest log N of each budget such that N and D lie in the searched range."""
    kappa = np.array([cost.kappa_n, cost.kappa_d])
    beyond = np.maximum(log_c - cost.log_c(*(axes.middle + axes.half)), 0.0)
    reach = axes.half[:, None] * np.minimum(SEARCHED + beyond / (kappa * axes.half)[:, None], FARTHEST)
    (n_low, d_low), (n_high, d_high) = axes.middle[:, None] - reach, axes.middle[:, None] + reach
    ends = [(log_c - cost.constant - cost.kappa_d * d) / cost.kappa_n for d in (d_high, d_low)]
    return np.maximum(n_low, ends[0]), np.minimum(n_high, ends[1])


def _lowest(values: Array) -> tuple[Array, Array]:
    """Position (in steps) and value of the minimum along the last axis; without a position at its ends."""
    at = values.argmin(axis=-1)
    inside = np.clip(at, 1, values.shape[-1] - 2)
    low, middle, high = (np.take_along_axis(values, inside[..., None] + k, -1)[..., 0] for k in (-1, 0, 1))
    bend = low - 2 * middle + high
    with np.errstate(all="ignore"):
        shift = np.where(bend > 0, 0.5 * (low - high) / bend, 0.0)
    good = at == inside
    end = values.min(axis=-1)
    return np.where(good, inside + shift, np.nan), np.where(good, middle - 0.25 * (low - high) * shift, end)


def lines(x: Array, y: Array) -> Array:
    """Least-squares slope of y (surfaces, m) in x (m,) over what is not NaN; NaN where half is."""
    known = np.isfinite(y)
    number = known.sum(axis=1)
    with np.errstate(all="ignore"):
        dx = np.where(known, x - np.where(known, x, 0.0).sum(axis=1, keepdims=True) / number[:, None], 0.0)
        square = np.where(2 * number > max(len(x), 2), (dx**2).sum(axis=1), np.nan)
        return np.asarray((dx * np.where(known, y, 0.0)).sum(axis=1) / square)

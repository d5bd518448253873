"""The compute multiplier: how much compute arm b needs for the loss that arm a reaches, over a's compute.

    m(C) = C_b / C    with    L_b*(C_b) = L_a*(C)
    L*(C) = the least loss over sizes of compute C inside the range of N and D that both arms cover

m = 0.5 means that b needs half of a's compute. It is given where both arms reach the loss inside the compute that
they cover, so that nothing is extrapolated: at the largest loss that both reach and at the smallest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.comparing.surface import Surfaces
from mnist_scaling.fitting.frontier.parametric import cost_coefficients
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.bootstrap import interval
from mnist_scaling.fitting.uncertainty.interval import Interval

BUDGETS, SIZES = 33, 17
"""Budgets between the smallest and the largest compute, and sizes tried at each of them."""

END = 5
"""Budgets at either end whose secant goes on beyond it, for draws that leave the range by a little."""

SLOWEST = 1e-3
"""Least exponent of L*(C) that is followed beyond an end: a flatter curve never reaches another loss."""

LARGEST = float(np.log(1e30))
"""Log multiplier beyond which an interval has no end."""


@dataclass(frozen=True)
class Frontiers:
    """L*(C) of two arms in logarithms, and draws of it."""

    log_c: tuple[Array, Array]
    y: tuple[Array, Array]
    """Shape (BUDGETS,) each."""
    draws: tuple[Array, Array]
    """Shape (draws, BUDGETS) each."""


@dataclass(frozen=True)
class Multiplier(Interval):
    """The compute of b over that of a at equal loss."""

    C: float = np.nan
    """Compute of a."""
    loss: float = np.nan
    """Loss that both reach."""
    p_better: float = np.nan
    """Probability that b needs less compute than a, so that its loss is the lower one at C; NaN without draws."""


def path(table: Table, variables: tuple[str, ...], low: Array, high: Array) -> tuple[Array, Array] | None:
    """Where the frontier of an arm is looked for: budgets, shape (BUDGETS,), and log sizes of each in the box between
    `low` and `high`, shape (BUDGETS, SIZES, variables); None where compute does not grow with each size.

    Compute is log C = k + sum_i kappa_i x_i, by least squares on the table's own C, or 6 N D where it has none.
    """
    solved = cost_coefficients(table, variables)
    if solved is None:
        return None
    constant, kappa = float(solved[0][0]), solved[0][1:]
    ends = constant + kappa @ low, constant + kappa @ high
    log_c = np.linspace(*ends, BUDGETS)
    if len(variables) == 1:
        return log_c, ((log_c - constant) / kappa[0])[:, None, None]
    left = np.maximum(low[0], (log_c - constant - kappa[1] * high[1]) / kappa[0])
    right = np.minimum(high[0], (log_c - constant - kappa[1] * low[1]) / kappa[0])
    first = left[:, None] + (right - left)[:, None] * np.linspace(0, 1, SIZES)
    second = (log_c[:, None] - constant - kappa[0] * first) / kappa[1]
    return log_c, np.stack([first, second], axis=-1)


def frontiers(surfaces: Surfaces, noise: Array) -> Frontiers | None:
    """L*(C) of both arms from their surfaces and noise of `ArmNoise.draw`; None where a table says nothing of cost."""
    cells = surfaces.cells
    a, b = (path(table, cells.variables, *cells.corners) for table in cells.tables)
    if a is None or b is None:
        return None
    y, draws = [], []
    for (_, x), solve in zip((a, b), surfaces.solve, strict=True):
        values = surfaces.basis(x)
        y.append(lowest(values @ (solve @ surfaces.y)))
        coefficients = (surfaces.y + noise) @ solve.T
        draws.append(lowest(np.tensordot(coefficients, values, axes=(1, 2))))
    return Frontiers((a[0], b[0]), (y[0], y[1]), (draws[0], draws[1]))


def lowest(values: Array) -> Array:
    """Least log loss at each budget or any below it, from log losses of shape (…, budgets, sizes)."""
    return np.minimum.accumulate(values.min(axis=-1), axis=-1)


def multipliers(fronts: Frontiers, level: float) -> list[Multiplier]:
    """The multiplier at the smallest and the largest compute of a at which both arms reach a's loss, if any is, and in
    their middle, where it is known best."""
    y_a, y_b = fronts.y
    top, bottom = min(y_a[0], y_b[0]), max(y_a[-1], y_b[-1])
    if not top > bottom:
        return []
    small, large = (reach(fronts.log_c[0], y_a, y) for y in (top, bottom))
    return [multiplier_at(fronts, at, level) for at in (small, (small + large) / 2, large)]


def multiplier_at(fronts: Frontiers, at: float, level: float) -> Multiplier:
    """The multiplier at log compute `at` of a; the other parameters are those of `multipliers`."""
    (c_a, c_b), (y_a, y_b) = fronts.log_c, fronts.y
    y = float(np.interp(at, c_a, y_a))
    targets = [float(np.interp(at, c_a, a)) for a in fronts.draws[0]]
    drawn = np.array([reach(c_b, b, target) - at for b, target in zip(fronts.draws[1], targets, strict=True)])
    log_m = interval(reach(c_b, y_b, y) - at, drawn, level, 1.0)
    if log_m.high > LARGEST:
        log_m = Interval(log_m.value)
    # Where a curve is too flat to go on to the loss, the losses at C tell.
    lower = np.array([np.interp(at, c_b, b) for b in fronts.draws[1]]) < targets
    better = float(np.where(np.isnan(drawn), lower, drawn < 0).mean()) if np.isfinite(targets).all() else np.nan
    return Multiplier(**vars(log_m.exp()), C=float(np.exp(at)), loss=float(np.exp(y)), p_better=better)


def differences(fronts: Frontiers, log_c: float) -> tuple[float, Array]:
    """ln L_b* - ln L_a* at a compute, and draws of it."""
    (c_a, c_b), (y_a, y_b) = fronts.log_c, fronts.y
    drawn = [np.interp(log_c, c_b, b) - np.interp(log_c, c_a, a) for a, b in zip(*fronts.draws, strict=True)]
    return float(np.interp(log_c, c_b, y_b) - np.interp(log_c, c_a, y_a)), np.array(drawn)


def reach(log_c: Array, y: Array, target: float) -> float:
    """Least log C whose log loss is `target` on a falling curve; its ends go on as straight lines.

    NaN where an end is too flat to go on.
    """
    if y[-1] <= target <= y[0]:
        # np.interp wants a rising axis; of equal losses the least compute counts.
        first = np.concatenate([[True], np.diff(y) < 0])
        return float(np.interp(-target, -y[first], log_c[first]))
    k, end = (0, END) if target > y[0] else (len(y) - 1, len(y) - 1 - END)
    slope = (y[k] - y[end]) / (log_c[k] - log_c[end])
    return float(log_c[k] + (target - y[k]) / slope) if slope < -SLOWEST else float("nan")

"""Frontiers of surfaces under the table's own cost, log C = k + kappa_N log N + kappa_D log D.

Hoffmann et al. 2022, approach 3, without assuming C = 6 N D: convolutions and small nets do not obey it.
What N is, is a choice, too: `counts` reads the same surfaces on other axes.
"""

# ruff: noqa: N815 (the names are those of the file)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mnist_scaling.fitting.fronts import EXPONENTS, Frontier, Valley, lines, nothing
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.posterior import Posterior
from mnist_scaling.fitting.misfit.process import Axes
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.interval import MAJORITY, OMITTED, UNKNOWN, Interval, median_of
from mnist_scaling.fitting.uncertainty.least_squares import plane


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
    fitted = plane(np.log(table.inputs["C"]), *table.logs(variables).values())
    if not fitted.determined or (fitted.coefficients[1:] <= 0.05).any():
        return None
    return fitted.coefficients, float(np.sqrt(np.mean(fitted.residual**2)))


def fit_cost(table: Table) -> Cost | None:
    """The table's own cost; None where N or D never varies, or C does not grow with both."""
    solved = cost_coefficients(table, ("N", "D")) if table.has(("N", "D")) else None
    if solved is None:
        return None
    constant, kappa_n, kappa_d = map(float, solved[0])
    return Cost(constant, kappa_n, kappa_d, solved[1], "C" not in table.inputs)


SEARCHED = 2.0
"""Half-spans from the middle of the table in which minima are looked for, and farther for budgets beyond the table."""

FARTHEST = 3.0
"""Half-spans beyond which no minimum is looked for."""

POINTS = 61
"""Sizes tried for each budget; the best is refined by a parabola."""


def valley(log_loss: Callable[[Mapping[str, Array]], Array], axes: Axes, cost: Cost, log_c: Array) -> Valley:
    """The minima of surfaces over these axes at budgets, shape (m,).

    `log_loss` is from logs of "N" and "D", shape (n,) each, to ln L of every surface, shape (surfaces, n).
    """
    log_c = np.atleast_1d(np.asarray(log_c, float))
    low, high = _searched(axes, cost, log_c)
    log_n = low[:, None] + np.maximum(high - low, 0.0)[:, None] * np.linspace(0, 1, POINTS)
    log_d = (log_c[:, None] - cost.constant - cost.kappa_n * log_n) / cost.kappa_d
    values = log_loss({"N": log_n.ravel(), "D": log_d.ravel()}).reshape(-1, *log_n.shape)
    position, value = lowest(values)
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


def lowest(values: Array) -> tuple[Array, Array]:
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


NO_COST = "needs N, D and a C that grows with both"


def parametric(table: Table, model: Posterior | None, cost: Cost | None, level: float, why: str = "") -> Frontier:
    """The frontier of the model's surfaces, each minimised along the budgets of the table's own cost."""
    if cost is None or model is None:
        return nothing("parametric", NO_COST if cost is None else why)
    log_c = budgets(table, cost)
    minima = valley(model.log_loss, model.axes, cost, log_c)
    intervals = {k: median_of(minima.exponents[k.removesuffix("_exponent")], level) for k in EXPONENTS}
    share = 100 * float(np.isfinite(minima.exponents["N"]).mean())
    if not intervals["N_exponent"].known:
        none = f"no best size: only {share:.0f} % of the plausible surfaces have one at a fixed C, near the grid"
        return nothing("parametric", none)
    status = "ok" if share == 100 else f"of the {np.floor(share):.0f} % of the surfaces that have an optimum"
    return Frontier("parametric", intervals, _points(log_c, minima), status, valley=minima)


INSIDE = 9
"""Budgets over the compute of a table."""


def budgets(table: Table, cost: Cost) -> Array:
    """Budgets in logs over the table's range of compute, shape (`INSIDE`,)."""
    c = cost.of(table)
    return np.linspace(c.min(), c.max(), INSIDE)


def _points(log_c: Array, minima: Valley) -> list[dict[str, float]]:
    """Medians over the surfaces at the budgets at which most of them have an optimum."""
    inside = np.isfinite(minima.log_n).mean(axis=0) > MAJORITY
    with np.errstate(invalid="ignore"):
        middle = [np.nanmedian(k[:, inside], axis=0) for k in (minima.log_n, minima.log_d, minima.log_loss)]
    rows = np.exp([log_c[inside], *middle]).T
    return [dict(zip(("C", "N", "D", "loss"), map(float, row), strict=True)) for row in rows]


PER_EXAMPLE = "FLOPs per example"

FUNCTION = 0.02
"""Root mean square in ln M beyond which M is no function of N."""

ALIKE = 0.02
"""Difference of h' from 1 up to which a count gives the same exponents as N, and is left out."""


@dataclass(frozen=True)
class CountedSize:
    """N, or the size of the same models counted otherwise, with the numbers of the headline in it."""

    count: str
    grows: float
    """The largest over the smallest."""
    N_exponent: Interval = UNKNOWN
    slope_N: Interval = UNKNOWN
    middle_slope_N: Interval = UNKNOWN
    why: str = field(default="", metadata=OMITTED, kw_only=True)


def counts(
    rows: Table,
    model: Posterior,
    at: Sequence[Mapping[str, float]],
    minima: Valley | None,
    cost: Cost | None,
    level: float,
) -> list[CountedSize]:
    """N and each other count of sizes: how far it grows, N*'s exponent and slopes.

    Published exponents moved from 0.84 to 0.71 with one layer's FLOPs, and N*(C) reads 0.37, 0.54 or 0.70 by which
    parameters are counted. What moves an exponent by more than its interval belongs beside it. With sizes counted as M,

        ln M = h(ln N)        d ln L / d ln M = (d ln L / d ln N) / h'        ln M*(C) = h(ln N*(C))

    Models, budgets and losses are the same, so nothing is fitted again: each surface's slopes and minima are read on
    another axis. h is a parabola through the rows. Where M is no function of N, as where depth and width both vary, the
    surfaces over N say nothing of M.

    Empty where no count differs from N. Surfaces are over N, or over N and D; slopes are those `at` the largest
    cell and the middle by their logs, `minima` are the minima at `budgets`.
    """
    logs, others = np.log(rows.inputs["N"]), dict(rows.conventions.get("N", {}))
    if rows.has(("C", "D")):
        others[PER_EXAMPLE] = rows.inputs["C"] / rows.inputs["D"]
    out = []
    for name, values in {"N": rows.inputs["N"], **others}.items():
        h = np.polynomial.Polynomial.fit(logs, np.log(values), min(2, len(np.unique(logs.round(9))) - 1))
        steep = h.deriv()(np.array([logs.min(), logs.max()]))
        if name != "N" and np.abs(steep - 1).max() <= ALIKE:
            continue
        grows = float(values.max() / values.min())
        scatter = float(np.sqrt(np.mean((h(logs) - np.log(values)) ** 2)))
        if steep.min() <= 0 or scatter > FUNCTION:
            why = "no function of N in these rows, as where depth and width both vary: fit it as columns.N"
            out.append(CountedSize(name, grows, why=why))
            continue
        exponent = UNKNOWN
        if minima is not None and cost is not None:
            exponent = median_of(lines(budgets(rows, cost), h(minima.log_n)), level)
        slopes = [median_of(model.slope(p, "N") / float(h.deriv()(p["N"])), level) for p in at]
        out.append(CountedSize(name, grows, exponent, *slopes))
    return out if len(out) > 1 else []

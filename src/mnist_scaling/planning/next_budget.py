"""The best run at each budget of anyone's table, and what it says of the next: its loss, and its settings.

    log L = a - b log C,  by least squares through the lowest loss at each budget

Small models bend away from the line. So many of the smallest budgets are left out as make the interval at the next
budget narrowest, which holds the scatter about the line and the number of budgets left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.errors import InputError, require
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.slices import best_of_each_budget
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import exponents, line_at
from mnist_scaling.planning.studied import Studied

FEWEST = 4
"""Budgets that a line is put through, at least."""


@dataclass(frozen=True)
class NextBudget:
    """The next budget of a table: the best row at each budget so far, the first so many of which the line leaves out;
    b; the loss of the best run there; and the numeric columns that stand still or move along a line."""

    winners: pd.DataFrame
    left_out: int
    budget: float
    slope: Interval
    loss: Interval
    settings: Mapping[str, Interval]


def next_budget(of: Studied, budget: float | None = None) -> NextBudget:
    """Continue the arg-mins of a table to a budget, by default one more of its last steps."""
    require("C" in of.table.inputs, "A next budget needs the FLOPs of each run, but there are none: give columns.C=….")
    best = best_of_each_budget(of.table)
    best = best[np.argsort(of.table.inputs["C"][best])]
    x, y = np.log(of.table.inputs["C"][best]), of.table.y[best]
    require(len(x) >= FEWEST, f"A line needs {FEWEST} budgets, but the table has {len(x)}: add some, or give target.N.")
    at = 2 * x[-1] - x[-2] if budget is None else float(np.log(budget))
    if at <= x[-1]:
        rule = f"`target.flops` must lie beyond the largest budget, {np.exp(x[-1]):.4g}"
        raise InputError(f"{rule}, but got {budget:.4g}: raise it.")
    level = of.model.level
    losses = [_forecast(x[k:], y[k:], at, level) for k in range(len(x) - FEWEST + 1)]
    first = int(np.argmin([loss.high - loss.low for loss in losses]))
    (slope,) = exponents(np.exp(y[first:]), np.exp(x[first:]), level=level)
    winners, names = of.cells.loc[of.table.rows[best]], of.source.rows.names
    others = winners.drop(columns=[c for c in (names["C"], names["loss"], names["se"]) if c]).select_dtypes("number")
    found = {c: _setting(x[first:], others[c].to_numpy(float)[first:], at, level) for c in others}
    settings = {c: value for c, value in found.items() if value.known}
    return NextBudget(winners, first, float(np.exp(at)), slope, losses[first].exp(), settings)


def _forecast(x: Array, y: Array, at: float, level: float) -> Interval:
    (middle,), (half,) = line_at(x, y, np.array([at]), level)
    return Interval(float(middle), float(middle - half), float(middle + half))


def _setting(x: Array, values: Array, at: float, level: float) -> Interval:
    """A winner's setting at a place; unknown where it moves without a trend."""
    if np.ptp(values) == 0:
        return Interval(*[float(values[0])] * 3)
    if not (np.isfinite(values) & (values > 0)).all():
        return Interval()
    (slope,) = exponents(values, np.exp(x), level=level)
    return _forecast(x, np.log(values), at, level).exp() if slope.excludes(0) else Interval()

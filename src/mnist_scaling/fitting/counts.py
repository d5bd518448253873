"""What N is: the same exponents with sizes counted otherwise, such as hidden layers only, or FLOPs per example.

Published exponents moved from 0.84 to 0.71 with one layer's FLOPs, and N*(C) reads 0.37, 0.54 or 0.70 by which
parameters are counted. What moves an exponent by more than its interval belongs beside it. With sizes counted as M,

    ln M = h(ln N)        d ln L / d ln M = (d ln L / d ln N) / h'        ln M*(C) = h(ln N*(C))

Models, budgets and losses are the same, so nothing is fitted again: each surface's slopes and minima are read on
another axis. h is a parabola through the rows. Where M is no function of N, as where depth and width both vary, the
surfaces over N say nothing of M.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnist_scaling.fitting.frontier.methods import budgets, median_of
from mnist_scaling.fitting.frontier.parametric import Cost, Valley, lines
from mnist_scaling.fitting.laws.base import Array, middle
from mnist_scaling.fitting.misfit.posterior import Posterior
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import largest_cell
from mnist_scaling.fitting.uncertainty.interval import Interval

PER_EXAMPLE = "FLOPs per example"

FUNCTION = 0.02
"""Root mean square in ln M beyond which M is no function of N."""

ALIKE = 0.02
"""Difference of h' from 1 up to which a count gives the same exponents as N, and is left out."""


def counts(
    rows: Table, model: Posterior, found: Valley | None, cost: Cost | None, level: float
) -> list[dict[str, Any]]:
    """One record for N and one for each other count that the table has: how far it grows, N*'s exponent and slopes.

    Empty where no count differs from N. Surfaces are over N, or over N and D; `found` are their minima at `budgets`.
    """
    logs, others = np.log(rows.inputs["N"]), dict(rows.conventions.get("N", {}))
    if rows.has(("C", "D")):
        others[PER_EXAMPLE] = rows.inputs["C"] / rows.inputs["D"]
    at = {"slope_N": largest_cell(rows), "middle_slope_N": middle(rows.logs(model.axes.names))}
    out = []
    for name, values in {"N": rows.inputs["N"], **others}.items():
        h = np.polynomial.Polynomial.fit(logs, np.log(values), min(2, len(np.unique(logs.round(9))) - 1))
        steep = h.deriv()(np.array([logs.min(), logs.max()]))
        if name != "N" and np.abs(steep - 1).max() <= ALIKE:
            continue
        record: dict[str, Any] = {"count": name, "grows": float(values.max() / values.min())}
        if steep.min() <= 0 or _scatter(h(logs) - np.log(values)) > FUNCTION:
            unknown = {key: Interval().record() for key in ("N_exponent", *at)}
            why = "no function of N in these rows, as where depth and width both vary: fit it as columns.N"
            out.append(record | unknown | {"why": why})
            continue
        exponent = Interval()
        if found is not None and cost is not None:
            exponent = median_of(lines(budgets(rows, cost), h(found.log_n)), level)
        slopes = {k: median_of(model.slope(p, "N") / float(h.deriv()(p["N"])), level) for k, p in at.items()}
        out.append(record | {k: v.record() for k, v in {"N_exponent": exponent, **slopes}.items()})
    return out if len(out) > 1 else []


def _scatter(residual: Array) -> float:
    return float(np.sqrt(np.mean(residual**2)))

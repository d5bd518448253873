"""The same exponents under every other choice: counts of sizes always; conventions, laws, deltas, rows when asked for.

Published exponents moved from 0.84 to 0.71 with one layer's FLOPs, and N*(C) reads 0.37, 0.54 or 0.70 by which
parameters are counted. What moves an exponent by more than its interval belongs beside it. With sizes counted as M,
such as parameters of hidden layers, or FLOPs per example,

    ln M = h(ln N)        d ln L / d ln M = (d ln L / d ln N) / h'        ln M*(C) = h(ln N*(C))

Models, budgets and losses are the same, so nothing is fitted again: each surface's slopes and minima are read on
another axis. h is a parabola through the rows. Where M is no function of N, as where depth and width both vary, the
surfaces over N say nothing of M.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.estimation.estimate import Settings
from mnist_scaling.fitting.fitted import Options, fit_part
from mnist_scaling.fitting.frontier.fronts import FEWEST_POINTS, observed
from mnist_scaling.fitting.frontier.isoflop_minima import isoflop
from mnist_scaling.fitting.frontier.methods import budgets, median_of
from mnist_scaling.fitting.frontier.parametric import Cost, Valley, fit_cost, lines
from mnist_scaling.fitting.laws.base import Array, Law, middle
from mnist_scaling.fitting.misfit.posterior import Posterior
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import largest_cell, part_for
from mnist_scaling.fitting.uncertainty.bootstrap import make_draws
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.study import flags

if TYPE_CHECKING:
    from mnist_scaling.fitting.analysis import Result

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


DELTAS = ("auto", 1e-3, 1e-2, 1e-1)
LOSSES = ("squared", "absolute")
ROW_FLAGS = (
    flags.SEED_OUTLIER, flags.NON_MONOTONE, flags.CHANCE_LEVEL, flags.SEARCH_EDGE, flags.UNDERTRAINED,
    flags.DUPLICATE_ROWS, flags.REPEAT_LOST,
)  # fmt: skip
"""Flags that name single rows worth leaving out once."""

MOST_ROWS = 20
"""Flagged rows that are left out one at a time; more are only left out together."""


@dataclass(frozen=True)
class Variant:
    """One other choice and what it makes of the exponents."""

    group: str
    """base, N, C, law, delta, loss or rows."""
    setting: str
    law: str
    exponents: dict[str, float]
    """Parameters without a scale's unit, and "N* hull", "N* isoflop", "N* parametric"."""
    note: str = ""


def sensitivity(result: Result) -> list[Variant]:
    """Every variant of a finished analysis; the first is the analysis itself.

    Raises
    ------
    InputError
        When no law was fitted.
    """
    if not result.fitted:
        raise InputError("`sensitivity=true` needs at least one fitted law, but none was fitted: add cells.")
    name = result.selected or next(iter(result.fitted))
    law, table, options = result.fitted[name].law, result.table, result.options
    out = [_variant("base", "as fitted", table, law, options)]
    for key, group in table.conventions.items():
        for label, values in group.items():
            other = replace(table, inputs={**table.inputs, key: values})
            out.append(_variant(key, label, other, law, options))
    same_rows = [f.law for f in result.fitted.values() if f.law.inputs == law.inputs and f.law.name != name]
    out += [_variant("law", other.name, table, other, options) for other in same_rows]
    now = options.settings
    others = [("delta", Settings(d, "huber", now.weights)) for d in DELTAS if d != now.delta]
    others += [("loss", Settings(now.delta, k, now.weights)) for k in LOSSES if k != now.loss]
    for kind, settings in others:
        out.append(_variant(kind, str(getattr(settings, kind)), table, law, replace(options, settings=settings)))
    return out + list(_without_rows(result, law))


def _without_rows(result: Result, law: Law) -> Iterable[Variant]:
    table = result.table
    flagged = {c["row"] for f in result.flags if f.code in ROW_FLAGS for c in f.cells} & set(map(int, table.rows))
    rows = sorted(flagged)
    if len(rows) <= MOST_ROWS:
        for row in rows:
            kept = table.rows != row
            label = f"without {table.describe(int(np.flatnonzero(~kept)[0]))}"
            yield _variant("rows", label, table.take(kept), law, result.options)
    if 1 < len(rows) <= len(table) - FEWEST_POINTS:
        kept = ~np.isin(table.rows, rows)
        yield _variant("rows", f"without all {len(rows)} flagged rows", table.take(kept), law, result.options)


def _variant(group: str, setting: str, table: Table, law: Law, options: Options) -> Variant:
    """Point estimates of one variant; a variant that can't be fitted says why instead."""
    joint = len(law.inputs) > 1
    part = part_for(law, table)
    draws = make_draws(len(table), 0, np.random.default_rng(0), "wild", options.level)
    try:
        fitted = fit_part(law, table, part, options, draws, deep=False)
    except InputError as error:
        return Variant(group, setting, law.name, {}, str(error))
    found = {p.name: fitted.fit.values[p.name] for p in law.parameters if p.unit in ("1", "loss") and not p.log}
    found["N* hull"] = observed(table, "hull").intervals["N_exponent"].value
    found["N* isoflop"] = isoflop(table, options.isoflop).intervals["N_exponent"].value
    cost = fit_cost(table) if joint else None
    line = law.optimum(fitted.fit.theta[None], cost.kappa_n, cost.kappa_d) if cost is not None else None
    found["N* parametric"] = float(line["n1"][0]) if line is not None else np.nan
    note = f"at bound: {', '.join(fitted.fit.at_bound)}" if fitted.fit.at_bound else ""
    return Variant(group, setting, law.name, found, note)

"""The four frontier methods side by side, corrected for their bias, with intervals; and whether they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_scaling.fitting.frontier.budgets import curves
from mnist_scaling.fitting.frontier.fronts import EXPONENTS, METHODS, Frontier, nothing, observed, observed_draws
from mnist_scaling.fitting.frontier.isoflop_minima import MOST_EDGES, counted, isoflop, isoflop_draws
from mnist_scaling.fitting.frontier.parametric import Cost, exponents_of, frontier_of
from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.selection.averaging import MAJORITY, LawQuantity, WeightedLaw, average, averaged
from mnist_scaling.fitting.uncertainty.bootstrap import FEWEST_VALID, PAIRS_FROM, Draws
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.study.flags import GRID_EDGE

if TYPE_CHECKING:
    from mnist_scaling.fitting.selection.fitted import Fitted

FRONTIER_DRAWS = 300
"""Draws that the methods which go row by row are repeated for: an end of their intervals is then off by a tenth."""


@dataclass(frozen=True)
class FrontierResult:
    """One method: its frontier and its exponents, corrected for the method's bias, with their intervals."""

    frontier: Frontier
    intervals: dict[str, Interval]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class _Drawn:
    """One kept law's draws: parameters, and losses of the rows with their noise and without it."""

    kept: WeightedLaw
    thetas: Array
    """Shape (draws, p)."""
    ys: Array
    """Log losses with noise, shape (draws, n)."""
    counts: Array | None
    """How often each row was drawn, when rows are resampled."""
    smooth: Array
    """The law's own log losses in each draw, shape (draws, n)."""
    fitted: Array
    """The law's own log losses, shape (n,)."""


def all_frontiers(
    table: Table, kept: Sequence[WeightedLaw], cost: Cost | None, draws: Draws, curve: str, why: str = ""
) -> dict[str, FrontierResult]:
    """Every method of `METHODS` on one table.

    Pareto front, hull and isoFLOP curves are read off few rows, and are biased even without noise: rows lie on one
    side of the frontier, and a minimum off the middle of a curve is drawn to it. On a fitted law that bias is known,
    the method's exponent on the law's own losses minus the law's exponent. It is taken off the estimate and, draw by
    draw, off the draws; the average over the kept laws is what is given.

    Parameters
    ----------
    table : Table
    kept : sequence of WeightedLaw
        Joint laws that the data do not reject.
    cost : Cost or None
    draws : Draws
    curve : str
        Polynomial of the isoFLOP curves.
    """
    drawn = _drawn(table, kept, draws)
    out = {}
    for method in ("pareto", "hull"):
        found = observed(table, method)

        def measure(ys: Array, counts: Array | None, method: str = method) -> dict[str, Array]:
            return observed_draws(table, method, ys, counts)

        out[method] = _corrected(found, measure, table, drawn, cost, draws.level)
    out["isoflop"] = _isoflop(table, drawn, cost, draws, curve)
    out["parametric"] = parametric(table, kept, cost, draws, why)
    return out


def _drawn(table: Table, kept: Sequence[WeightedLaw], draws: Draws) -> list[_Drawn]:
    """The first `FRONTIER_DRAWS` draws of every kept law; none where the noise is not known."""
    if not draws.number or any(not np.isfinite(k.fitted.noise.sigma).all() for k in kept):
        return []
    pairs = draws.kind == "pairs" and len(table) >= PAIRS_FROM
    out = []
    for one in kept:
        f = one.fitted
        if f.law.empirical:
            continue
        good = np.isfinite(f.thetas[:FRONTIER_DRAWS]).all(axis=1)
        thetas, fitted = f.thetas[:FRONTIER_DRAWS][good], table.y - f.fit.residual
        smooth = f.law.evaluate(thetas, f.fit.problem.logs)[0]
        if pairs:
            ys, counts = np.broadcast_to(table.y, smooth.shape), draws.counts[:FRONTIER_DRAWS][good].astype(float)
        else:
            ys, counts = fitted + _errors(f, draws)[good], None
        out.append(_Drawn(one, thetas, ys, counts, smooth, fitted))
    return out


def _errors(f: Fitted, draws: Draws) -> Array:
    return f.noise.draw(draws.noise[:FRONTIER_DRAWS], draws.common[:FRONTIER_DRAWS])


Measure = Callable[[Array, Array | None], dict[str, Array]]
"""Exponents of a method on log losses (draws, n), some rows counted more than once: arrays of shape (draws,)."""


def _corrected(
    found: Frontier, measure: Measure, table: Table, drawn: Sequence[_Drawn], cost: Cost | None, level: float
) -> FrontierResult:
    """The method's exponents less their bias on the kept laws; as read off, without intervals, where no law has one."""
    edges = sum(c["quality"] == "edge" for c in found.extra.get("curves", []))
    flags = (GRID_EDGE,) if edges else ()
    if cost is None or not drawn or found.status != "ok":
        return FrontierResult(found, {key: Interval(found.exponents[key]) for key in EXPONENTS}, flags)
    parts: dict[str, list[LawQuantity]] = {key: [] for key in EXPONENTS}
    log_c = budgets(table, cost)
    for one in drawn:
        law, f = one.kept.fitted.law, one.kept.fitted
        own, draws = (exponents_of(law, theta, cost, log_c) for theta in (f.fit.theta[None], one.thetas))
        if own is None or draws is None:
            nothing_known = np.full(len(one.thetas), np.nan)
            for key in EXPONENTS:
                parts[key].append(LawQuantity(one.kept.weight, np.nan, nothing_known))
            continue
        smooth, noisy = measure(one.fitted[None], None), measure(one.ys, one.counts)
        without = measure(one.smooth, one.counts)
        for key in EXPONENTS:
            value = found.exponents[key] - float(smooth[key][0]) + float(own[key][0])
            parts[key].append(LawQuantity(one.kept.weight, value, noisy[key] - without[key] + draws[key], f.t_factor))
    intervals = {key: average(parts[key], level) for key in EXPONENTS}
    if not any(i.bounded for i in intervals.values()):
        why = "as read off the rows, without an interval: its bias is not known, because "
        why += "the laws that fit have no optimum at fixed C"
        found = replace(found, status=why)
        return FrontierResult(found, {key: Interval(found.exponents[key]) for key in EXPONENTS}, flags)
    return FrontierResult(replace(found, extra={**found.extra, "as_read": found.exponents}), intervals, flags)


def _isoflop(table: Table, drawn: Sequence[_Drawn], cost: Cost | None, draws: Draws, method: str) -> FrontierResult:
    family, _ = curves(table)
    found = isoflop(table, method)
    if not family or found.status != "ok":
        return _corrected(found, lambda ys, counts: {}, table, (), cost, draws.level)
    used = counted(family, table.y, method)
    if used.mean() < 1 - MOST_EDGES:
        short = f"{used.sum()} of {len(used)} budgets have their minimum inside: a selection, so no interval"
        return _corrected(replace(found, status=short), lambda ys, counts: {}, table, (), cost, draws.level)
    # An interpolated curve has no rows of its own to leave out; redraw the noise of what it is made of instead.
    if not all(len(c.rows) for c in family):
        drawn = [replace(d, ys=d.fitted + _errors(d.kept.fitted, draws)[: len(d.thetas)], counts=None) for d in drawn]
    out = _corrected(
        found, lambda ys, counts: isoflop_draws(family, ys, method, counts, used), table, drawn, cost, draws.level
    )
    if out.frontier.status == "ok" and not out.intervals["N_exponent"].bounded and draws.number:
        shaky = f"fewer than {100 * FEWEST_VALID:.0f} % of draws keep every minimum near the sizes, so no interval"
        out = replace(out, frontier=replace(out.frontier, status=shaky))
    return out


def parametric(
    table: Table, kept: Sequence[WeightedLaw], cost: Cost | None, draws: Draws, why_none: str = ""
) -> FrontierResult:
    """The average frontier of the kept laws that have one, under the table's own cost.

    A law has one when it has an optimum at fixed C (the product form has none) and none of its parameters but the
    floor stopped at a bound. Null where such laws hold no more than half of the weight.
    """
    empty = {key: Interval(np.nan) for key in EXPONENTS}
    laws = [k for k in kept if not k.fitted.law.empirical]
    if cost is None or not laws:
        why = "needs N, D and a C that grows with both" if cost is None else why_none or "no joint law is kept"
        return FrontierResult(nothing("parametric", why), empty, ())
    able = able_laws(laws)
    if sum(k.weight for k in able) <= MAJORITY * sum(k.weight for k in laws):
        return FrontierResult(nothing("parametric", _why_none(laws, able)), empty, ())
    log_c = budgets(table, cost)
    intervals: dict[str, Interval] = {}
    seen: dict[tuple[str, int], dict[str, Array] | None] = {}
    for key in (*EXPONENTS, "reducible_exponent"):

        def exponent(law: Law, theta: Array, key: str = key) -> Array:
            out = np.full(len(theta), np.nan)
            valid = np.isfinite(theta).all(axis=1)
            name = (law.name, len(theta))  # the fit itself, or all draws: one reckoning gives every exponent
            if name not in seen:
                seen[name] = exponents_of(law, theta[valid], cost, log_c) if valid.any() else None
            found = seen[name]
            if found is not None:
                out[valid] = found[key]
            return out

        intervals[key] = averaged(able, exponent, draws.level)
    best = able[0].fitted
    extra: dict[str, Any] = {
        "law": best.law.name,
        "laws": [k.fitted.law.name for k in able],
        "reducible_loss_exponent": intervals.pop("reducible_exponent").record(),
    }
    exponents = {key: intervals[key].value for key in EXPONENTS}
    status = "ok" if np.isfinite(exponents["N_exponent"]) else "an exponent of 0, so no optimum at fixed C"
    return FrontierResult(Frontier("parametric", exponents, _points(best, cost, log_c), status, extra), intervals, ())


def _why_none(laws: Sequence[WeightedLaw], able: Sequence[WeightedLaw]) -> str:
    """Why the kept laws have no frontier, in words."""
    without = [k.fitted.law.name for k in laws if not has_optimum(k)]
    if without:
        return f"no optimum: {' and '.join(without)} {'has' if len(without) == 1 else 'have'} none at fixed C"
    names = [k.fitted.law.name for k in laws if all(k is not other for other in able)]
    return f"no optimum to trust: {' and '.join(names)} ended at a bound"


def has_optimum(one: WeightedLaw) -> bool:
    """Whether a law has a best N and D at fixed C."""
    return one.fitted.law.optimum(one.fitted.fit.theta[None], 1.0, 1.0) is not None


def able_laws(kept: Sequence[WeightedLaw]) -> list[WeightedLaw]:
    """The kept laws that have a frontier: an optimum at fixed C, and no parameter but the floor at a bound."""
    return [k for k in kept if not k.fitted.law.empirical and has_optimum(k) and not set(k.fitted.fit.at_bound) - {"E"}]


def budgets(table: Table, cost: Cost) -> Array:
    """Nine budgets in logs over the table's range of compute, shape (9,)."""
    c = cost.of(table)
    return np.linspace(c.min(), c.max(), 9)


def _points(best: Fitted, cost: Cost, log_c: Array) -> list[dict[str, float]]:
    found = frontier_of(best.law, best.fit.theta[None], cost, log_c)
    assert found is not None
    rows = zip(log_c, found["log_n"][0], found["log_d"][0], found["y"][0], strict=True)
    return [dict(zip(("C", "N", "D", "loss"), map(float, np.exp(row)), strict=True)) for row in rows]


def agreement(results: Mapping[str, FrontierResult]) -> list[dict[str, Any]]:
    """Every pair of methods: whether their intervals of the N exponent overlap."""
    out = []
    names = [k for k in METHODS if k in results]
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            for key in EXPONENTS:
                one, two = results[a].intervals[key], results[b].intervals[key]
                if not np.isfinite([one.value, two.value]).all():
                    continue
                known = np.isfinite([one.low, two.low]).all()
                overlap = bool(one.low <= two.high and two.low <= one.high) if known else None
                out.append(
                    {"methods": [a, b], "exponent": key, "difference": one.value - two.value, "overlap": overlap}
                )
    return out

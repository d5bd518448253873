"""The four frontier methods side by side, with intervals from the same draws, and whether they agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_scaling.fitting.budgets import curves
from mnist_scaling.fitting.diagnostics import FEWEST_SETTLED
from mnist_scaling.fitting.frontier import EXPONENTS, METHODS, Frontier, nothing, observed, observed_draws
from mnist_scaling.fitting.interval import Interval
from mnist_scaling.fitting.isoflop_minima import MOST_EDGES, counted, isoflop, isoflop_draws
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.objective import robust_scale
from mnist_scaling.fitting.parametric import Cost, exponents_of, frontier_of
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty import FEWEST_VALID, PAIRS_FROM, Draws, interval
from mnist_scaling.study.flags import GRID_EDGE

if TYPE_CHECKING:
    from mnist_scaling.fitting.fitted import Fitted


@dataclass(frozen=True)
class FrontierResult:
    """One method: its frontier and the intervals of its exponents."""

    frontier: Frontier
    intervals: dict[str, Interval]
    flags: tuple[str, ...]


def all_frontiers(
    table: Table, joint: Mapping[str, Fitted], reference: Fitted | None, cost: Cost | None, draws: Draws, curve: str
) -> dict[str, FrontierResult]:
    """Every method of `METHODS` on one table.

    On a designed grid the draws of the first three are the reference law's values plus redrawn noise,
    the same noise that its parameters were redrawn with; with many rows they are resampled rows.
    """
    sample = _sample(table, reference, draws)
    out = {}
    for method in ("pareto", "hull"):
        found = observed(table, method)
        drawn, smooth = {}, {}
        if sample is not None:
            drawn = observed_draws(table, method, sample.ys, sample.counts)
            smooth = observed(table, method, sample.smooth).exponents
        out[method] = _with_intervals(found, drawn, smooth, draws, sample)
    out["isoflop"] = _isoflop(table, sample, draws, curve)
    out["parametric"] = parametric(table, joint, reference, cost, draws)
    return out


@dataclass(frozen=True)
class _Sample:
    """Draws of the rows themselves."""

    ys: Array
    """Log losses, shape (draws, n)."""
    counts: Array | None
    """How often each row was drawn, when rows are resampled."""
    smooth: Array
    """Log losses without noise, as far as they are known, shape (n,)."""
    wider: float


def _sample(table: Table, reference: Fitted | None, draws: Draws) -> _Sample | None:
    if draws.kind == "pairs" and len(table) >= PAIRS_FROM:
        return _Sample(np.broadcast_to(table.y, (draws.number, len(table))), draws.counts, table.y, 1.0)
    return _redrawn(table, reference, draws)


def _redrawn(table: Table, reference: Fitted | None, draws: Draws) -> _Sample | None:
    if reference is None:
        return None
    smooth = table.y - reference.fit.residual
    return _Sample(smooth + reference.noise.draw(draws.noise, draws.common), None, smooth, reference.wider)


def _isoflop(table: Table, sample: _Sample | None, draws: Draws, method: str) -> FrontierResult:
    family, _ = curves(table)
    found = isoflop(table, method)
    if sample is None or not family or found.status != "ok":
        return _with_intervals(found, {}, {}, draws, sample)
    used = counted(family, table.y, method)
    if used.mean() < 1 - MOST_EDGES:
        short = f"{used.sum()} of {len(used)} budgets have their minimum inside: a selection, so no interval"
        return _with_intervals(replace(found, status=short), {}, {}, draws, sample)
    if sample.counts is not None and not all(len(c.rows) for c in family):
        # An interpolated curve has no rows of its own to leave out; resample what it is made of instead.
        sample = replace(sample, ys=_residual_draws(table, draws), counts=None)
    drawn = isoflop_draws(family, sample.ys, method, sample.counts, used)
    smooth = isoflop_draws(family, sample.smooth[None], method, None, used)
    out = _with_intervals(found, drawn, {k: float(v[0]) for k, v in smooth.items()}, draws, sample)
    stable = float(np.isfinite(drawn["N_exponent"]).mean()) if draws.number else 1.0
    if stable < FEWEST_VALID:
        shaky = f"only {100 * stable:.0f} % of draws keep every minimum near the sizes, so no interval"
        out = replace(out, frontier=replace(out.frontier, status=shaky))
    return out


def _residual_draws(table: Table, draws: Draws) -> Array:
    """Log losses with noise of the size that neighbouring rows show around a quadratic surface."""
    n, c = (np.log(table.inputs[k]) - np.log(table.inputs[k]).mean() for k in ("N", "C"))
    design = np.column_stack([np.ones_like(n), n, c, n * n, n * c, c * c])
    residual = table.y - design @ np.linalg.lstsq(design, table.y, rcond=None)[0]
    return table.y + draws.noise * robust_scale(residual, design.shape[1])


def _with_intervals(
    found: Frontier, drawn: Mapping[str, Array], smooth: Mapping[str, float], draws: Draws, sample: _Sample | None
) -> FrontierResult:
    """Percentile intervals; they are stretched to what the method gives without noise, its own bias."""
    intervals = {}
    for key in EXPONENTS:
        value = found.exponents[key]
        if sample is None or key not in drawn:
            intervals[key] = Interval(value)
            continue
        plain = interval(value, drawn[key], draws.level, sample.wider)
        ends = [e for e in (plain.low, plain.high, smooth.get(key, np.nan)) if np.isfinite(e)]
        if found.method == "hull":
            # A corner more or less is worth as much as the noise: take the longer arm on both sides.
            ends += [2 * value - e for e in ends]
        intervals[key] = Interval(value, min(ends), max(ends)) if np.isfinite(plain.low) else plain
    edges = sum(c["quality"] == "edge" for c in found.extra.get("curves", []))
    return FrontierResult(found, intervals, (GRID_EDGE,) if edges else ())


def parametric(
    table: Table, joint: Mapping[str, Fitted], reference: Fitted | None, cost: Cost | None, draws: Draws
) -> FrontierResult:
    """The frontier of the best joint law that has one (additive, coupled, kaplan), under the table's own cost."""
    empty = {key: Interval(np.nan) for key in EXPONENTS}
    if cost is None or reference is None:
        why = "needs N, D and a C that grows with both" if cost is None else "no joint law could be fitted"
        return FrontierResult(nothing("parametric", why), empty, ())
    able = able_laws(joint)
    if not able:
        return FrontierResult(nothing("parametric", "no fitted law has an optimum at fixed C"), empty, ())
    best = min(able, key=lambda f: f.aicc)
    log_c = budgets(table, cost)
    found = exponents_of(best.law, best.fit.theta[None], cost, log_c)
    valid = np.isfinite(best.thetas).all(axis=1)
    drawn = exponents_of(best.law, best.thetas[valid], cost, log_c) if valid.any() else None
    assert found is not None
    values = {k: float(v[0]) for k, v in found.items()}
    intervals = {
        k: interval(v, drawn[k], draws.level, best.wider) if drawn is not None else Interval(v)
        for k, v in values.items()
    }
    status = (
        "ok" if np.isfinite(values["N_exponent"]) else f"{best.law.name} has an exponent of 0, so no optimum at fixed C"
    )
    extra: dict[str, Any] = {
        "law": best.law.name,
        "reducible_loss_exponent": intervals.pop("reducible_exponent").record(),
    }
    exponents = {k: values[k] for k in EXPONENTS}
    return FrontierResult(Frontier("parametric", exponents, _points(best, cost, log_c), status, extra), intervals, ())


def able_laws(joint: Mapping[str, Fitted]) -> list[Fitted]:
    """Laws with an optimum at fixed C; those whose parameters wander only when there is no other."""
    able = [f for f in joint.values() if f.law.optimum(f.fit.theta[None], 1.0, 1.0) is not None and np.isfinite(f.aicc)]
    return [f for f in able if f.settled >= FEWEST_SETTLED] or able


def budgets(table: Table, cost: Cost) -> Array:
    """Nine budgets in logs over the table's range of compute, shape (9,)."""
    if "C" in table.inputs:
        c = np.log(table.inputs["C"])
    else:
        c = cost.constant + cost.kappa_n * np.log(table.inputs["N"]) + cost.kappa_d * np.log(table.inputs["D"])
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

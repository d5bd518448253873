"""The four frontier methods side by side, with intervals from the same draws, and whether they agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_scaling.fitting.frontier import EXPONENTS, Frontier, nothing, observed, observed_draws
from mnist_scaling.fitting.isoflop import curves, isoflop, isoflop_draws
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.parametric import Cost, exponents_of, frontier_of
from mnist_scaling.fitting.table import Table
from mnist_scaling.fitting.uncertainty import PAIRS_FROM, Draws, Interval, interval

if TYPE_CHECKING:
    from mnist_scaling.fitting.analysis import Fitted

METHODS = ("pareto", "hull", "isoflop", "parametric")


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
    ys, counts, wider = _drawn(table, reference, draws)
    out = {}
    for method in ("pareto", "hull"):
        found = observed(table, method)
        drawn = observed_draws(table, method, ys, counts) if ys is not None else {}
        out[method] = _with_intervals(found, drawn, draws, wider)
    family, _ = curves(table)
    drawn = isoflop_draws(family, ys, curve, counts) if ys is not None and family else {}
    out["isoflop"] = _with_intervals(isoflop(table, curve), drawn, draws, wider)
    out["parametric"] = parametric(table, joint, reference, cost, draws)
    return out


def _drawn(table: Table, reference: Fitted | None, draws: Draws) -> tuple[Array | None, Array | None, float]:
    """Log losses of every draw, or row counts, and the small-sample factor."""
    if draws.kind == "pairs" and len(table) >= PAIRS_FROM:
        return np.broadcast_to(table.y, (draws.number, len(table))), draws.counts, 1.0
    if reference is None:
        return None, None, np.nan
    smooth = table.y - reference.fit.residual
    return smooth + draws.noise * reference.noise.sigma, None, reference.wider


def _with_intervals(found: Frontier, drawn: Mapping[str, Array], draws: Draws, wider: float) -> FrontierResult:
    intervals = {
        key: interval(found.exponents[key], drawn[key], draws.level, wider)
        if key in drawn
        else Interval(found.exponents[key])
        for key in EXPONENTS
    }
    edges = sum(c["quality"] == "edge" for c in found.extra.get("curves", []))
    flags = ("grid_edge",) if edges else ()
    return FrontierResult(found, intervals, flags)


def parametric(
    table: Table, joint: Mapping[str, Fitted], reference: Fitted | None, cost: Cost | None, draws: Draws
) -> FrontierResult:
    """The frontier of the best joint law that has one (additive, coupled, kaplan), under the table's own cost."""
    empty = {key: Interval(np.nan) for key in EXPONENTS}
    if cost is None or reference is None:
        why = "needs N, D and a C that grows with both" if cost is None else "no joint law could be fitted"
        return FrontierResult(nothing("parametric", why), empty, ())
    able = [f for f in joint.values() if f.law.optimum(f.fit.theta[None], 1.0, 1.0) is not None and np.isfinite(f.aicc)]
    if not able:
        return FrontierResult(nothing("parametric", "no fitted law has an optimum at fixed C"), empty, ())
    best = min(able, key=lambda f: f.aicc)
    log_c = _budgets(table, cost)
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


def _budgets(table: Table, cost: Cost) -> Array:
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

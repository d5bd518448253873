"""What lies beyond the rows: losses asked for, losses left out, and the model that is cheapest over its life,

    training FLOPs + queries * forward FLOPs, at equal loss

A model that will serve many queries should be smaller, and trained on more, than the compute-efficient one: this gives
over-training its number. A forward pass is a third of training on one example, which the cost of the table says.
Source: Sardana et al. 2024 (arXiv 2401.00448), equation 2, with the table's cost. For losses left out, Bürkner, Gabry
& Vehtari 2020 (J. Stat. Comput. Simul. 90), without their approximation: the model is learnt again below each budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.fitted import Fitted, Options, describing
from mnist_scaling.fitting.frontier.methods import median_of
from mnist_scaling.fitting.frontier.parametric import Cost, frontier_of
from mnist_scaling.fitting.laws.base import Array, Law, log_loss_at
from mnist_scaling.fitting.misfit.posterior import FEWEST_DRAWS, surface
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import can_hold
from mnist_scaling.fitting.uncertainty.bootstrap import interval
from mnist_scaling.fitting.uncertainty.interval import Interval

if TYPE_CHECKING:
    from mnist_scaling.fitting.analysis import Result

LIFETIME_DRAWS = 200
"""Draws that the search for the cheapest model is repeated for."""


@dataclass(frozen=True)
class Prediction:
    """One law's mean loss at the point that was asked for."""

    law: str
    loss: Interval
    reach: float
    """Compute of the point over the largest of the table; of D or N where C is not known."""


@dataclass(frozen=True)
class Lifetime:
    """Compute-efficient against cheapest-over-its-life, at equal loss."""

    law: str
    queries: float
    loss: float
    train_optimal: dict[str, float]
    lifetime_optimal: dict[str, float]
    size_ratio: Interval
    """N of the cheapest over N of the compute-efficient model: below 1."""
    data_ratio: Interval
    """The same of D: over-training, above 1."""
    saved: Interval
    """Share of lifetime FLOPs saved."""


def predict(table: Table, fitted: Mapping[str, Fitted], cost: Cost | None, options: Options) -> list[Prediction]:
    """Loss at ``options.predict`` by every law whose inputs it gives."""
    point = {k: float(np.log(v)) for k, v in options.predict.items()}
    out = []
    for name, f in fitted.items():
        # A line of the grid says nothing about points off it.
        off = f.part.fixed in point or (f.part.fixed == "frontier" and {"N", "D"} & point.keys())
        if off or not all(k in point for k in f.law.inputs):
            continue
        middle = float(log_loss_at(f.law, f.fit.theta[None], point)[0])
        found = interval(middle, log_loss_at(f.law, f.thetas, point), options.level, f.t_factor)
        out.append(Prediction(name, found.exp(), _reach(table, point, cost, f)))
    return out


def _reach(table: Table, point: Mapping[str, float], cost: Cost | None, f: Fitted) -> float:
    if "C" in point and "C" in table.inputs:
        return float(np.exp(point["C"]) / table.inputs["C"].max())
    if cost is not None and "N" in point and "D" in point:
        mine = cost.kappa_n * point["N"] + cost.kappa_d * point["D"]
        theirs = cost.kappa_n * np.log(table.inputs["N"]) + cost.kappa_d * np.log(table.inputs["D"])
        return float(np.exp(mine - theirs.max()))
    return max(float(np.exp(point[k]) / table.inputs[k].max()) for k in f.law.inputs)


def lifetime(table: Table, joint: Mapping[str, Fitted], cost: Cost | None, options: Options) -> Lifetime | None:
    """The optimum for ``options.queries`` inferences, at the loss that is best for the table's largest C.

    It is that of the law that describes the table best of those with an optimum at fixed C, and no parameter but the
    floor at a bound.
    """
    able = {
        k: f
        for k, f in joint.items()
        if f.law.optimum(f.fit.theta[None], 1.0, 1.0) is not None and not set(f.fit.at_bound) - {"E"}
    }
    best = describing(able)
    if options.queries is None or cost is None or best is None:
        return None
    valid = best.thetas[np.isfinite(best.thetas).all(axis=1)][:LIFETIME_DRAWS]
    found = lifetime_optimum(
        best.law, np.vstack([best.fit.theta[None], valid]), cost, float(cost.of(table).max()), options.queries
    )
    if found is None or not np.isfinite(found.log_n[0]):
        return None

    def ratio(values: Array) -> Interval:
        return interval(float(values[0]), values[1:], options.level, best.t_factor)

    def point(n: Array, d: Array) -> dict[str, float]:
        return {"N": float(np.exp(n[0])), "D": float(np.exp(d[0])), "C": float(np.exp(cost.log_c(n[0], d[0])))}

    return Lifetime(
        best.law.name,
        options.queries,
        float(np.exp(found.target[0])),
        point(found.train_n, found.train_d),
        point(found.log_n, found.log_d),
        ratio(found.log_n - found.train_n).exp(),
        ratio(found.log_d - found.train_d).exp(),
        ratio(found.saved),
    )


SIZES = 81
"""Sizes tried, evenly in log N; the best is refined by a parabola."""

REACH = 8.0
"""How far in log N the search goes below and above the compute-efficient size: a factor of 3,000."""


@dataclass(frozen=True)
class LifetimeOptimum:
    """Per draw, shape (batch,) each: the compute-efficient point and the one that is cheapest over its life."""

    target: Array
    """Log loss that both reach."""
    train_n: Array
    train_d: Array
    log_n: Array
    log_d: Array
    saved: Array
    """Share of the lifetime FLOPs of the compute-efficient model that the other one saves."""


def lifetime_optimum(law: Law, theta: Array, cost: Cost, log_c: float, queries: float) -> LifetimeOptimum | None:
    """Size and data of the least training + inference FLOPs over so many queries, at the loss that is optimal for C.

    None for a law without an optimum at fixed C; theta has the shape (batch, p).
    """
    found = frontier_of(law, theta, cost, np.array([log_c]))
    if found is None:
        return None
    train_n, train_d, target = (found[k][:, 0] for k in ("log_n", "log_d", "y"))
    best_n, width = train_n, REACH
    for _ in range(2):  # a coarse search over all sizes, then a fine one around its best
        offsets = np.linspace(-width, width, SIZES)
        log_n = best_n[:, None] + offsets
        total = _total(cost, log_n, _data_for(law, theta, log_n, target), queries)
        best_n = best_n + _refine(offsets, total, np.argmin(total, axis=1))
        width = 3 * (offsets[1] - offsets[0])
    best_d = _data_for(law, theta, best_n[:, None], target)[:, 0]
    before = _total(cost, train_n[:, None], train_d[:, None], queries)[:, 0]
    after = _total(cost, best_n[:, None], best_d[:, None], queries)[:, 0]
    with np.errstate(invalid="ignore"):
        saved = 1 - np.exp(after - before)
    return LifetimeOptimum(target, train_n, train_d, best_n, best_d, saved)


def _total(cost: Cost, log_n: Array, log_d: Array, queries: float) -> Array:
    """Log of training + inference FLOPs."""
    train = cost.log_c(log_n, log_d)
    with np.errstate(invalid="ignore"):
        total = np.logaddexp(train, np.log(queries / 3) + train - log_d)
    return np.where(np.isfinite(total), total, np.inf)


def _data_for(law: Law, theta: Array, log_n: Array, target: Array) -> Array:
    """Log D at which each size reaches the target, by bisection, shape (batch, m); inf where it never does."""
    out = np.full(log_n.shape, np.inf)
    for b in np.flatnonzero(np.isfinite(log_n).all(axis=1) & np.isfinite(target)):
        low, high = np.full(log_n.shape[1], -20.0), np.full(log_n.shape[1], 120.0)

        def above(d: Array, b: np.intp = b) -> np.ndarray:
            return law.evaluate(theta[b : b + 1], {"N": log_n[b], "D": d})[0][0] > target[b]

        never = above(high)
        for _ in range(60):
            middle = 0.5 * (low + high)
            worse = above(middle)
            low, high = np.where(worse, middle, low), np.where(worse, high, middle)
        out[b] = np.where(never, np.inf, high)
    return out


def _refine(x: Array, total: Array, best: np.ndarray) -> Array:
    """Minimum of the parabola through the best point and its neighbours; NaN where there is none."""
    at = np.full(len(best), np.nan)
    for b, k in enumerate(best):
        if 0 < k < len(x) - 1 and np.isfinite(total[b, k]):
            low, middle, high = total[b, k - 1 : k + 2]
            bend = low - 2 * middle + high
            # Where a smaller model never reaches the loss, its neighbour's total is infinite: the point itself counts.
            at[b] = x[k] + (0.5 * (low - high) / bend * (x[1] - x[0]) if 0 < bend < np.inf else 0.0)
    return at


BUDGETS = (8.0, 4.0, 2.0)
"""The largest compute over each budget."""


@dataclass(frozen=True)
class Foreseen:
    """A row's loss as it was foreseen, and as it is."""

    reach: float
    """The largest compute of the table over that of the rows that the model was learnt from."""
    seen: int
    """Number of these rows."""
    row: int
    at: Mapping[str, float]
    """N, D and C, as far as the table has them."""
    predicted: Interval
    """With the noise of a row in it."""
    measured: float
    inside: bool


def leave_future_out(result: Result) -> list[Foreseen]:
    """Every row above each of `BUDGETS`, predicted from the rows below it.

    Raises
    ------
    InputError
        When below no budget there are the rows that the model's law needs.
    """
    model, out = result.model, []
    if model is not None:
        rng = np.random.default_rng(result.options.seed)
        cost = model.rows.log_cost(model.inputs)
        for reach in BUDGETS:
            below = cost <= cost.max() - np.log(reach) + 1e-9
            seen, ahead = model.rows.take(below), model.rows.take(~below)
            if not (below.any() and can_hold(seen, model.posterior.law)):
                continue
            draws = surface(seen, FEWEST_DRAWS, rng, model.base).log_loss(ahead.logs(model.inputs))
            draws += model.noise * rng.standard_normal(draws.shape)
            for k, found in enumerate(median_of(column, model.level).exp() for column in draws.T):
                cell = ahead.cell(k)
                row, measured = int(cell.pop("row")), cell.pop("loss")
                out.append(Foreseen(reach, len(seen), row, cell, found, measured, found.holds(measured)))
    if not out:
        raise InputError(
            f"`leave_future_out=true` needs a law that can be fitted to the rows below 1/{min(BUDGETS):g} of the "
            "largest compute, but they are too few: add cells, or leave it out."
        )
    return out

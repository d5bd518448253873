"""What fitted laws say beyond the table: losses asked for, and the model that is cheapest over its life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_scaling.fitting.frontier.parametric import Cost
from mnist_scaling.fitting.frontier.serving import lifetime_optimum
from mnist_scaling.fitting.frontier_intervals import able_laws
from mnist_scaling.fitting.inputs.rows import Table
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.selection.weighted_laws import WeightedLaw
from mnist_scaling.fitting.uncertainty.bootstrap import interval, predictions
from mnist_scaling.fitting.uncertainty.interval import Interval

if TYPE_CHECKING:
    from mnist_scaling.fitting.selection.fitted import Fitted, Options

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
    point = {k: np.array([np.log(v)]) for k, v in options.predict.items()}
    out = []
    for name, f in fitted.items():
        # A line of the grid says nothing about points off it.
        off = f.part.fixed in point or (f.part.fixed == "frontier" and {"N", "D"} & point.keys())
        if off or not all(k in point for k in f.law.inputs):
            continue
        drawn = predictions(f.law, f.thetas, point)[:, 0]
        middle = float(f.fit.log_predict(point)[0])
        found = interval(middle, drawn, options.level, f.t_factor)
        ends = np.exp([found.value, found.low, found.high])
        out.append(Prediction(name, Interval(*map(float, ends)), _reach(table, point, cost, f)))
    return out


def _reach(table: Table, point: Mapping[str, Array], cost: Cost | None, f: Fitted) -> float:
    if "C" in point and "C" in table.inputs:
        return float(np.exp(point["C"][0]) / table.inputs["C"].max())
    if cost is not None and "N" in point and "D" in point:
        mine = cost.kappa_n * point["N"][0] + cost.kappa_d * point["D"][0]
        theirs = cost.kappa_n * np.log(table.inputs["N"]) + cost.kappa_d * np.log(table.inputs["D"])
        return float(np.exp(mine - theirs.max()))
    return max(float(np.exp(point[k][0]) / table.inputs[k].max()) for k in f.law.inputs)


def lifetime(table: Table, kept: Sequence[WeightedLaw], cost: Cost | None, options: Options) -> Lifetime | None:
    """The optimum for ``options.queries`` inferences, at the loss that is best for the table's largest C.

    It is that of the kept law with the largest weight that has a frontier.
    """
    able = able_laws(kept)
    if options.queries is None or cost is None or not able:
        return None
    best = able[0].fitted
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

    def exp(i: Interval) -> Interval:
        return Interval(*(float(np.exp(v)) for v in (i.value, i.low, i.high)))

    return Lifetime(
        best.law.name,
        options.queries,
        float(np.exp(found.target[0])),
        point(found.train_n, found.train_d),
        point(found.log_n, found.log_d),
        exp(ratio(found.log_n - found.train_n)),
        exp(ratio(found.log_d - found.train_d)),
        ratio(found.saved),
    )

"""What lies beyond the rows: losses asked for, of each law, and losses left out, foreseen from the rows below them.

Source: Bürkner, Gabry & Vehtari 2020 (J. Stat. Comput. Simul. 90), without their approximation: the model is learnt
again below each budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.fitted import Fitted, Options
from mnist_scaling.fitting.frontier.parametric import Cost
from mnist_scaling.fitting.laws.base import log_loss_at
from mnist_scaling.fitting.misfit.posterior import FEWEST_DRAWS, surface
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import can_hold
from mnist_scaling.fitting.uncertainty.bootstrap import interval
from mnist_scaling.fitting.uncertainty.interval import Interval, median_of

if TYPE_CHECKING:
    from mnist_scaling.fitting.analysis import Result


@dataclass(frozen=True)
class Prediction:
    """One law's mean loss at the point that was asked for."""

    law: str
    loss: Interval
    reach: float
    """Compute of the point over the largest of the table; of D or N where C is not known."""


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

    It raises InputError when below no budget there are the rows that the model's law needs.
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

"""Losses ahead: the lowest that the model's surfaces reach at larger compute, and some of the surfaces for the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_scaling.fitting.frontier.parametric import Cost, budgets, valley
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.posterior import Model
from mnist_scaling.fitting.slices import Ladder, largest_cell, near_line
from mnist_scaling.fitting.uncertainty.interval import MAJORITY, OMITTED, median_of

REACHES = (2.0, 4.0, 8.0, 30.0)
"""Multiples of the largest compute at which a loss is predicted."""

KEPT, INSIDE = 250, 9
"""Surfaces that fits.json keeps for a page that asks what if, and budgets of the table that it shows them at."""


@dataclass(frozen=True)
class LossAhead:
    """The lowest loss that a multiple of the largest compute reaches, and the size and data that it is at."""

    reach: float
    C: float
    N: float | None = field(default=None, metadata=OMITTED)
    D: float | None = field(default=None, metadata=OMITTED)
    optimal: bool | None = field(default=None, metadata=OMITTED)
    """Of N and D: whether they are the best for the compute. Where there is no best, they share what it adds."""
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class KeptSurfaces:
    """Some surfaces of the model along compute, to four digits: what a page needs to ask what if."""

    C: Sequence[float]
    """Budgets of the table, the largest, and the multiples of it that losses are given at, shape (m,)."""
    loss: Sequence[Sequence[float]]
    """Shape (draws, m)."""
    N: Sequence[Sequence[float]] | None
    """Best size, NaN where a surface has none; None of a model of one variable."""
    floor: Sequence[float]
    """Shape (draws,)."""


def losses_ahead(model: Model, cost: Cost | None) -> tuple[Sequence[LossAhead], KeptSurfaces | None]:
    """The lowest loss that up to so many times the largest compute reaches: a running minimum of each surface.

    One for each of `REACHES`, and some of the surfaces; neither where the table has no compute. Over N and D each
    surface is at its own best size, and N and D are the medians of these (`_lowest`).
    """
    ahead = _ahead(model, cost)
    if ahead is None:
        return (), None
    number = len(REACHES)
    top, lowest = float(np.exp(ahead.log_c[-number - 1])), ahead.log_loss[:, -number:]
    losses = []
    for reach, place, draws in zip(REACHES, ahead.places[-number:], lowest.T, strict=True):
        loss = median_of(draws, model.level).exp()
        losses.append(LossAhead(reach, top * reach, **place, value=loss.value, low=loss.low, high=loss.high))
    below = len(ahead.log_c) - number - 1
    columns = [*range(0, below, 2), *range(below, len(ahead.log_c))]
    kept = np.linspace(0, len(ahead.log_loss) - 1, min(KEPT, len(ahead.log_loss))).astype(int)
    floor = np.minimum(model.posterior.floor(), model.rows.loss.min())
    sizes = None if ahead.log_n is None else _four(np.exp(ahead.log_n[np.ix_(kept, columns)]))
    surfaces = _four(np.exp(ahead.log_loss[np.ix_(kept, columns)]))
    return losses, KeptSurfaces(_four(np.exp(ahead.log_c[columns])), surfaces, sizes, _four(floor[kept]))


def _four(values: Array) -> Any:
    """Numbers to four digits, as lists."""
    return np.array([float(f"{x:.4g}") for x in values.ravel()]).reshape(values.shape).tolist()


@dataclass(frozen=True)
class _Ahead:
    """Every surface along compute: at budgets of the table, at the largest, and at `REACHES` times that."""

    log_c: Array
    """Shape (m,)."""
    log_loss: Array
    """Shape (draws, m); from the largest budget on the lowest so far."""
    log_n: Array | None
    """Best size of every surface, of the same shape, NaN where there is none; None of a model of one variable."""
    places: Sequence[dict[str, Any]]
    """N and D at the last m."""


def _ahead(model: Model, cost: Cost | None) -> _Ahead | None:
    """None where the table has no compute."""
    if not (model.inputs == ("C",) or model.ray is not None or (cost is not None and len(model.inputs) == 2)):
        return None
    logs = np.log(np.array([1.0, *REACHES]))
    places: list[dict[str, Any]]
    if len(model.inputs) == 2:
        assert cost is not None
        log_c = np.concatenate([budgets(model.rows, cost)[:-1], float(cost.of(model.rows).max()) + logs])
        places, values, sizes = _lowest(model, cost, log_c)
        return _Ahead(log_c, np.minimum.accumulate(values, axis=1), sizes, places)
    (variable,) = model.inputs
    ends = [float(f(np.log(model.rows.inputs[variable]))) for f in (np.min, np.max)]
    places = [{} for _ in logs]
    if variable == "C":
        inside = np.linspace(ends[0], ends[1], INSIDE)[:-1]
        log_c, x = np.append(inside, ends[1] + logs), ends[1] + logs
    else:
        assert model.ray is not None
        slope, constant = line_of(model, model.ray)
        bottom, top = (slope * end + constant for end in ends)
        log_c = np.append(np.linspace(bottom, top, INSIDE)[:-1], top + logs)
        inside, x = np.split((log_c - constant) / slope, [INSIDE - 1])
        places = [{"N": float(np.exp(n))} for n in x]
    surfaces = [model.posterior.log_loss({variable: at}) for at in (inside, x)]
    return _Ahead(log_c, np.hstack([surfaces[0], np.minimum.accumulate(surfaces[1], axis=1)]), None, places)


def _lowest(model: Model, cost: Cost, log_c: Array) -> tuple[list[dict[str, Any]], Array, Array]:
    """Places, every surface's lowest ln loss, and its ln N or NaN, at each budget, shape (draws, m).

    Where most surfaces have no optimum, or the rows lie near a line, all are read at one place instead: N and D share
    what the budget adds to the cell of the largest compute. So are larger budgets among those that are quoted, lest the
    loss jump between the two.
    """
    at = largest_cell(model.rows)
    found = valley(model.posterior.log_loss, model.posterior.axes, cost, log_c)
    has = (np.isfinite(found.log_n).mean(axis=0) > MAJORITY) & (near_line(model.rows) is None)
    has[-len(REACHES) :] = np.logical_and.accumulate(has[-len(REACHES) :])
    more = (log_c - cost.log_c(np.array(at["N"]), np.array(at["D"]))) / 2
    log_n = at["N"] + more / cost.kappa_n
    log_n[has] = np.nanmedian(found.log_n[:, has], axis=0)
    log_d = (log_c - cost.constant - cost.kappa_n * log_n) / cost.kappa_d
    values = np.where(has, found.log_loss, model.posterior.log_loss({"N": log_n, "D": log_d}))
    sizes = zip(np.exp(log_n), np.exp(log_d), has, strict=True)
    places = [{"N": float(n), "D": float(d), "optimal": bool(best)} for n, d, best in sizes]
    return places, values, np.where(has, found.log_n, np.nan)


def lowest_at(model: Model, cost: Cost, log_c: float) -> tuple[dict[str, Any], Array]:
    """Where the loss is read at one compute, such as `losses_ahead` has it, and every surface's ln loss, (draws,)."""
    places, values, _ = _lowest(model, cost, np.array([log_c]))
    return places[0], values[:, 0]


def line_of(model: Model, ray: Ladder) -> Array:
    """(slope, constant) of ln C in ln N along the ladder; that of 6 N D where the table has no C."""
    if "C" not in model.rows.inputs:
        return np.array([1 + ray.power, np.log(6) + ray.log_k])
    return np.polyfit(np.log(model.rows.inputs["N"]), np.log(model.rows.inputs["C"]), 1)

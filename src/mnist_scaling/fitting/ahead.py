"""What lies beyond the rows: the lowest losses of the surfaces, how far a point is, rows left out and foreseen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_scaling.errors import InputError, require
from mnist_scaling.fitting.frontier.parametric import INSIDE, Cost, budgets, valley
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.posterior import FEWEST_DRAWS, Model, surface
from mnist_scaling.fitting.rows import SAME_LEVEL, Table
from mnist_scaling.fitting.slices import Ladder, can_hold, largest_cell, near_line
from mnist_scaling.fitting.uncertainty.interval import MAJORITY, OMITTED, Interval, median_of

REACHES = (2.0, 4.0, 8.0, 30.0)
"""Multiples of the largest compute at which a loss is predicted."""

CLOSE = 1e-9
"""Budgets and amounts of data that are so close in logs are one."""

KEPT = 250
"""Surfaces that fits.json keeps for a page that asks what if."""


@dataclass(frozen=True)
class LossAhead(Interval):
    """The lowest loss that a multiple of the largest compute reaches, and the size and data that it is at."""

    reach: float = math.nan
    C: float = math.nan
    N: float | None = field(default=None, metadata=OMITTED)
    D: float | None = field(default=None, metadata=OMITTED)
    optimal: bool | None = field(default=None, metadata=OMITTED)
    """Of N and D: whether they are the best for the compute. Where there is no best, they share what it adds."""
    all_examples: bool | None = field(default=None, metadata=OMITTED)
    """Whether D is all the examples that there are, so that the model takes what is left of the compute."""
    N_low: float | None = field(default=None, metadata=OMITTED)
    """Ends of the interval of the best size."""
    N_high: float | None = field(default=None, metadata=OMITTED)
    tried: bool | None = field(default=None, metadata=OMITTED)
    """Whether N and D lie in the range of the rows."""

    @property
    def way(self) -> str:
        """How it is reached, in words."""
        if self.all_examples:
            return "with all the examples there are"
        return "at the best size for it" if self.optimal is not False else "if model and data grow together"


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

    Those at budgets of the table that show at which sizes, then one for each of `REACHES`, and some of the surfaces;
    nothing where the table has no compute. Over N and D the places are medians of the surfaces' best sizes (`_lowest`).
    """
    ahead = _ahead(model, cost)
    if ahead is None:
        return (), None
    number, ends = len(REACHES), ((1 - model.level) / 2, (1 + model.level) / 2)
    top, losses = float(np.exp(ahead.log_c[-number - 1])), []
    for k, (log_c, place) in enumerate(zip(ahead.log_c[-len(ahead.places) :], ahead.places, strict=True)):
        column, loss = k - len(ahead.places), median_of(ahead.log_loss[:, k - len(ahead.places)], model.level).exp()
        if place.get("optimal") and ahead.log_n is not None:
            place |= dict(zip(("N_low", "N_high"), np.exp(np.nanquantile(ahead.log_n[:, column], ends)), strict=True))
        if column < -number - 1 and not (place["optimal"] or place["all_examples"]):
            continue
        tried = model.rows.spans({x: place[x] for x in "ND" if x in place})
        reach = REACHES[column] if column >= -number else min(float(np.exp(log_c)) / top, 1.0)
        losses.append(LossAhead(**vars(loss), reach=reach, C=top * reach, **place, tried=tried if place else None))
    below = len(ahead.log_c) - number - 1
    columns = [*range(0, below, 2), *range(below, len(ahead.log_c))]
    kept = np.linspace(0, len(ahead.log_loss) - 1, min(KEPT, len(ahead.log_loss))).astype(int)
    sizes = None if ahead.log_n is None else _four(np.exp(ahead.log_n[np.ix_(kept, columns)]))
    surfaces = np.exp(ahead.log_loss[np.ix_(kept, columns)])
    # What a misfit takes from a law's floor far off can't be told from it.
    floor = np.minimum(model.posterior.floor()[kept], np.minimum(model.rows.loss.min(), surfaces.min(axis=1)))
    return losses, KeptSurfaces(_four(np.exp(ahead.log_c[columns])), _four(surfaces), sizes, _four(floor))


def _four(values: Array) -> Any:
    """Numbers to four digits, as lists."""
    return np.array([float(f"{x:.4g}") for x in values.ravel()]).reshape(values.shape).tolist()


@dataclass(frozen=True)
class _Ahead:
    """Every surface along compute: at budgets of the table, at the largest, and at `REACHES` times that."""

    log_c: Array
    """Shape (m,)."""
    log_loss: Array
    """Shape (draws, m): the lowest so far."""
    log_n: Array | None
    """Best size of every surface, of the same shape, NaN where there is none; None of a model of one variable."""
    places: Sequence[dict[str, Any]]
    """N and D at the last of them, as `LossAhead` has them."""


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
        return _Ahead(log_c, values, sizes, places)
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
    """Places, every surface's lowest ln loss so far, and its ln N or NaN, at ascending budgets, shape (draws, m).

    At budgets of the table a loss is that of one place, the median of the surfaces' best sizes, since a surface may
    be lowest where no row is; beyond, each surface has its own. Where most surfaces have no optimum, or the rows lie
    near a line, all are read at one place: N and D share what the budget adds to the cell of the largest compute. So
    are larger budgets among those that are quoted, lest the loss jump between the two. From where that takes more
    examples than there are, it is all of them instead, and the size that they leave.
    """
    at = largest_cell(model.rows)
    minima = valley(model.posterior.log_loss, model.posterior.axes, cost, log_c)
    has = (np.isfinite(minima.log_n).mean(axis=0) > MAJORITY) & (near_line(model.rows) is None)
    beyond = log_c > float(cost.of(model.rows).max()) + CLOSE
    has[beyond] = np.logical_and.accumulate(has[beyond])
    more = (log_c - cost.log_c(np.array(at["N"]), np.array(at["D"]))) / 2
    log_n = at["N"] + more / cost.kappa_n
    log_n[has] = np.nanmedian(minima.log_n[:, has], axis=0)
    log_d = (log_c - cost.constant - cost.kappa_n * log_n) / cost.kappa_d
    most = math.log(model.rows.examples or math.inf)
    short = np.logical_or.accumulate(log_d > most + CLOSE)
    log_d, has = np.where(short, most, log_d), has & ~short
    log_n = np.where(short, (log_c - cost.constant - cost.kappa_d * log_d) / cost.kappa_n, log_n)
    values = np.where(has & beyond, minima.log_loss, model.posterior.log_loss({"N": log_n, "D": log_d}))
    sizes = zip(np.exp([log_n, log_d]).T.tolist(), has.tolist(), short.tolist(), strict=True)
    places = [{"N": n, "D": d, "optimal": best, "all_examples": full or None} for (n, d), best, full in sizes]
    best_n = np.where(has, minima.log_n, np.where(short, log_n, np.nan))
    return places, np.minimum.accumulate(values, axis=1), best_n


def lowest_at(model: Model, cost: Cost, log_c: float) -> tuple[dict[str, Any], Array]:
    """Where the loss is read at one compute, such as `losses_ahead` has it, and every surface's ln loss, (draws,)."""
    others = np.append(budgets(model.rows, cost), float(cost.of(model.rows).max()) + np.log(REACHES))
    places, values, _ = _lowest(model, cost, np.append(others[others < log_c - CLOSE], log_c))
    return places[-1], values[:, -1]


def line_of(model: Model, ray: Ladder) -> Array:
    """(slope, constant) of ln C in ln N along the ladder; that of 6 N D where the table has no C."""
    if "C" not in model.rows.inputs:
        return np.array([1 + ray.power, np.log(6) + ray.log_k])
    return np.polyfit(np.log(model.rows.inputs["N"]), np.log(model.rows.inputs["C"]), 1)


CONTRADICTS = math.log(1.5)
"""Distance in ln C from which a compute that somebody gives is not that of the N and D beside it."""


def placed(model: Model, cost: Cost | None, point: Mapping[str, float], key: str) -> Mapping[str, float]:
    """A point, given by logs, with what its N, D and C say of the others: on a ladder, and by the table's cost.

    It raises InputError where it is off the ladder, has another C than its sizes, or lacks an input; `key` was typed.
    """
    given, ray, log_c = dict(point), model.ray, math.nan
    if ray is not None:
        off = f"The rows are all near {ray.words}, and say nothing of a loss off that line."
        require(ray.holds(given), off)
        slope, constant = line_of(model, ray)
        if "N" not in given:
            given["N"] = (given["D"] - ray.log_k) / ray.power if "D" in given else (given["C"] - constant) / slope
        given.setdefault("D", ray.log_k + ray.power * given["N"])
        log_c = float(slope * given["N"] + constant)
    elif cost is not None and len(given.keys() & {"N", "D", "C"}) > 1:
        if "N" not in given:
            given["N"] = (given["C"] - cost.constant - cost.kappa_d * given["D"]) / cost.kappa_n
        if "D" not in given:
            given["D"] = (given["C"] - cost.constant - cost.kappa_n * given["N"]) / cost.kappa_d
        log_c = float(cost.log_c(np.array(given["N"]), np.array(given["D"])))
    if not math.isnan(log_c):
        rule = f"The C of a point must be that of its N and D, about {math.exp(log_c):.3g} by this table"
        fix = f"but got {math.exp(given.setdefault('C', log_c)):.3g}: leave {key}.C out, or mend its N or D."
        require(abs(given["C"] - log_c) < CONTRADICTS, f"{rule}, {fix}")
    lacking = " and ".join(f"{key}.{k}=…" for k in model.inputs if k not in given)
    require(not lacking, f"The model is of {' and '.join(model.inputs)}: give {lacking}, too.")
    return given


def reach_of(table: Table, point: Mapping[str, float]) -> tuple[float, str]:
    """How many times a point, given by logs, lies beyond the rows, and the same in words, by its farthest axis.

    Beyond is above the largest or below the smallest C, N or D; inside all of them it is 1 at most.
    """
    logs = {k: np.log(table.inputs[k]) for k in ("C", "N", "D") if k in table.inputs}
    if "C" not in logs and {"N", "D"} <= logs.keys():
        logs["C"] = np.log(6) + logs["N"] + logs["D"]
    names = [k for k in ("C", "N", "D") if k in logs and k in point]
    far = {(k, up): up * (point[k] - (up * logs[k]).max() * up) for up in (1, -1) for k in names}
    axis, up = max(far, key=lambda one: round(far[one], 2), default=("C", 1))
    times = math.exp(far.get((axis, up), 0.0))
    if times < 1 + SAME_LEVEL:
        return times, "inside the data"
    name, shown = "compute" if axis == "C" else axis, f"{float(f'{times:.3g}'):,g}"
    return times, f"{shown} times the largest {name}" if up > 0 else f"1/{shown} of the smallest {name}"


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


def leave_future_out(model: Model | None, seed: int) -> list[Foreseen]:
    """Every row above each of `BUDGETS`, predicted from the rows below it, from which the model is learnt again.

    It raises InputError when below no budget there are the rows that the model's law needs.

    Source: Bürkner, Gabry & Vehtari 2020 (J. Stat. Comput. Simul. 90), without their approximation.
    """
    out = []
    if model is not None:
        rng = np.random.default_rng(seed)
        cost = model.rows.log_cost(model.inputs)
        for reach in BUDGETS:
            below = cost <= cost.max() - np.log(reach) + 1e-9
            seen, ahead = model.rows.take(below), model.rows.take(~below)
            if not (below.any() and can_hold(seen, model.posterior.law)):
                continue
            draws = surface(seen, FEWEST_DRAWS, rng, model.base).log_loss(ahead.logs(model.inputs))
            draws += model.noise * rng.standard_normal(draws.shape)
            for k, predicted in enumerate(median_of(column, model.level).exp() for column in draws.T):
                cell = ahead.cell(k)
                row, measured = int(cell.pop("row")), cell.pop("loss")
                out.append(Foreseen(reach, len(seen), row, cell, predicted, measured, predicted.holds(measured)))
    if not out:
        raise InputError(
            f"`leave_future_out=true` needs a law that can be fitted to the rows below 1/{min(BUDGETS):g} of the "
            "largest compute, but they are too few: add cells, or leave it out."
        )
    return out

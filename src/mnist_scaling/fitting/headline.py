"""Which numbers to quote, decided once: the terminal, fits.json and the report say the same.

    ln L = ln law + g + noise        g the misfit: what the law misses, as a smooth surface whose size is learnt

Every number is the median of a quantity's draws from the joint posterior of this one model (`misfit.posterior`), and
its interval holds what the law leaves open, what it may miss, and the noise. None hangs on which law is right. Laws
fitted alone, straight lines in logs and frontier methods that are read off the cells stand in tables beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnist_scaling.fitting.frontier.parametric import Cost, budgets, counts, valley
from mnist_scaling.fitting.fronts import EXPONENTS, Frontier
from mnist_scaling.fitting.laws.base import Array, Law, middle
from mnist_scaling.fitting.misfit.posterior import Posterior
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import Ladder, largest_cell, near_line
from mnist_scaling.fitting.uncertainty.interval import MAJORITY, Interval, median_of

SLOPES = {"slope_N": "N", "slope_D": "D", "slope_C": "C"}
"""Keys of the local slopes at the cell of the largest compute, and their variables."""

MIDDLE_SLOPES = {f"middle_{key}": variable for key, variable in SLOPES.items()}
"""The same in the middle of the grid."""

REACHES = (2.0, 4.0, 8.0, 30.0)
"""Multiples of the largest compute at which a loss is predicted."""

NUMBERS = (*SLOPES, *MIDDLE_SLOPES, *EXPONENTS, "floor", "misfit", "asked")

KEPT, INSIDE = 250, 9
"""Surfaces that fits.json keeps for a page that asks what if, and budgets of the table that it shows them at."""

NO_COMPUTE = "Losses are predicted by compute, which needs C, or N and D with a C that grows with both."
"""Why none is."""

NOT_ASKED = "No loss was asked for: give predict.N=… and predict.D=…."


@dataclass(frozen=True)
class Model:
    """The posterior of a table, and what it is of."""

    posterior: Posterior
    rows: Table
    """The rows that it was learnt from."""
    noise: float
    """Standard deviation of a row's log loss, by the repeats, else by the residuals that the misfit leaves."""
    level: float
    """Of the intervals, such as 0.95."""
    exact: bool = False
    """Whether a law passes through the losses to rounding: what it misses is then nothing, whatever noise is known."""
    ray: Ladder | None = None
    """The ladder that the rows are on, where N and D move together."""
    base: Sequence[Law] = ()
    """Laws that were named as its base; none where they are the usual ones."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the surfaces are over: N and D, or one variable."""
        return self.posterior.axes.names

    def slope(self, at: Mapping[str, float], variable: str) -> Interval:
        """-d ln L / d ln variable at a point of logs."""
        return median_of(self.posterior.slope(at, variable), self.level)

    def loss(self, **logs: float) -> Interval:
        """L at a point of logs."""
        at = {k: np.array([v]) for k, v in logs.items()}
        return median_of(self.posterior.log_loss(at)[:, 0], self.level).exp()

    @property
    def misfit(self) -> Interval:
        """Root mean square of g over the cells, in ln loss."""
        return median_of(self.posterior.misfit(), self.level)

    @property
    def settled(self) -> bool:
        """Whether the law of the model describes the table: the misfit's upper end is below a cell's noise.

        It says nothing of laws of fewer parameters, nor of the numbers, whose intervals hold any misfit.
        """
        return self.exact or bool(self.misfit.high <= self.noise)


def headline(model: Model, cost: Cost | None, parametric: Frontier, predict: Mapping[str, float]) -> dict[str, Any]:
    """The key "headline" of fits.json: each of `NUMBERS`, or null with a "why"; losses by distance; `ray`.

    The parametric frontier is that of the model's surfaces, and `predict` the point at which a loss was asked for.
    """
    at, centre, ahead = largest_cell(model.rows), middle(model.rows.logs(model.inputs)), _ahead(model, cost)
    out: dict[str, Any] = {
        **_slopes(model, SLOPES, at),
        **_slopes(model, MIDDLE_SLOPES, centre),
        **{key: _exponent(model, parametric, key) for key in EXPONENTS},
        "floor": _floor(model),
        "misfit": model.misfit.record(),
        "asked": _asked(model, {k: float(np.log(v)) for k, v in predict.items()}),
        "counts": [],
        "loss": _quoted(ahead, model.level),
        "draws": _kept(ahead, model),
        "no_loss": "" if _has_compute(model, cost) else NO_COMPUTE,
        "at": {k: float(np.exp(at[k])) for k in ("N", "D", "C") if k in at},
        "noise": model.noise,
        "laws": sorted(model.posterior.weights, key=lambda k: -model.posterior.weights[k]),
        "settled": model.settled,
    }
    if model.ray is not None:
        return out | {"ray": _along(model, model.ray)}
    if "N" in model.inputs:
        points = {"slope_N": at, "middle_slope_N": centre}
        out["counts"] = counts(model.rows, model.posterior, points, parametric.valley, cost, model.level)
    return out


def nothing_to_quote(why: str) -> dict[str, Any]:
    """The same where nothing was fitted."""
    return {key: _absent(why) for key in NUMBERS} | {"loss": [], "at": {}, "noise": None, "laws": [], "settled": False}


def _has_compute(model: Model, cost: Cost | None) -> bool:
    return model.inputs == ("C",) or model.ray is not None or (cost is not None and len(model.inputs) == 2)


def _absent(why: str) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "why": why}


def _moving(ray: Ladder) -> str:
    return f"N and D move together ({ray.words}), so their shares can't be told apart: quote `ray`, along that line."


def _slopes(model: Model, keys: Mapping[str, str], at: Mapping[str, float]) -> dict[str, Any]:
    out = {}
    for key, variable in keys.items():
        if variable in model.inputs and (model.ray is None or variable == "C"):
            out[key] = model.slope(at, variable).record()
        elif model.ray is not None:
            out[key] = _absent(_moving(model.ray))
        else:
            out[key] = _absent(f"The law that was fitted is of {' and '.join(model.inputs)}, and not of {variable}.")
    return out


def _exponent(model: Model, parametric: Frontier, key: str) -> dict[str, Any]:
    if model.ray is not None:
        return _absent(_moving(model.ray))
    if len(model.inputs) == 1:
        return _absent("Laws of one variable have no frontier.")
    if not parametric.intervals[key].known:
        status = parametric.status
        return _absent(f"{status[0].upper()}{status[1:]}.")
    return parametric.intervals[key].record()


def _floor(model: Model) -> dict[str, Any]:
    """E of the surfaces' laws, no higher than the lowest loss: what a misfit adds to it can't be told from it."""
    draws = model.posterior.floor()
    if not draws.any():
        laws = [part.law for part in model.posterior.parts]
        some = any(law.floor is not None for law in laws)
        return _absent(f"The law that was fitted has {'its floor at 0 in every draw' if some else 'no floor'}.")
    return median_of(np.minimum(draws, model.rows.loss.min()), model.level).record()


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


def losses_ahead(model: Model, cost: Cost | None) -> list[dict[str, Any]]:
    """The lowest loss that up to so many times the largest compute reaches: a running minimum of each surface.

    One for each of `REACHES`; none where the table has no compute. Over N and D each surface is at its own best size,
    and N and D are the medians of these (`_lowest`).
    """
    return _quoted(_ahead(model, cost), model.level)


def _quoted(ahead: _Ahead | None, level: float) -> list[dict[str, Any]]:
    if ahead is None:
        return []
    number = len(REACHES)
    top, lowest = float(np.exp(ahead.log_c[-number - 1])), ahead.log_loss[:, -number:]
    return [
        {"reach": reach, "C": top * reach} | place | median_of(draws, level).exp().record()
        for reach, place, draws in zip(REACHES, ahead.places[-number:], lowest.T, strict=True)
    ]


def _kept(ahead: _Ahead | None, model: Model) -> dict[str, Any] | None:
    """Some of the surfaces, to four digits: loss and best N at each of the budgets C, and the floor."""
    if ahead is None:
        return None
    below = len(ahead.log_c) - len(REACHES) - 1
    columns = [*range(0, below, 2), *range(below, len(ahead.log_c))]
    draws = np.linspace(0, len(ahead.log_loss) - 1, min(KEPT, len(ahead.log_loss))).astype(int)
    floor = np.minimum(model.posterior.floor(), model.rows.loss.min())
    sizes = None if ahead.log_n is None else _four(np.exp(ahead.log_n[np.ix_(draws, columns)]))
    loss = _four(np.exp(ahead.log_loss[np.ix_(draws, columns)]))
    return {"C": _four(np.exp(ahead.log_c[columns])), "loss": loss, "N": sizes, "floor": _four(floor[draws])}


def _four(values: Array) -> Any:
    """Numbers to four digits, as lists; null where there is none."""
    shown = [float(f"{x:.4g}") if np.isfinite(x) else None for x in values.ravel()]
    return np.array(shown, object).reshape(values.shape).tolist()


def _ahead(model: Model, cost: Cost | None) -> _Ahead | None:
    """None where the table has no compute."""
    if not _has_compute(model, cost):
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
        bottom, top = (_log_c(model, model.ray, end) for end in ends)
        log_c = np.append(np.linspace(bottom, top, INSIDE)[:-1], top + logs)
        inside, x = np.split(np.array([_log_n(model, model.ray, c) for c in log_c]), [INSIDE - 1])
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


def _line(model: Model, ray: Ladder) -> Array:
    """(slope, constant) of ln C in ln N along the ladder; that of 6 N D where the table has no C."""
    if "C" not in model.rows.inputs:
        return np.array([1 + ray.power, np.log(6) + ray.log_k])
    return np.polyfit(np.log(model.rows.inputs["N"]), np.log(model.rows.inputs["C"]), 1)


def _log_c(model: Model, ray: Ladder, log_n: float) -> float:
    return float(np.polyval(_line(model, ray), log_n))


def _log_n(model: Model, ray: Ladder, log_c: float) -> float:
    slope, constant = _line(model, ray)
    return float((log_c - constant) / slope)


def _along(model: Model, ray: Ladder) -> dict[str, Any]:
    """Slopes along the ladder, at its largest cell: in C, and in N with D as the ladder has it."""
    at, per_n = largest_cell(model.rows), float(_line(model, ray)[0])
    (variable,) = model.inputs
    draws = model.posterior.slope(at, variable)
    in_c = draws if variable == "C" else draws / per_n
    return {
        "line": ray.words + ("" if "C" in model.rows.inputs else " (with C = 6 N D assumed)"),
        "C": median_of(in_c, model.level).record(),
        "N": median_of(in_c * per_n, model.level).record(),
    }


def _asked(model: Model, point: Mapping[str, float]) -> dict[str, Any]:
    """The loss at the point that was asked for, given by its logs."""
    ray = model.ray
    if ray is not None and point:
        if not ray.holds(point):
            return _absent(f"The rows are all near {ray.words}, and say nothing of a loss off that line.")
        log_n = point.get("N", (point["D"] - ray.log_k) / ray.power if "D" in point else np.nan)
        log_c = point.get("C", _log_c(model, ray, log_n))
        point = {"N": log_n if np.isfinite(log_n) else _log_n(model, ray, log_c), "C": log_c}
    if not point:
        return _absent(NOT_ASKED)
    if lacking := [k for k in model.inputs if k not in point]:
        need = " and ".join(f"predict.{k}=…" for k in lacking)
        return _absent(f"The model is of {' and '.join(model.inputs)}: give {need}, too.")
    return model.loss(**{k: point[k] for k in model.inputs}).record()

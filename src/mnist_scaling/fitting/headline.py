"""Which numbers to quote, decided once: the terminal, fits.json and the report say the same.

    ln L = ln law + g + noise        g the misfit: what the law misses, as a smooth surface whose size is learnt

Every number is the median of a quantity's draws from the joint posterior of this one model (`misfit.posterior`), and
its interval holds what the law leaves open, what it may miss, the noise, and luck in tuning. None hangs on which law is
right. Laws fitted alone, straight lines in logs and frontier methods read off the cells stand in tables beside.
"""

# ruff: noqa: N815 (the names are those of the file)

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.ahead import KeptSurfaces, LossAhead, line_of, losses_ahead, lowest_at, placed, reach_of
from mnist_scaling.fitting.frontier.in_use import UsedSize, in_use
from mnist_scaling.fitting.frontier.parametric import Cost, CountedSize, counts
from mnist_scaling.fitting.fronts import EXPONENTS, Frontier
from mnist_scaling.fitting.laws.base import middle
from mnist_scaling.fitting.misfit.posterior import Model
from mnist_scaling.fitting.slices import Ladder, largest_cell
from mnist_scaling.fitting.uncertainty.interval import OMITTED, UNKNOWN, Interval, median_of

SLOPES = {"slope_N": "N", "slope_D": "D", "slope_C": "C"}
"""Keys of the local slopes at the cell of the largest compute, and their variables."""

MIDDLE_SLOPES = {f"middle_{key}": variable for key, variable in SLOPES.items()}
"""The same in the middle of the grid."""

TIMES = 4.0
"""How many times a size is taken to say what it does to the loss, and what an exponent of the frontier means."""

NO_COMPUTE = "Losses are predicted by compute, which needs C, or N and D with a C that grows with both."
"""Why none is."""

NOT_ASKED = "No loss was asked for: give predict.N=… and predict.D=…."


@dataclass(frozen=True)
class AskedLoss(Interval):
    """The loss at the point that was asked for; nothing is known, and there is no point, where none was."""

    at: Mapping[str, float] = field(default_factory=dict, metadata=OMITTED)
    reach: float | None = field(default=None, metadata=OMITTED)
    """How many times it lies beyond the rows, at most 1 inside, and in words: `ahead.reach_of`."""
    beyond: str = field(default="", metadata=OMITTED)


@dataclass(frozen=True)
class AlongLadder:
    """A ladder on which N and D move together, and the slopes along it, at its largest cell."""

    line: str
    C: Interval
    N: Interval
    """With D as the ladder has it."""


@dataclass(frozen=True)
class Headline:
    """What to quote, as fits.json has it; a number that is not there says why."""

    slope_N: Interval = UNKNOWN
    slope_D: Interval = UNKNOWN
    slope_C: Interval = UNKNOWN
    middle_slope_N: Interval = UNKNOWN
    middle_slope_D: Interval = UNKNOWN
    middle_slope_C: Interval = UNKNOWN
    N_exponent: Interval = UNKNOWN
    D_exponent: Interval = UNKNOWN
    loss_exponent: Interval = UNKNOWN
    floor: Interval = UNKNOWN
    misfit: Interval = UNKNOWN
    """Root mean square of g over the cells, in ln loss."""
    asked: AskedLoss = field(default_factory=AskedLoss)
    counts: Sequence[CountedSize] = ()
    """Empty where every count of sizes gives the exponents of N."""
    loss: Sequence[LossAhead] = ()
    """At `ahead.REACHES` times the largest compute."""
    factors: Mapping[str, Interval] = field(default_factory=dict)
    """By size: the loss at `TIMES` times it over that at the largest cell; N and D while the other is held, but along a
    ladder where the rows are on one."""
    sizes: Sequence[LossAhead] = ()
    """Which model for which compute: at budgets of the table, too."""
    in_use: Sequence[UsedSize] = ()
    """Which model for one compute that pays for its use, too: the largest of `sizes` with a best size in the table."""
    no_loss: str = field(default="", metadata=OMITTED)
    """Why `loss` is empty where numbers are quoted."""
    draws: KeptSurfaces | None = field(default=None, metadata=OMITTED)
    ray: AlongLadder | None = field(default=None, metadata=OMITTED)
    at: Mapping[str, float] = field(default_factory=dict)
    """N, D and C of the cell of the largest compute."""
    noise: float = math.nan
    scatter: float = math.nan
    """Standard deviation of a cell's ln loss about the surface: its noise, and what its tuning leaves to luck."""
    laws: Sequence[str] = ()
    settled: bool = False

    @property
    def examples_last(self) -> float:
        """The largest compute of `sizes` whose model leaves some examples; 0 where none takes all, or each does."""
        whole = [one.C for one in self.sizes if one.all_examples]
        return max((one.C for one in self.sizes if whole and min(whole) > one.C), default=0.0)

    @property
    def inside(self) -> int | None:
        """At how many of the table's `INSIDE` budgets there is a best size inside its grid; None without budgets."""
        within = [bool(one.optimal and one.tried) for one in self.sizes if one.reach <= 1]
        return sum(within) if self.sizes else None

    @classmethod
    def absent(cls, why: str) -> Headline:
        """Where nothing was fitted."""
        unknown: Any = dict.fromkeys((*SLOPES, *MIDDLE_SLOPES, *EXPONENTS), Interval(why=why))
        return cls(**unknown, floor=Interval(why=why), misfit=Interval(why=why), asked=AskedLoss(why=why))


def headline(model: Model, cost: Cost | None, parametric: Frontier, predict: Mapping[str, float]) -> Headline:
    """Every number of `Headline`.

    The parametric frontier is that of the model's surfaces, and `predict` the point at which a loss was asked for.
    """
    at, centre = largest_cell(model.rows), middle(model.rows.logs(model.inputs))
    ahead, draws = losses_ahead(model, cost)
    sizes: Sequence[CountedSize] = ()
    if "N" in model.inputs and model.ray is None:
        sizes = counts(model.rows, model.posterior, (at, centre), parametric.valley, cost, model.level)
    best = [one.C for one in ahead if one.optimal and one.reach <= 1]
    by_key: Any = {
        **_slopes(model, SLOPES, at),
        **_slopes(model, MIDDLE_SLOPES, centre),
        **{key: _exponent(model, parametric, key) for key in EXPONENTS},
    }
    return Headline(
        **by_key,
        floor=_floor(model),
        misfit=model.misfit,
        asked=_asked(model, cost, predict),
        counts=sizes,
        loss=[one for one in ahead if one.reach > 1],
        factors=_factors(model, at),
        sizes=ahead if len(model.inputs) == 2 else (),
        in_use=in_use(model, cost, max(best)) if best and cost is not None else (),
        no_loss="" if ahead else NO_COMPUTE,
        draws=draws,
        ray=None if model.ray is None else _along(model, model.ray),
        at={k: float(np.exp(at[k])) for k in ("N", "D", "C") if k in at},
        noise=model.noise,
        scatter=float(np.median(model.posterior.scatter())),
        laws=sorted(model.posterior.weights, key=lambda k: -model.posterior.weights[k]),
        settled=model.settled,
    )


def _moving(ray: Ladder) -> str:
    return f"N and D move together ({ray.words}), so their shares can't be told apart: quote `ray`, along that line."


def _slopes(model: Model, keys: Mapping[str, str], at: Mapping[str, float]) -> dict[str, Interval]:
    out = {}
    for key, variable in keys.items():
        if variable in model.inputs and (model.ray is None or variable == "C"):
            out[key] = model.slope(at, variable)
        elif model.ray is not None:
            out[key] = Interval(why=_moving(model.ray))
        else:
            out[key] = Interval(
                why=f"The law that was fitted is of {' and '.join(model.inputs)}, and not of {variable}."
            )
    return out


def _factors(model: Model, at: Mapping[str, float]) -> dict[str, Interval]:
    steps = {x: {x: math.log(TIMES)} for x in model.inputs}
    if model.ray is not None:
        per_n = float(line_of(model, model.ray)[0])
        in_c = math.log(TIMES) / (1.0 if model.inputs == ("C",) else per_n)
        steps = {"C": dict.fromkeys(model.inputs, in_c), "N": dict.fromkeys(model.inputs, in_c * per_n)}
    ends = {x: {k: at[k] + np.array([0.0, step.get(k, 0.0)]) for k in model.inputs} for x, step in steps.items()}
    draws = {x: np.diff(model.posterior.log_loss(logs)).ravel() for x, logs in ends.items()}
    return {x: median_of(change, model.level).exp() for x, change in draws.items()}


def _exponent(model: Model, parametric: Frontier, key: str) -> Interval:
    if model.ray is not None:
        return Interval(why=_moving(model.ray))
    if len(model.inputs) == 1:
        return Interval(why="Laws of one variable have no frontier.")
    if not parametric.intervals[key].known:
        status = parametric.status
        return Interval(why=f"{status[0].upper()}{status[1:]}.")
    return parametric.intervals[key]


def _floor(model: Model) -> Interval:
    """E of the surfaces' laws, no higher than the lowest loss: what a misfit adds to it can't be told from it."""
    draws = model.posterior.floor()
    if not draws.any():
        laws = [part.law for part in model.posterior.parts]
        some = any(law.floor is not None for law in laws)
        return Interval(why=f"The law that was fitted has {'its floor at 0 in every draw' if some else 'no floor'}.")
    return median_of(np.minimum(draws, model.rows.loss.min()), model.level)


def _along(model: Model, ray: Ladder) -> AlongLadder:
    at, per_n = largest_cell(model.rows), float(line_of(model, ray)[0])
    (variable,) = model.inputs
    draws = model.posterior.slope(at, variable)
    in_c = draws if variable == "C" else draws / per_n
    line = ray.words + ("" if "C" in model.rows.inputs else " (with C = 6 N D assumed)")
    return AlongLadder(line, median_of(in_c, model.level), median_of(in_c * per_n, model.level))


def _asked(model: Model, cost: Cost | None, predict: Mapping[str, float]) -> AskedLoss:
    if not predict:
        return AskedLoss(why=NOT_ASKED)
    if [*predict] == ["C"] and cost is not None and len(model.inputs) == 2:
        place, draws = lowest_at(model, cost, float(np.log(predict["C"])))
        if not (place["optimal"] or place["all_examples"] or predict["C"] >= float(np.exp(cost.of(model.rows).max()))):
            low, high = (float(f(np.exp(cost.of(model.rows)))) for f in (np.min, np.max))
            why = f"The rows, whose C is {low:.2g} to {high:.2g}, show no best size at that compute"
            return AskedLoss(why=f"{why}: give a C that they reach, or predict.N=… and predict.D=….", at=predict)
        sizes = {k: place[k] for k in "ND"}
        reach, beyond = reach_of(model.rows, {k: float(np.log(v)) for k, v in {**predict, **sizes}.items()})
        loss = median_of(draws, model.level).exp()
        way = LossAhead(optimal=place["optimal"], all_examples=place["all_examples"]).way
        return AskedLoss(**vars(loss), at={**predict, **sizes}, reach=reach, beyond=f"{beyond}, {way}")
    try:
        point = placed(model, cost, {k: float(np.log(v)) for k, v in predict.items()}, "predict")
    except InputError as error:
        return AskedLoss(why=str(error), at=predict)
    reach, beyond = reach_of(model.rows, point)
    at, held = dict(predict), model.rows.examples
    if {*predict} == {"N", "C"} and "D" in point:
        at["D"] = float(np.exp(point["D"]))
        if held and at["D"] > held:
            beyond += f", more than the {held:,.0f} examples that there are"
    return AskedLoss(**vars(model.loss(**{k: point[k] for k in model.inputs})), at=at, reach=reach, beyond=beyond)

"""One law on the rows of one slice: which rows, estimate, bootstrap, profiles, hold-out, local slopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.estimation.estimate import Fit, Settings, fit_law
from mnist_scaling.fitting.frontier.fronts import hull_rows
from mnist_scaling.fitting.laws.base import Array, Law, largest, local_slope, middle
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.selection.criteria import HoldOut, aicc, hold_out, rolling_origin
from mnist_scaling.fitting.uncertainty.bootstrap import Draws, bootstrap, interval, parameter_intervals, student_factor
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.noise import Noise, row_noise, seed_scale, weights_from
from mnist_scaling.fitting.uncertainty.profile import profile


@dataclass(frozen=True)
class Options:
    """What to do with a table; `conf/fit.yaml` explains each key."""

    laws: tuple[str, ...] | str = "default"
    settings: Settings = field(default_factory=Settings)
    draws: int = 1000
    kind: str = "auto"
    level: float = 0.95
    seed: int = 0
    classes: int | None = None
    mask_chance: bool = False
    isoflop: str = "parabola"
    queries: float | None = None
    predict: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes < 2:
            raise InputError(f"`classes >= 2` or null must hold, but got {self.classes}.")
        if self.seed < 0:
            raise InputError(f"`seed >= 0` must hold, but got {self.seed}.")
        if self.queries is not None and not self.queries > 0:
            raise InputError(
                f"`queries > 0` or null must hold, but got {self.queries:g}: give the number of inferences."
            )
        for name, value in self.predict.items():
            if not value > 0:
                raise InputError(f"`predict.{name} > 0` must hold, but got {value:g}.")


@dataclass(frozen=True)
class Fitted:
    """One law on its rows, with all that was worked out about it."""

    part: Slice
    fit: Fit
    noise: Noise
    thetas: Array
    """Parameters of every draw, shape (draws, p)."""
    settled: float
    """Share of the draws whose fit converged; the others wander along a ridge."""
    t_factor: float
    """Factor on the bootstrap's arms."""
    params: dict[str, Interval]
    aicc: float
    holdout: HoldOut | None
    rolling: HoldOut | None
    slopes: dict[str, Interval]
    """-d log L / d log x at the largest cell: comparable between laws of any form."""
    middle_slopes: dict[str, Interval]
    """The same in the middle of the grid."""
    profiles: dict[str, tuple[Interval, Array, Array]]
    floor_rejected: bool | None
    """Whether E = 0 is rejected; None for a law without a floor."""

    @property
    def law(self) -> Law:
        """The law that was fitted."""
        return self.fit.law

    @property
    def held_out(self) -> float:
        """Root mean square of the errors of both hold-outs, which the choice goes by; NaN without either."""
        errors = [h.rmse_log for h in (self.holdout, self.rolling) if h is not None]
        return float(np.sqrt(np.mean(np.square(errors)))) if errors else np.nan


def is_joint(law: Law) -> bool:
    """Whether a law has more than one input, so that it is fitted to all rows."""
    return len(law.inputs) > 1


def can_hold(table: Table, law: Law) -> bool:
    """Whether a table has the rows and the distinct sizes that a joint law needs."""
    return len(table) > law.size and all(len(table.levels(k)) >= law.levels for k in law.inputs if k != "U")


def whole(table: Table) -> Slice:
    """All rows: what a joint law is fitted to."""
    return Slice("", None, None, np.arange(len(table)))


def fit_part(law: Law, table: Table, part: Slice, options: Options, draws: Draws, deep: bool = True) -> Fitted:
    """Estimate, bootstrap, profile and hold-out of one law on the rows of a slice."""
    rows = table.take(part.index)
    logs = rows.logs(law.inputs)
    weights = weights_from(options.settings.weights, rows)
    fit = fit_law(law, logs, rows.y, options.settings, weights, seed_scale(rows))
    noise = row_noise(fit, rows)
    thetas, settled = bootstrap(fit, draws, noise, part.index)
    t_factor = student_factor(noise.dof, draws.level)
    cost = rows.log_cost(law.inputs)
    profiles = _profiles(fit, noise, draws.level) if deep and fit.n > fit.free else {}
    rejected = _rejected(fit, profiles)
    params = parameter_intervals(fit, thetas, draws.level, t_factor)
    if rejected is False:
        params |= {k: _hull(params[k], found[0]) for k, found in profiles.items() if k != "E"}
    return Fitted(
        part=part,
        fit=fit,
        noise=noise,
        thetas=thetas,
        settled=settled,
        t_factor=t_factor,
        params=params,
        aicc=aicc(fit.residual, law.size),
        holdout=hold_out(fit, cost) if deep else None,
        rolling=rolling_origin(fit, cost) if deep and is_joint(law) else None,
        slopes=_slopes(fit, largest(logs), thetas, draws.level, t_factor) if deep else {},
        middle_slopes=_slopes(fit, middle(logs), thetas, draws.level, t_factor) if deep else {},
        profiles=profiles,
        floor_rejected=rejected,
    )


def _profiles(fit: Fit, noise: Noise, level: float) -> dict[str, tuple[Interval, Array, Array]]:
    """Profiles of floor and exponents; those of exponents are wider where the floor is not told from 0."""
    if fit.law.empirical:
        return {}
    wanted = sorted((p.name for p in fit.law.parameters if not p.log), key=lambda name: name != "E")
    found: dict[str, tuple[Interval, Array, Array]] = {}
    for name in wanted:
        unsure = name != "E" and _rejected(fit, found) is False
        found[name] = profile(fit, name, noise, level, beside_bound=unsure)
    return found


def _hull(drawn: Interval, profiled: Interval) -> Interval:
    """An interval that holds both: beside a bound the draws of an exponent pile up, and say too little."""
    if not drawn.bounded or not profiled.bounded:
        return drawn
    return Interval(drawn.value, min(drawn.low, profiled.low), max(drawn.high, profiled.high))


def _rejected(fit: Fit, profiles: dict[str, tuple[Interval, Array, Array]]) -> bool | None:
    if fit.law.floor is None or "E" not in profiles:
        return None
    return profiles["E"][0].low > 0


def _slopes(fit: Fit, at: dict[str, float], thetas: Array, level: float, t_factor: float) -> dict[str, Interval]:
    """-d log L / d log x at a point, for every N, D or C of the law."""
    out = {}
    for name in (k for k in fit.law.inputs if k != "U"):
        value = float(local_slope(fit.law, fit.theta[None], at, name)[0])
        out[name] = interval(value, local_slope(fit.law, thetas, at, name), level, t_factor)
    return out


FEWEST_POINTS = 3
"""A line through two points has no residual."""


@dataclass(frozen=True)
class Slice:
    """Rows over which one variable moves while the other stands still."""

    variable: str
    fixed: str | None
    """"D", "N", "frontier" (the lower hull over C), "budget" (the best row at each C), or None for all rows."""
    value: float | None
    """Of the fixed variable."""
    index: np.ndarray
    """Positions of the rows."""

    def record(self, table: Table) -> dict[str, object]:
        """As fits.json has it; rows are numbers in the file, from 0."""
        rows = [int(table.rows[i]) for i in self.index]
        return {"variable": self.variable, "fixed": self.fixed, "value": self.value, "rows": rows}


def main_slice(table: Table, variable: str) -> Slice:
    """The slice that power_N, power_D or power_C is fitted to.

    power_N: rows at the largest D; power_D: rows at the largest N; power_C: the lower hull, or the best row at each
    budget where the table lacks N or D. With no other variable to hold, all rows.
    """
    everything = np.arange(len(table))
    if variable == "C":
        if table.has(("N", "D")):
            rows = hull_rows(np.log(table.inputs["C"]), table.y)
            return Slice("C", "frontier", None, rows)
        best = _best_of_each_budget(table)
        return Slice("C", "budget", None, best) if len(best) < len(table) else Slice("C", None, None, everything)
    other = "D" if variable == "N" else "N"
    if other not in table.inputs:
        return Slice(variable, None, None, everything)
    value = float(table.levels(other)[-1])
    return Slice(variable, other, value, np.flatnonzero(table.at_level(other, value)))


def _best_of_each_budget(table: Table) -> np.ndarray:
    """Positions of the lowest loss at each C: what a law of compute alone is about, when several runs cost the same."""
    best = []
    for level in table.levels("C"):
        rows = np.flatnonzero(table.at_level("C", float(level)))
        best.append(rows[np.argmin(table.y[rows])])
    return np.sort(np.array(best, int))


def all_slices(table: Table) -> list[Slice]:
    """L(N) at every level of D and L(D) at every level of N that has at least three points."""
    if not table.has(("N", "D")):
        return []
    found = []
    for variable, fixed in (("N", "D"), ("D", "N")):
        for value in table.levels(fixed):
            rows = np.flatnonzero(table.at_level(fixed, float(value)))
            if len(np.unique(table.inputs[variable][rows])) >= FEWEST_POINTS:
                found.append(Slice(variable, fixed, float(value), rows))
    return found


def refusal(part: Slice, table: Table, law: Law) -> str:
    """Why a law can't be fitted to this slice, in words; empty when it can."""
    distinct = len(np.unique(np.round(np.log(table.inputs[part.variable][part.index]), 9)))
    where = "in the table"
    if part.fixed == "frontier":
        where = "on the lower hull"
    elif part.fixed == "budget":
        where = "at distinct budgets"
    elif part.value is not None:
        where = f"at the largest {part.fixed} ({part.value:.4g})"
    if distinct < law.levels:
        return f"not fitted: {distinct} distinct {part.variable} {where}, but {law.levels} are needed"
    if len(part.index) <= law.size:
        return f"not fitted: {len(part.index)} rows {where}, but {law.size} parameters need {law.size + 1}"
    return ""

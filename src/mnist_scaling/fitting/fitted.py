"""One law on its rows: estimate, bootstrap, profiles, hold-out, local slopes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.estimation.criteria import HoldOut, aicc, hold_out
from mnist_scaling.fitting.estimation.estimate import Fit, Settings, fit_law
from mnist_scaling.fitting.laws.base import Array, Law, local_slope
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import Slice, largest_cell
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
    slopes: dict[str, Interval]
    """-d log L / d log x at the cell of the largest compute: comparable between laws of any form."""
    profiles: dict[str, tuple[Interval, Array, Array]]
    floor_rejected: bool | None
    """Whether E = 0 is rejected; None for a law without a floor."""

    @property
    def law(self) -> Law:
        """The law that was fitted."""
        return self.fit.law


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
        slopes=_slopes(fit, largest_cell(rows), thetas, draws.level, t_factor) if deep else {},
        profiles=profiles,
        floor_rejected=rejected,
    )


def _profiles(fit: Fit, noise: Noise, level: float) -> dict[str, tuple[Interval, Array, Array]]:
    """Profiles of floor and exponents; those of exponents are wider where the floor is not told from 0."""
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


def _slopes(fit: Fit, at: Mapping[str, float], thetas: Array, level: float, t_factor: float) -> dict[str, Interval]:
    """-d log L / d log x at a point, for every N, D or C of the law."""
    out = {}
    for name in (k for k in fit.law.inputs if k != "U"):
        value = float(local_slope(fit.law, fit.theta[None], at, name)[0])
        out[name] = interval(value, local_slope(fit.law, thetas, at, name), level, t_factor)
    return out


ALIKE = 2.0
"""Laws within this AICc of the best describe a table as well (Burnham & Anderson 2002, section 2.6)."""


def describing(rivals: Mapping[str, Fitted]) -> Fitted | None:
    """The law that describes a table: of those that fit about as well as the best, the one with the fewest parameters.

    By AICc, within `ALIKE`; where a law has too few rows for one, by the residuals' variance per degree of freedom.

    Parameters
    ----------
    rivals : mapping of str to Fitted
        Laws of the same rows.
    """
    if any(not np.isfinite(f.aicc) for f in rivals.values()):
        free = {k: f for k, f in rivals.items() if f.fit.n > f.fit.free}
        return min(free.values(), key=lambda f: f.fit.rmse**2 / (f.fit.n - f.fit.free), default=None)
    least = min((f.aicc for f in rivals.values()), default=0.0)
    return min(
        (f for f in rivals.values() if f.aicc <= least + ALIKE), key=lambda f: (f.law.size, f.aicc), default=None
    )

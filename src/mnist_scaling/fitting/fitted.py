"""One law on its rows: estimate, bootstrap, hold-out, local slopes; and which law describes them.

AICc = -2 log likelihood + 2 k + 2 k (k + 1) / (n - k - 1), k = parameters + 1 for the scale
(Hurvich & Tsai 1989). The likelihood is that of Huber's least favourable density, exp(-rho_c(r / s)) / (s Z),
c = 1.345, maximised over s: normal for clean residuals, and one outlier does not decide between laws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from mnist_scaling.errors import holds
from mnist_scaling.fitting.estimation.estimate import SCREENED, Fit, Settings, fit_law, fit_problem
from mnist_scaling.fitting.estimation.problem import EFFICIENT, huber
from mnist_scaling.fitting.laws.base import Array, Law, local_slope
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.slices import Slice, largest_cell
from mnist_scaling.fitting.uncertainty.bootstrap import Draws, bootstrap, interval, parameter_intervals, student_factor
from mnist_scaling.fitting.uncertainty.interval import OMITTED, Interval
from mnist_scaling.fitting.uncertainty.noise import Noise, row_noise, seed_noise, weights_from


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
    predict: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        holds(self.classes is None or self.classes >= 2, "classes >= 2", self.classes, "give their number, or null.")
        holds(self.seed >= 0, "seed >= 0", self.seed, "0 is usual.")
        for name, value in self.predict.items():
            holds(value > 0, f"predict.{name} > 0", value, "give a positive number.")


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
    holdout: HoldOut
    slopes: dict[str, Interval]
    """-d log L / d log x at the cell of the largest compute: comparable between laws of any form."""

    @property
    def law(self) -> Law:
        """The law that was fitted."""
        return self.fit.law

    @property
    def floor(self) -> Interval | None:
        """E with its interval, which holds 0 where the data don't tell a floor; None of a law without one."""
        floor = self.params.get("E")
        return floor if floor is not None and floor.bounded else None


def fit_part(law: Law, table: Table, part: Slice, options: Options, draws: Draws, deep: bool = True) -> Fitted:
    """Estimate, bootstrap and hold-out of one law on the rows of a slice."""
    rows = table.take(part.rows)
    logs = rows.logs(law.inputs)
    weights = weights_from(options.settings.weights, rows)
    fit = fit_law(law, logs, rows.y, options.settings, weights, seed_noise(rows))
    noise = row_noise(fit, rows)
    thetas, settled = bootstrap(fit, draws, noise, part.rows)
    t_factor = student_factor(noise.dof, draws.level)
    cost = rows.log_cost(law.inputs)
    return Fitted(
        part=part,
        fit=fit,
        noise=noise,
        thetas=thetas,
        settled=settled,
        t_factor=t_factor,
        params=parameter_intervals(fit, thetas, draws.level, t_factor),
        aicc=aicc(fit.residual, law.size),
        holdout=hold_out(fit, cost) if deep else HoldOut(),
        slopes=_slopes(fit, largest_cell(rows), thetas, draws.level, t_factor) if deep else {},
    )


def _slopes(fit: Fit, at: Mapping[str, float], thetas: Array, level: float, t_factor: float) -> dict[str, Interval]:
    """-d log L / d log x at a point, for every N, D or C of the law."""
    out = {}
    for name in (k for k in fit.law.inputs if k != "U"):
        value = float(local_slope(fit.law, fit.theta[None], at, name)[0])
        out[name] = interval(value, local_slope(fit.law, thetas, at, name), level, t_factor)
    return out


EXACT = 1e-7
"""Residuals in log loss below this are rounding, not a reason to prefer a law."""

HELD_OUT = 0.2
"""Share of the rows, those of largest compute, that the hold-out keeps back."""

_NORMALISER = float(np.sqrt(2 * np.pi) * (2 * ndtr(EFFICIENT) - 1) + 2 / EFFICIENT * np.exp(-(EFFICIENT**2) / 2))


def aicc(residual: Array, parameters: int) -> float:
    """AICc of log residuals of a law of so many parameters; NaN where n <= k + 1 leaves it undefined."""
    n, k = len(residual), parameters + 1
    if n - k - 1 <= 0:
        return np.nan
    return 2 * _half_deviance(residual) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def _half_deviance(residual: Array) -> float:
    """Minus log likelihood at the best scale; it is convex in log s."""
    r = np.sqrt(residual**2 + EXACT**2)

    def cost(log_s: float) -> float:
        return float(len(r) * (log_s + np.log(_NORMALISER)) + huber(r / np.exp(log_s), EFFICIENT).sum())

    middle = float(np.log(np.sqrt(np.mean(r**2))))
    return float(minimize_scalar(cost, bounds=(middle - 8, middle + 3), method="bounded", options={"xatol": 1e-7}).fun)


@dataclass(frozen=True)
class HoldOut:
    """Errors of predictions of rows that the fit had not seen, which are none where no row could be spared."""

    rmse_log: float = np.nan
    n: int = 0
    rows: Sequence[int] = ()
    """Positions of the predicted rows; in fits.json, their numbers in the file."""
    reach: float | None = field(default=None, metadata=OMITTED)
    """Largest predicted cost over the largest fitted one."""


def hold_out(fit: Fit, cost: Array) -> HoldOut:
    """Fit again without the `HELD_OUT` of the rows of largest log cost, at least two, and predict them.

    Nothing is held out where no row can be spared, or the others have too few distinct sizes.
    """
    n = fit.n
    held = min(max(2, round(HELD_OUT * n)), n - fit.law.size - 1)
    if held < 1:
        return HoldOut()
    order = np.argsort(cost, kind="stable")
    seen, rows = order[: n - held], order[n - held :]
    inside, outside = fit.problem.rows(seen), fit.problem.rows(rows)
    if any(len(np.unique(np.round(v, 9))) < fit.law.levels for k, v in inside.logs.items() if k != "U"):
        return HoldOut()
    # Many rows leave no second optimum to look for.
    others = [fit.law.starts(inside.logs, inside.y)] if inside.n <= SCREENED else []
    again = fit_problem(inside, fit.delta, np.vstack([fit.theta[None], *others]), polished=8)
    error = outside.residual(again.theta[None])[0]
    reach = max(1.0, float(np.exp(cost[rows].max() - cost[seen].max())))
    return HoldOut(float(np.sqrt(np.mean(error**2))), held, rows.tolist(), reach)


ALIKE = 2.0
"""Laws within this AICc of the best describe a table as well (Burnham & Anderson 2002, section 2.6)."""


def describing(rivals: Mapping[str, Fitted]) -> Fitted | None:
    """The law that describes a table: of those that fit about as well as the best, the one with the fewest parameters.

    By AICc, within `ALIKE`; where a law has too few rows for one, by the residuals' variance per degree of freedom.
    All are laws of the same rows.
    """
    if any(not np.isfinite(f.aicc) for f in rivals.values()):
        free = {k: f for k, f in rivals.items() if f.fit.n > f.fit.free}
        return min(free.values(), key=lambda f: f.fit.rmse**2 / (f.fit.n - f.fit.free), default=None)
    least = min((f.aicc for f in rivals.values()), default=0.0)
    return min(
        (f for f in rivals.values() if f.aicc <= least + ALIKE), key=lambda f: (f.law.size, f.aicc), default=None
    )

"""Intervals: one bootstrap for everything.

Two kinds of draw. *pairs* resamples rows (Efron 1979) and is for tables with many rows. *wild* keeps
the rows and redraws their noise, y* = f + s_i v_i, which is what a designed grid needs: dropping one of
four widths is not a draw of anything. s_i^2 mixes the pooled variance of residuals (and repeats) with
the row's own leverage-corrected residual (Wu 1986, HC2), so that unequal noise is seen but a handful of
rows does not make it up. Draws are widened by Student's t over the normal quantile, the small-sample
correction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.estimate import Fit
from mnist_scaling.fitting.interval import Interval
from mnist_scaling.fitting.laws.base import Array, Law, Logs
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.solve import minimise

PAIRS_FROM = 60
"""``kind=auto`` resamples rows of tables with at least so many, and redraws noise of smaller ones."""

PRIOR_FREEDOM = 2.0
"""Weight, in rows, of the pooled variance against a row's own squared residual."""

FEWEST_VALID = 0.7
"""An interval is given only when at least this share of the draws has the quantity."""


@dataclass(frozen=True)
class Draws:
    """The random numbers that every estimate of a table shares, shape (draws, n) each."""

    kind: str
    """wild or pairs."""
    counts: Array
    """How often each row was drawn (pairs)."""
    noise: Array
    """Standard normal multipliers of the rows' noise (wild)."""
    level: float = 0.95

    @property
    def number(self) -> int:
        """Number of draws."""
        return len(self.noise)


def make_draws(n: int, number: int, rng: np.random.Generator, kind: str = "auto", level: float = 0.95) -> Draws:
    """Draw once, for all laws and all frontier methods.

    Raises
    ------
    InputError
        When the kind is unknown, the level is outside (0, 1) or the number is negative.
    """
    if kind not in ("auto", "wild", "pairs"):
        raise InputError(f"`bootstrap.kind` must be auto, wild or pairs, but got {kind!r}.")
    if not 0 < level < 1:
        raise InputError(f"`0 < bootstrap.level < 1` must hold, but got {level:g}: 0.95 is usual.")
    if number < 0:
        raise InputError(f"`bootstrap.draws >= 0` must hold, but got {number}: 1000 is usual.")
    if kind == "auto":
        kind = "pairs" if n >= PAIRS_FROM else "wild"
    counts = rng.multinomial(n, np.full(n, 1 / n), size=number).astype(float)
    return Draws(kind, counts, rng.standard_normal((number, n)), level)


@dataclass(frozen=True)
class Noise:
    """Noise of the rows of one fit: standard deviations in log loss, and their degrees of freedom."""

    sigma: Array
    freedom: float
    misfit: float
    """Residual variance over the repeats' variance; NaN without repeats. Far above 1: the law is too simple."""


def row_noise(fit: Fit, table: Table) -> Noise:
    """Standard deviation of each row's noise in log loss, from residuals and repeats.

    The residual variance s_r^2 has n - p degrees of freedom, the repeats' variance s_s^2 has
    sum(repeats - 1). Where an F test does not tell them apart they are pooled by degrees of freedom,
    which is what makes a slice of five cells worth fitting; otherwise s_r^2 stands alone, since it
    holds seed noise and lack of fit both. Rows with weights have a variance in inverse proportion to them.
    """
    lost = fit.n - fit.free
    hat = np.minimum(fit.leverage, 0.95)
    scaled = fit.residual**2 * fit.weights
    own = scaled / (1 - hat)
    seed, seed_freedom = _seed_variance(table, fit.weights)
    pooled = float(scaled.sum() / lost) if lost > 0 else np.nan
    misfit = pooled / seed if seed_freedom > 0 and lost > 0 else np.nan
    if seed_freedom <= 0:
        variance, freedom = pooled, float(lost)
    elif lost <= 0 or stats.f.sf(misfit, lost, seed_freedom) > 0.05:
        total = max(lost, 0) + seed_freedom
        variance = ((pooled * lost if lost > 0 else 0.0) + seed * seed_freedom) / total
        freedom = total
    else:
        variance, freedom = pooled, float(lost)
    if not np.isfinite(variance):
        return Noise(np.full(fit.n, np.nan), 0.0, np.nan)
    sigma = np.sqrt((PRIOR_FREEDOM * variance + own) / (PRIOR_FREEDOM + 1))
    sigma *= np.sqrt(variance / np.mean(sigma**2)) if np.mean(sigma**2) > 0 else 1.0
    return Noise(sigma / np.sqrt(fit.weights), freedom, misfit)


def _with_repeats(table: Table) -> tuple[np.ndarray, Array]:
    """Which rows have a standard error of their own, and the degrees of freedom that each of those has."""
    if table.se is None:
        return np.zeros(len(table), bool), np.empty(0)
    known = np.isfinite(table.se) & (table.se > 0)
    repeats = np.full(len(table), 2.0) if table.repeats is None else table.repeats
    return known, np.where(np.isfinite(repeats), np.maximum(repeats - 1, 0), 1.0)[known]


def seed_freedom(table: Table) -> float:
    """Degrees of freedom of the pooled variance of the repeats: sum of repeats - 1; 0 without repeats."""
    return float(_with_repeats(table)[1].sum())


def _seed_variance(table: Table, weights: Array) -> tuple[float, float]:
    """Pooled variance of a row's mean log loss, and its degrees of freedom; (0, 0) without repeats."""
    known, freedom = _with_repeats(table)
    total = float(freedom.sum())
    if table.se is None or total <= 0:
        return 0.0, 0.0
    relative = (table.se[known] / table.loss[known]) ** 2 * weights[known]
    return float((relative * freedom).sum() / total), total


def bootstrap(fit: Fit, logs: Logs, y: Array, draws: Draws, noise: Noise, rows: np.ndarray) -> tuple[Array, float]:
    """Theta of every draw, shape (draws, p), NaN where a draw has too few rows; and the share that converged.

    A draw that is still wandering along a ridge is kept: where it has got to says how little is known.

    Parameters
    ----------
    fit : Fit
        The fit to the rows themselves, where every draw starts.
    logs, y
        What it was fitted to.
    draws : Draws
        For the whole table.
    noise : Noise
        Of these rows.
    rows : array of int, shape (n,)
        Positions of these rows in the table.
    """
    start = np.repeat(fit.theta[None], draws.number, axis=0)
    if draws.kind == "pairs" and fit.n >= PAIRS_FROM:
        counts = draws.counts[:, rows]
        solution = minimise(fit.law, logs, y, start, fit.delta.value, fit.weights * counts)
        enough = (counts > 0).sum(axis=1) > fit.law.size
        return np.where(enough[:, None], solution.theta, np.nan), _share(solution.converged)
    if not np.isfinite(noise.sigma).all():
        return np.full_like(start, np.nan), 1.0
    drawn = (y - fit.residual) + draws.noise[:, rows] * noise.sigma
    solution = minimise(fit.law, logs, drawn, start, fit.delta.value, fit.weights)
    return solution.theta, _share(solution.converged)


def _share(converged: np.ndarray) -> float:
    return float(converged.mean()) if len(converged) else 1.0


def widening(freedom: float, level: float) -> float:
    """Student's quantile over the normal one: 1.13 at 10 degrees of freedom, 2.2 at 2."""
    if freedom <= 0:
        return np.nan
    tail = 0.5 + level / 2
    return float(stats.t.ppf(tail, freedom) / stats.norm.ppf(tail))


def interval(
    value: float, draws: Array, level: float, wider: float, bounds: tuple[float, float] | None = None
) -> Interval:
    """Percentile interval around `value`, its arms widened by `wider` and cut at `bounds`.

    Parameters
    ----------
    value : float
    draws : array, shape (draws,)
        NaN where a draw lacks the quantity.
    level : float
        Such as 0.95.
    wider : float
        `widening`, 1 for none.
    bounds : pair of float, optional
    """
    valid = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not np.isfinite(wider) or len(valid) < max(20, FEWEST_VALID * len(draws)):
        return Interval(value)
    low, high = np.quantile(valid, [0.5 - level / 2, 0.5 + level / 2])
    low, high = value + (low - value) * wider, value + (high - value) * wider
    if bounds is not None:
        low, high = np.clip([low, high], *bounds)
    return Interval(value, float(min(low, value)), float(max(high, value)))


def parameter_intervals(fit: Fit, thetas: Array, level: float, wider: float) -> dict[str, Interval]:
    """Interval of every parameter in natural units; scales are treated on their logarithm."""
    lower, upper = fit.law.bounds
    out = {}
    for k, parameter in enumerate(fit.law.parameters):
        found = interval(float(fit.theta[k]), thetas[:, k], level, wider, (lower[k], upper[k]))
        numbers = np.array([found.value, found.low, found.high])
        out[parameter.name] = Interval(*map(float, np.exp(numbers) if parameter.log else numbers))
    return out


def predictions(law: Law, thetas: Array, logs: Logs) -> Array:
    """log f of every draw at these inputs, shape (draws, n); NaN where a draw failed."""
    valid = np.isfinite(thetas).all(axis=1)
    n = len(next(iter(logs.values())))
    out = np.full((len(thetas), n), np.nan)
    if valid.any():
        out[valid] = law.evaluate(thetas[valid], logs)[0]
    return out

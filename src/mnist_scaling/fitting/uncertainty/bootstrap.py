"""Intervals: one bootstrap for everything.

There are two kinds of draw. *pairs* resamples rows (Efron 1979) and is for tables with many rows. *wild* keeps the rows
and redraws their noise, y* = f + s_i v_i + t u_level(i), as a designed grid needs: dropping one of four widths is not a
draw of anything. The s_i and t are those of `noise`, which flags use, too; rows that share an error are
redrawn even where there are many. Draws are widened by Student's t over the normal quantile, the small-sample
correction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mnist_scaling.errors import holds, one_of
from mnist_scaling.fitting.estimation.estimate import Fit
from mnist_scaling.fitting.estimation.solve import minimise_nested
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.noise import Noise

PAIRS_FROM = 60
"""``kind=auto`` resamples rows of tables with at least so many, and redraws noise of smaller ones."""

LEAP = 100
"""Draws whose first step is made at once."""

FEWEST_VALID = 0.7
"""An interval is given only when at least this share of the draws has the quantity."""


@dataclass(frozen=True)
class Draws:
    """The random numbers that every estimate of a table shares, shape (draws, n) each, made when they are asked for."""

    kind: str
    """wild or pairs."""
    number: int
    """Number of draws."""
    n: int
    """Rows of the table."""
    seeds: tuple[int, int, int]
    """Of the counts, the noise and the common noise."""
    level: float = 0.95
    given: Array | None = None
    """The noise, where it is known: what two arms share must be the same in both."""

    @cached_property
    def counts(self) -> NDArray[Any]:
        """How often each row was drawn (pairs)."""
        rng = np.random.default_rng(self.seeds[0])
        out = np.empty((self.number, self.n), np.uint8)
        for row in out:
            row[:] = np.bincount(rng.integers(0, self.n, self.n), minlength=self.n)
        return out

    @cached_property
    def noise(self) -> NDArray[Any]:
        """Standard normal multipliers of the rows' noise (wild)."""
        if self.given is not None:
            return self.given
        return np.random.default_rng(self.seeds[1]).standard_normal((self.number, self.n), np.float32)

    @cached_property
    def common(self) -> NDArray[Any]:
        """The same of the errors that rows share; rows of one level take their first row's."""
        return np.random.default_rng(self.seeds[2]).standard_normal((self.number, self.n), np.float32)


def make_draws(n: int, number: int, rng: np.random.Generator, kind: str = "auto", level: float = 0.95) -> Draws:
    """Draw once, for all laws and all frontier methods."""
    one_of("bootstrap.kind", kind, ("auto", "wild", "pairs"))
    holds(0 < level < 1, "0 < bootstrap.level < 1", level, "0.95 is usual.")
    holds(number >= 0, "bootstrap.draws >= 0", number, "1000 is usual.")
    if kind == "auto":
        kind = "pairs" if n >= PAIRS_FROM else "wild"
    counts, noise, common = (int(seed) for seed in rng.integers(2**63, size=3))
    return Draws(kind, number, n, (counts, noise, common), level)


def bootstrap(fit: Fit, draws: Draws, noise: Noise, rows: np.ndarray) -> tuple[Array, float]:
    """Theta of every draw, shape (draws, p), NaN where a draw has too few rows; and the share that converged.

    Every draw starts at the fit, whose rows have these positions in the table of the draws. A draw that is still
    wandering along a ridge is kept: where it has got to says how little is known.
    """
    start = np.repeat(fit.theta[None], draws.number, axis=0)
    if draws.kind == "pairs" and fit.n >= PAIRS_FROM and noise.shared is None:
        counts = draws.counts if len(rows) == draws.n else draws.counts[:, rows]
        own_weights = fit.problem.weights
        weights: NDArray[Any] = counts if (own_weights == 1).all() else own_weights * counts
        solution = minimise_nested(replace(fit.problem, weights=weights), _leap(fit, weights), fit.nested)
        enough = (counts > 0).sum(axis=1) > fit.law.size
        return np.where(enough[:, None], solution.theta, np.nan), _share(solution.converged)
    if not np.isfinite(noise.sigma).all():
        return np.full_like(start, np.nan), 1.0
    own = draws.noise[:, rows]
    drawn = (fit.problem.y - fit.residual) + noise.draw(own, own if noise.shared is None else draws.common[:, rows])
    solution = minimise_nested(replace(fit.problem, y=drawn), start, fit.nested)
    return solution.theta, _share(solution.converged)


def _leap(fit: Fit, weights: NDArray[Any]) -> Array:
    """Where one Newton step from the fit takes the draws whose rows weigh so much, shape (draws, p).

    All draws share the fit's residuals and gradients, so that two products of matrices make every step.
    """
    free = fit.inside
    length = np.maximum(np.linalg.norm(fit.jacobian[free], axis=1), 1e-300)
    rows = fit.jacobian[free] / length[:, None]
    inside = np.abs(fit.residual) <= fit.delta.value
    pull = rows * np.clip(fit.residual, -fit.delta.value, fit.delta.value)
    bend = (rows[:, None] * rows[None] * inside).reshape(-1, fit.n)
    start = np.repeat(fit.theta[None], len(weights), axis=0)
    if fit.ridge:
        return start  # one step along a ridge may lead anywhere
    for low in range(0, len(weights), LEAP):
        part = weights[low : low + LEAP].astype(float)
        hessian = (part @ bend.T).reshape(len(part), len(rows), len(rows)) + 1e-9 * np.eye(len(rows))
        start[low : low + LEAP, free] += np.linalg.solve(hessian, (part @ pull.T)[..., None])[..., 0] / length
    return np.clip(start, *fit.law.bounds)


def _share(converged: np.ndarray) -> float:
    return float(converged.mean()) if len(converged) else 1.0


def student_factor(dof: float, level: float) -> float:
    """Student's quantile over the normal one: 1.13 at 10 degrees of freedom, 2.2 at 2."""
    if dof <= 0:
        return np.nan
    tail = 0.5 + level / 2
    return float(special.stdtrit(dof, tail) / special.ndtri(tail))


def interval(
    value: float, draws: Array, level: float, t_factor: float, bounds: tuple[float, float] | None = None
) -> Interval:
    """Percentile interval around `value`, its arms widened by `t_factor` and cut at `bounds`.

    Draws, shape (draws,), are NaN where they lack the quantity; too many of these leave the value alone.
    """
    valid = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not np.isfinite(t_factor) or len(valid) < max(20, FEWEST_VALID * len(draws)):
        return Interval(value)
    low, high = np.quantile(valid, [0.5 - level / 2, 0.5 + level / 2])
    low, high = value + (low - value) * t_factor, value + (high - value) * t_factor
    if bounds is not None:
        low, high = np.clip([low, high], *bounds)
    return Interval(value, float(min(low, value)), float(max(high, value)))


def parameter_intervals(fit: Fit, thetas: Array, level: float, t_factor: float) -> dict[str, Interval]:
    """Interval of every parameter in natural units; scales are treated on their logarithm."""
    lower, upper = fit.law.bounds
    out = {}
    for k, parameter in enumerate(fit.law.parameters):
        own = interval(float(fit.theta[k]), thetas[:, k], level, t_factor, (lower[k], upper[k]))
        out[parameter.name] = own.exp() if parameter.log else own
    return out

"""The noise of a table's rows: the one model that draws, weights, delta and flags all use.

    log L_i = log f_i + e_i + u_level(i)        e_i ~ N(0, s_i^2)        u ~ N(0, t^2), one for each amount of data

Repeats say what e_i is without a law (`seed_noise`), residuals say it with one (`row_noise`). Where an F test does not
tell the two apart, their variances are pooled by degrees of freedom; where it does, the residuals stand alone, because
they hold the noise of seeds and what the law misses both. Rows are pooled too, unless a test sees that they differ
(`variance`). u is what rows of one amount of data share, such as one draw of the training images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from mnist_scaling.errors import InputError, one_of
from mnist_scaling.fitting.estimation.estimate import Fit
from mnist_scaling.fitting.estimation.problem import robust_scale
from mnist_scaling.fitting.estimation.variance import Explained, explained_by_levels, pool, squeeze
from mnist_scaling.fitting.laws.base import Array, Numbers
from mnist_scaling.fitting.rows import Table

LARGEST_LEVERAGE = 0.95
"""A residual tells nothing of the noise of a row that the law passes through."""


OUTLYING = 4.5
"""Robust standard deviations beyond which a residual is a broken cell's: of 35 normal ones, one in 4,000 tables."""

MOST_OUTLYING = 0.05
"""Share of the rows, or one row, that may be broken cells; where more are far off, the law is what misses them."""


@dataclass(frozen=True)
class SeedNoise:
    """What the repeats say of the rows' mean log losses."""

    variance: Array
    """Of each row's mean log loss, shape (n,); the pooled one where a row has no repeats."""
    dof: float
    """Degrees of freedom of all rows together."""
    row_dof: Array
    """Degrees of freedom of each row's variance: of all rows where they are pooled, shape (n,)."""

    @property
    def scale(self) -> float:
        """Root mean square over rows, which delta=auto is taken from."""
        return float(np.sqrt(self.variance.mean()))


@dataclass(frozen=True)
class Shared:
    """An error that rows of one level share."""

    level: np.ndarray
    """Number of each row's level, shape (n,)."""
    size: float
    """t, widened for how few levels it is known from."""


@dataclass(frozen=True)
class Noise:
    """Noise of the rows of one fit: standard deviations in log loss, and their degrees of freedom."""

    sigma: Array
    """s_i, shape (n,); NaN where neither repeats nor residuals tell."""
    dof: float
    misfit: float
    """Residual variance over the repeats' variance; NaN without repeats. Far above 1: the law is too simple."""
    p_value: float = np.nan
    """Chance of such a ratio, or a larger one, where the law and the standard errors are right."""
    shared: Shared | None = None

    def draw(self, own: Numbers, common: Numbers) -> Array:
        """Errors of every draw, shape (draws, n), from standard normal numbers of that shape.

        `own` numbers are for each row's own error; of `common` ones, rows of one level all take their first row's.
        """
        errors = own * self.sigma
        if self.shared is None:
            return errors
        _, first = np.unique(self.shared.level, return_index=True)
        return errors + self.shared.size * common[:, first[self.shared.level]]


def seed_noise(table: Table) -> SeedNoise | None:
    """Noise of a row's mean log loss by the repeats alone, se / L to first order; None where no row has a se."""
    if table.se is None:
        return None
    known = repeated(table)
    repeats = np.full(len(table), 2.0) if table.repeats is None else np.nan_to_num(table.repeats, nan=2.0)
    if known.sum() < 2:
        return None
    dof = repeats[known] - 1
    squeezed = squeeze((table.se[known] / table.loss[known]) ** 2, dof, covariates(table)[known])
    variance = np.full(len(table), float((squeezed.usual * dof).sum() / dof.sum()))
    variance[known] = squeezed.variance
    row_dof = np.full(len(table), float(dof.sum()))
    row_dof[known] = np.minimum(squeezed.prior + dof, dof.sum())
    return SeedNoise(variance, _effective(squeezed.variance, float(dof.sum())), row_dof)


def weights_from(kind: str, table: Table) -> Array:
    """Weight of each row: 1, or the inverse variance of log loss by its repeats, scaled to a mean of 1, shape (n,).

    A standard error of three repeats is itself off by half, so the variances are those of `seed_noise`: equal, unless a
    test tells them apart. Without a number of repeats a table's standard errors are taken half-way to their mean.

    Raises
    ------
    InputError
        When the kind is unknown, or inverse variances are asked for and some row has no standard error.
    """
    one_of("weights", kind, ("equal", "inverse_variance"))
    if kind == "equal":
        return np.ones(len(table))
    if table.se is None or not np.all(np.isfinite(table.se) & (table.se > 0)):
        raise InputError(
            "`weights=inverse_variance` needs a positive standard error in every row, but some rows have none: "
            "name the column with columns.se=…, or use weights=equal."
        )
    seeds = seed_noise(table) if table.repeats is not None else None
    relative = (table.se / table.loss) ** 2
    inverse = 1 / (0.5 * relative + 0.5 * relative.mean() if seeds is None else seeds.variance)
    return inverse / inverse.mean()


def repeated(table: Table) -> np.ndarray:
    """Mask of the rows that have a standard error over two repeats or more; unknown numbers count as two."""
    if table.se is None:
        return np.zeros(len(table), bool)
    known = np.isfinite(table.se) & (table.se > 0)
    return known if table.repeats is None else known & (np.nan_to_num(table.repeats, nan=2.0) > 1)


def covariates(table: Table) -> Array:
    """What noise may depend on, shape (n, k): log N and log D as far as they are known, else log C."""
    names = [k for k in ("N", "D") if k in table.inputs] or [k for k in ("C",) if k in table.inputs]
    return np.column_stack([np.log(table.inputs[k]) for k in names]) if names else np.empty((len(table), 0))


def _effective(variance: Array, dof: float) -> float:
    """Degrees of freedom of a mean of unequal variances (Satterthwaite 1946): fewer, as the loud rows decide."""
    return dof * float(variance.sum() ** 2 / (len(variance) * (variance**2).sum()))


def row_noise(fit: Fit, table: Table) -> Noise:
    """Standard deviation of each row's noise in log loss, from residuals and repeats; `table` has the fit's rows."""
    seeds = seed_noise(table)
    shape = np.ones(fit.n) if seeds is None else seeds.variance / seeds.variance.mean()
    residual = fit.residual / np.sqrt(shape)
    levels = _shared(fit, table, residual, seeds)
    noise = _own_noise(fit, table, seeds, residual, levels)
    return noise if levels is None or not np.isfinite(noise.sigma).all() else _with_shared(noise, levels)


def mean_and_dof(seeds: SeedNoise | None) -> tuple[float, float]:
    """Mean variance over the rows, and its degrees of freedom; 0 of both where no row has repeats."""
    return (0.0, 0.0) if seeds is None else (float(seeds.variance.mean()), seeds.dof)


def _own_noise(fit: Fit, table: Table, seeds: SeedNoise | None, residual: Array, levels: Explained | None) -> Noise:
    """Noise of the rows alone: without the sum of squares, and the degrees of freedom, of a shared error."""
    explained, rank = (0.0, 0) if levels is None else (levels.square, levels.rank)
    residual_dof = fit.n - fit.free - rank
    variance = (float((residual**2).sum()) - explained) / residual_dof if residual_dof > 0 else np.nan
    of_seeds, dof = mean_and_dof(seeds)
    pooled, total, _, _ = pool(variance, residual_dof, of_seeds, dof)
    if not np.isfinite(pooled):
        return Noise(np.full(fit.n, np.nan), 0.0, np.nan)
    # Whether the law fits is asked of all that the residuals hold: an error by level may be the law's own.
    near = ~_outlying(residual, residual_dof + rank, of_seeds)
    left = residual_dof + rank - int((~near).sum())
    whole = float((residual[near] ** 2).sum()) / left if left > 0 else np.nan
    _, _, ratio, rarer = pool(whole, left, of_seeds, dof)
    if seeds is not None and total > residual_dof:
        return Noise(np.sqrt(pooled * seeds.variance / of_seeds), total, ratio, rarer)
    own = fit.residual**2 / (1 - np.minimum(fit.leverage, LARGEST_LEVERAGE))
    squeezed = squeeze(own, np.ones(fit.n), covariates(table))
    sigma = np.sqrt(squeezed.variance)
    sigma *= np.sqrt(pooled / np.mean(sigma**2)) if np.mean(sigma**2) > 0 else 1.0
    return Noise(sigma, _effective(squeezed.variance, total) if pooled > 0 else total, ratio, rarer)


def _outlying(residual: Array, dof: int, of_seeds: float) -> np.ndarray:
    """Mask of the few rows that are so far off that they are broken cells, and no misfit of the law."""
    if dof <= 0:
        return np.zeros(len(residual), bool)
    far = np.abs(residual) > OUTLYING * max(robust_scale(residual, len(residual) - dof), np.sqrt(of_seeds))
    return far if far.sum() <= max(1, MOST_OUTLYING * len(far)) else np.zeros(len(far), bool)


def _shared(fit: Fit, table: Table, residual: Array, seeds: SeedNoise | None) -> Explained | None:
    """What levels of data explain of the residuals, where that is beyond chance."""
    levels = explained_by_levels(np.log(table.inputs["D"]), residual, _range(fit)) if "D" in table.inputs else None
    if levels is None:
        return None
    residual_dof = fit.n - fit.free - levels.rank
    rest = (float((residual**2).sum()) - levels.square) / max(residual_dof, 1)
    of_seeds, dof = mean_and_dof(seeds)
    error, total, _, _ = pool(rest, residual_dof, of_seeds, dof)
    return levels if levels.seen(error, total) else None


def _range(fit: Fit) -> Array:
    """Orthonormal basis of what the law's free parameters can do to the fitted values, shape (n, free)."""
    rows = fit.jacobian[fit.inside].T
    rows = rows / np.maximum(np.linalg.norm(rows, axis=0), 1e-300)
    u, size, _ = np.linalg.svd(rows, full_matrices=False)
    return u[:, size > 1e-10 * size.max()] if size.size else u


def _with_shared(noise: Noise, levels: Explained) -> Noise:
    """The same with an error by level, whose size is widened for the few degrees of freedom that it has."""
    variance = levels.variance(float(np.mean(noise.sigma**2)))
    if not variance > 0:
        return noise
    few = special.stdtrit(float(levels.rank), 0.975) / special.stdtrit(max(noise.dof, 1.0), 0.975)
    return replace(noise, shared=Shared(levels.level, float(np.sqrt(variance) * max(few, 1.0))))

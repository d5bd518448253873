"""Variances of single rows that are each known badly: pooled where a test allows it, the row's own where it doesn't.

    s_i^2 ~ mu_i F(d_i, d_0)        mu_i = exp(b . z_i)        estimate (d_0 mu_i + d_i s_i^2) / (d_0 + d_i)

Here s_i^2 is a row's sample variance with d_i degrees of freedom, mu_i is what is usual at the row's covariates z_i,
and d_0 says how much rows with the same covariates differ in truth: with d_0 infinite they don't, so every row gets
mu_i. The trend b is kept only where a quasi-likelihood F test sees it, and a finite d_0 only where a likelihood ratio
asks for it.

Source: Smyth 2004 (Stat. Appl. Genet. Mol. Biol. 3, article 3), sections 4 and 5; the trend is a gamma regression
(McCullagh & Nelder 1989, chapter 8).

An error that rows of one level share is what differences between levels explain of the residuals beyond what was
fitted. r = (1 - H) (e + Z u) are residuals of a fit with hat matrix H, e each row's own error and u one number for each
level. With P the projection on (1 - H) Z, the sum of squares r' P r has the mean
rank(P) s^2 + t^2 trace(Z' (1 - H) Z).

Source: Searle, Casella & McCulloch 1992, Variance Components, chapter 5 (Henderson's method 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from mnist_scaling.fitting.laws.base import Array

POOLED_ABOVE = 0.05
"""Residuals and repeats are pooled unless residuals this large, or larger, are rarer than this."""

TOO_SMALL = 0.005
"""The same for residuals that are smaller than the repeats say: standard errors that are far too large."""

TREND_LEVEL = 0.02
"""Chance that equal variances are given a trend."""

SPREAD_LEVEL = 0.02
"""Chance that variances which differ by their trend alone are given more scatter than that."""

PRIORS = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
"""Values of d_0 that are tried beside infinity."""

FEWEST = 8
"""Rows that a test of unequal variances needs; fewer are pooled."""

MOST = 400
"""Rows that d_0 is estimated from; of more, as many quantiles."""

SMALLEST = 1e-6
"""A variance below this share of the mean counts as this share: two equal repeats don't show that noise is absent."""


@dataclass(frozen=True)
class Squeezed:
    """Estimates of the rows' variances; arrays of shape (n,)."""

    variance: Array
    """(d_0 mu_i + d_i s_i^2) / (d_0 + d_i)."""
    usual: Array
    """mu_i."""
    prior: float
    """d_0; inf where rows with the same covariates have one variance."""


def squeeze(variance: Array, dof: Array, covariates: Array, doubt: bool = False) -> Squeezed:
    """Estimate each row's variance from its own and all others'.

    Parameters
    ----------
    variance : array, shape (n,)
        Sample variances.
    dof : array, shape (n,)
        Degrees of freedom of each, positive.
    covariates : array, shape (n, k)
        What the usual variance may depend on, such as log N and log D; k = 0 for nothing.
    doubt : bool
        Take the trend and d_0 that are likeliest without asking whether a test sees them, and the larger of trend and
        mean as usual: what a row is held against that may be an outlier, since a test overlooks much.
    """
    mean = float((variance * dof).sum() / dof.sum())
    if len(variance) < FEWEST or mean <= 0:
        pooled = np.full(len(variance), mean)
        return Squeezed(pooled, pooled, np.inf)
    kept = np.maximum(variance, SMALLEST * mean)
    usual = _usual(kept, dof, covariates, doubt)
    prior, factor = _prior(kept / usual, dof, doubt)
    if doubt:
        usual = np.maximum(usual, mean)
    usual = usual * factor
    if np.isinf(prior):
        return Squeezed(usual, usual, prior)
    own = (prior * usual + dof * kept) / (prior + dof)
    # Estimates that lean towards what is usual would lose the few loud rows' share of the whole.
    return Squeezed(own * mean / float((own * dof).sum() / dof.sum()), usual, prior)


def pool(residual: float, residual_dof: float, seeds: float, dof: float) -> tuple[float, float, float, float]:
    """One variance of two: variance, its degrees of freedom, their ratio, and the chance of so large a ratio.

    That of the residuals and that of the repeats are pooled where an F test gives so large a ratio the chance
    `POOLED_ABOVE` or a greater one. Degrees of freedom that are not positive say that one of them is unknown.
    """
    if residual_dof <= 0 and dof <= 0:
        return np.nan, 0.0, np.nan, np.nan
    if dof <= 0:
        return residual, residual_dof, np.nan, np.nan
    if residual_dof <= 0:
        return seeds, dof, np.nan, np.nan
    ratio = residual / seeds
    rarer = float(special.fdtrc(residual_dof, dof, ratio))
    if rarer < POOLED_ABOVE or 1 - rarer < TOO_SMALL:
        return residual, residual_dof, ratio, rarer
    total = residual_dof + dof
    return (residual * residual_dof + seeds * dof) / total, total, ratio, rarer


def _usual(variance: Array, dof: Array, covariates: Array, doubt: bool) -> Array:
    """The trend where a test sees one, else the mean, shape (n,)."""
    n = len(variance)
    flat = np.full(n, float((variance * dof).sum() / dof.sum()))
    design = _design(covariates)
    size = design.shape[1]
    if size < 2 or n < size + FEWEST // 2:
        return flat
    trend = _gamma_regression(variance, dof, design)
    if doubt:
        return trend
    gain = _deviance(variance, flat, dof) - _deviance(variance, trend, dof)
    # Pearson's statistic estimates how much more than chi-squared the variances scatter: an outlier is no trend.
    scatter = max(1.0, float((dof / 2 * (variance / trend - 1) ** 2).sum() / (n - size)))
    seen = special.fdtrc(size - 1, n - size, max(gain, 0.0) / (size - 1) / scatter) < TREND_LEVEL
    return trend if seen else flat


def _design(covariates: Array) -> Array:
    """A column of ones beside the standardised covariates, without those that never vary or move with another."""
    columns = [np.ones(len(covariates))]
    for values in covariates.T:
        spread = float(values.std())
        if spread < 1e-9:
            continue
        tried = np.column_stack([*columns, (values - values.mean()) / spread])
        if np.linalg.matrix_rank(tried, tol=1e-6 * len(covariates)) == tried.shape[1]:
            columns.append(tried[:, -1])
    return np.column_stack(columns)


def _gamma_regression(variance: Array, dof: Array, design: Array) -> Array:
    """The exp(b . z) of greatest gamma likelihood, by iteratively reweighted least squares in logs."""
    weight = np.sqrt(dof)[:, None]
    eta = np.full(len(variance), np.log((variance * dof).sum() / dof.sum()))
    solve = np.linalg.pinv(design * weight)
    for _ in range(30):
        work = eta + np.clip(variance * np.exp(-eta) - 1, -1.0, 3.0)
        new = design @ (solve @ (work * weight[:, 0]))
        moved, eta = np.abs(new - eta).max(), new
        if moved < 1e-6:
            break
    return np.exp(eta)


def _deviance(variance: Array, usual: Array, dof: Array) -> float:
    ratio = variance / usual
    return float((dof * (ratio - 1 - np.log(ratio))).sum())


def _prior(ratio: Array, dof: Array, doubt: bool) -> tuple[float, float]:
    """d_0 and the factor on mu that are most likely for s_i^2 / mu_i; (inf, 1) unless they are far likelier."""
    if len(ratio) > MOST:
        some = np.argsort(ratio, kind="stable")[np.linspace(0, len(ratio) - 1, MOST).astype(int)]
        ratio, dof = ratio[some], dof[some]
    half = dof / 2
    constant = half * np.log(half) - special.gammaln(half) + (half - 1) * np.log(ratio)
    pooled = float((constant - half * ratio).sum())
    best = (-np.inf, np.inf, 1.0)
    for prior in PRIORS:
        # x = ratio / factor has an F density; its log, with the terms that depend on the factor.
        factors = np.geomspace(0.05, 1.5, 40)[:, None]
        beta = special.gammaln(half + prior / 2) - special.gammaln(prior / 2) - half * np.log(prior / 2)
        tail = (half + prior / 2) * np.log1p(dof * ratio / (prior * factors))
        values = (constant + beta - half * np.log(factors) - tail).sum(axis=1)
        k = int(np.argmax(values))
        if values[k] > best[0]:
            best = (float(values[k]), float(prior), float(factors[k, 0]))
    # d_0 = inf is the edge of what is allowed, so the ratio is chi-squared with one degree only half of the time.
    needed = 0.0 if doubt else 0.5 * float(special.chdtri(1, 2 * SPREAD_LEVEL))
    return (best[1], best[2]) if best[0] - pooled > needed else (np.inf, 1.0)


SHARED_BELOW = 0.25
"""Levels share an error where their means differ by what is rarer than this. A test with less power would leave half of
the shared error out in the tables in which it happens to look small (Bancroft & Han 1983 use 0.25)."""

MOST_LEVELS = 64
"""Levels among which a shared error is looked for; over more than that it averages out."""

DECIMALS = 6
"""Logs that agree to so many decimals are one level."""


@dataclass(frozen=True)
class Explained:
    """What differences between levels explain of the residuals."""

    level: np.ndarray
    """Number of each row's level, shape (n,)."""
    square: float
    """Sum of squares."""
    rank: int
    """Its degrees of freedom."""
    trace: float
    """What a shared error of variance 1 adds to it."""

    def seen(self, error: float, dof: float) -> bool:
        """Whether levels differ by more than rows whose variance is known with so many degrees of freedom."""
        return error > 0 and not special.fdtrc(self.rank, dof, self.square / self.rank / error) > SHARED_BELOW

    def variance(self, own: float) -> float:
        """t^2 for rows whose own variance is `own`; negative where levels differ by less than rows do."""
        return (self.square - self.rank * own) / self.trace


def explained_by_levels(log_x: Array, residual: Array, basis: Array) -> Explained | None:
    """How much of the residuals, of one variance, differs between levels of log x; None where too few rows share one.

    `basis` is an orthonormal one of what was fitted, shape (n, p).
    """
    n = len(residual)
    _, level = np.unique(np.round(log_x, DECIMALS), return_inverse=True)
    level = np.asarray(level).ravel()
    counts = np.bincount(level)
    if not 3 <= len(counts) <= min(MOST_LEVELS, n / 2) or (counts > 1).sum() < 3:
        return None
    dummies = (level[:, None] == np.arange(len(counts))).astype(float)
    u, size, _ = np.linalg.svd(dummies - basis @ (basis.T @ dummies), full_matrices=False)
    rank = int((size > 0.05 * np.sqrt(n / len(counts))).sum())
    if rank < 1 or n - basis.shape[1] - rank < 3:
        return None
    return Explained(level, float(((u[:, :rank].T @ residual) ** 2).sum()), rank, float((size[:rank] ** 2).sum()))

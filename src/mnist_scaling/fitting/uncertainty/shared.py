"""An error that rows of one level share: how much of the residuals it explains beyond what was fitted.

r = (1 - H) (e + Z u) are residuals of a fit with hat matrix H, e each row's own error and u one number for each level.
With P the projection on (1 - H) Z, the sum of squares r' P r has the mean rank(P) s^2 + t^2 trace(Z' (1 - H) Z).

Source: Searle, Casella & McCulloch 1992, Variance Components, chapter 5 (Henderson's method 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.laws.base import Array

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

    def variance(self, own: float) -> float:
        """t^2 for rows whose own variance is `own`; negative where levels differ by less than rows do."""
        return (self.square - self.rank * own) / self.trace


def explained_by_levels(log_x: Array, residual: Array, basis: Array) -> Explained | None:
    """How much of the residuals differs between levels of log x; None where too few rows share one.

    Parameters
    ----------
    log_x : array, shape (n,)
    residual : array, shape (n,)
        Of one variance.
    basis : array, shape (n, p)
        Orthonormal, of what was fitted.
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

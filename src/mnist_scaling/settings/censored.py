"""A straight line through numbers of known error, of which some are only known to lie beyond a limit.

    v_i = b . x_i + spread * e_i + error_i * e'_i;      seen as a limit where it lies beyond

The likelihood is that of Tobin (1958) with errors of their own; b is found by expectation and maximisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from mnist_scaling.fitting.laws.base import Array

_ROUNDS = 60
_SPREADS = 40
"""Spreads that are tried, log-spaced."""


@dataclass(frozen=True)
class Observed:
    """Numbers to put a line through."""

    x: Array
    """(n, p), with the constant."""
    v: Array
    """(n,), within [low, high]."""
    error: Array
    """Standard errors, (n,)."""
    side: Array
    """(n,): 0 for a number, -1 for "at most v", 1 for "at least v"."""


def line(seen: Observed, spread: float, times: Array | None = None) -> Array:
    """Coefficients, (…, p), at a given spread; NaN where the inputs of a draw move together.

    Parameters
    ----------
    seen : Observed
    spread : float
        Standard deviation of the true values about the line.
    times : array, shape (…, n), optional
        How often each number counts, one row per draw of a bootstrap.
    """
    times = np.ones(len(seen.v)) if times is None else times
    deviation = np.sqrt(spread**2 + seen.error**2)
    weight = times / deviation**2
    normal = np.einsum("...n,np,nq->...pq", weight, seen.x, seen.x)
    bad = np.linalg.cond(normal) > 1e12
    normal = np.where(bad[..., None, None], np.eye(seen.x.shape[1]), normal)
    beyond = seen.side != 0
    b = np.linalg.solve(normal, np.einsum("...n,np->...p", weight * seen.v, seen.x)[..., None])[..., 0]
    for _ in range(_ROUNDS if beyond.any() else 0):
        mean = b @ seen.x.T
        # A normal number beyond a limit has the mean mu + side sigma phi(t) / Phi(t), t = side (mu - limit) / sigma.
        t = seen.side * (mean - seen.v) / deviation
        ratio = np.exp(-0.5 * t**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(t))
        expected = np.where(beyond, mean + seen.side * deviation * ratio, seen.v)
        b = np.linalg.solve(normal, np.einsum("...n,np->...p", weight * expected, seen.x)[..., None])[..., 0]
    return np.where(bad[..., None], np.nan, b)


def spread_of(seen: Observed) -> float:
    """The spread with the highest restricted likelihood (that of the residuals), 0 included."""
    scale = max(float(np.std(seen.v)), float(np.median(seen.error)), 1e-9)
    tried = [0.0, *scale * np.geomspace(1e-3, 3, _SPREADS)]
    return max(tried, key=lambda spread: _likelihood(seen, spread))


def _likelihood(seen: Observed, spread: float) -> float:
    deviation = np.sqrt(spread**2 + seen.error**2)
    t = (seen.v - seen.x @ line(seen, spread)) / deviation
    exact = seen.side == 0
    total = -0.5 * (t[exact] ** 2).sum() - np.log(deviation[exact]).sum() + log_ndtr(-seen.side * t)[~exact].sum()
    x = seen.x[exact] / deviation[exact, None]
    known = exact.sum() > x.shape[1]
    return float(total - 0.5 * np.linalg.slogdet(x.T @ x)[1] if known else total)

"""Profile likelihood: intervals of floors and exponents, for what a bootstrap says badly."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mnist_scaling.fitting.estimate import Fit
from mnist_scaling.fitting.interval import Interval
from mnist_scaling.fitting.laws.base import Array, Logs
from mnist_scaling.fitting.solve import minimise


def profile(
    fit: Fit, logs: Logs, y: Array, name: str, level: float = 0.95, points: int = 41, freedom: float | None = None
) -> tuple[Interval, Array, Array]:
    """Profile-likelihood interval of one parameter: {v : 2 k (rho(v) - rho_min) <= F_1,n-p(level)}.

    rho(v) is the objective minimised over the other parameters with this one held at v. Huber's rho is
    turned into a likelihood ratio by k = mean(psi') / mean(psi^2), times (n - p) / n
    (Ronchetti 1982; for least squares k = 1 / s^2).

    Returns
    -------
    interval : Interval
        In natural units; an end is at the law's bound when no value up to there is rejected.
    grid : array, shape (points,)
        Natural values.
    deviance : array, shape (points,)
    """
    k = fit.law.names.index(name)
    freedom = float(fit.n - fit.free) if freedom is None else freedom
    lower, upper = (b[k] for b in fit.law.bounds)
    grid = _profile_grid(fit, y, k, lower, upper, points)
    thetas = np.repeat(fit.theta[None], len(grid), axis=0)
    thetas[:, k] = grid
    solution = minimise(fit.law, logs, y, thetas, fit.delta.value, fit.weights, fixed=(k,))
    unit = _deviance_unit(fit)
    deviance = np.maximum(2 * unit * (solution.objective - fit.objective), 0.0)
    limit = stats.f.ppf(level, 1, freedom) if freedom > 0 else np.inf
    low, high = _crossings(grid, deviance, float(fit.theta[k]), limit, lower, upper)
    ends = np.array([fit.theta[k], low, high])
    logged = fit.law.parameters[k].log
    return (
        Interval(*map(float, np.exp(ends) if logged else ends)),
        np.exp(grid) if logged else grid,
        deviance,
    )


def _deviance_unit(fit: Fit) -> float:
    inside = np.abs(fit.residual) <= fit.delta.value
    psi = np.clip(fit.residual, -fit.delta.value, fit.delta.value)
    spread = float(np.mean(psi**2))
    share = max(float(np.mean(inside)), 1 / fit.n)
    return share / max(spread, 1e-300) * max(fit.n - fit.free, 0) / fit.n


def _profile_grid(fit: Fit, y: Array, k: int, lower: float, upper: float, points: int) -> Array:
    """Values from near one bound to near the other, denser around the estimate."""
    centre = float(fit.theta[k])
    parameter = fit.law.parameters[k]
    if parameter.name == "E":
        lowest = float(np.exp(y.min()))
        return np.unique(np.append(np.linspace(0.0, 0.999 * lowest, points), min(centre, 0.999 * lowest)))
    reach = 4.0 if parameter.log else max(abs(centre), 0.1) * 3
    low, high = max(lower, centre - reach), min(upper, centre + reach)
    side = np.linspace(0, 1, points // 2 + 1) ** 2
    return np.unique(np.concatenate([centre - (centre - low) * side, centre + (high - centre) * side]))


def _crossings(
    grid: Array, deviance: Array, centre: float, limit: float, lower: float, upper: float
) -> tuple[float, float]:
    """Where the deviance passes `limit` on either side of the estimate, interpolated; else the bound."""
    ends = []
    for side, bound in ((grid < centre, lower), (grid > centre, upper)):
        values, heights = grid[side], deviance[side]
        order = np.argsort(np.abs(values - centre))
        values = np.concatenate([[centre], values[order]])
        heights = np.concatenate([[0.0], heights[order]])
        above = np.flatnonzero(heights > limit)
        if not len(above):
            ends.append(bound)
            continue
        j = above[0]
        share = (np.sqrt(limit) - np.sqrt(heights[j - 1])) / (np.sqrt(heights[j]) - np.sqrt(heights[j - 1]))
        ends.append(float(values[j - 1] + share * (values[j] - values[j - 1])))
    return ends[0], ends[1]

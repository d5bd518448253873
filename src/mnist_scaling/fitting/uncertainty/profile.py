"""Profile likelihood: intervals of floors and exponents, for what a bootstrap says badly."""

from __future__ import annotations

import numpy as np
from scipy import special
from scipy.optimize import brentq

from mnist_scaling.fitting.estimation.estimate import Fit
from mnist_scaling.fitting.estimation.solve import minimise
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.noise import Noise

STEPS = 60
"""Most steps of a profile's points: those that wander are far from the limit anyway."""

POINTS = 25
"""Values that are tried."""

LONG = 1000
"""Rows beyond which a profile has half as many points: it is a parabola there."""


def profile(
    fit: Fit, name: str, noise: Noise, level: float = 0.95, beside_bound: bool = False
) -> tuple[Interval, Array, Array]:
    """Profile-likelihood interval of one parameter: {v : 2 k (rho(v) - rho_min) <= F_1,nu(level)}.

    rho(v) is the objective minimised over the other parameters with this one held at v. k turns rho into a likelihood
    ratio under the noise of the rows, and nu is that noise's degrees of freedom: with least squares and equal noise
    k = 1 / s^2 (`_unit` has the rest).

    Parameters
    ----------
    fit : Fit
    name : str
        The parameter.
    noise : Noise
        Of these rows; the same that the bootstrap draws from.
    level : float
    beside_bound : bool
        Whether another parameter may lie at its bound in truth, as a floor that is not told from 0. The deviance is
        then up to half chi-squared with two degrees of freedom, and its limit is raised to that mixture's.

    Returns
    -------
    interval : Interval
        In natural units; an end is at the law's bound when no value up to there is rejected.
    grid, deviance : array, shape (points,)
        Natural values, and twice k times the rise of rho there.
    """
    k = fit.law.names.index(name)
    lower, upper = (b[k] for b in fit.law.bounds)
    grid = _profile_grid(fit, k, lower, upper, POINTS if fit.n <= LONG else POINTS // 2)
    thetas = np.repeat(fit.theta[None], len(grid), axis=0)
    thetas[:, k] = grid
    solution = minimise(fit.problem, thetas, (k,), STEPS, 1e-8)
    deviance = np.maximum(2 * _unit(fit, k, noise) * (solution.objective - fit.objective), 0.0)
    limit = _limit(noise.dof, level, beside_bound)
    low, high = _crossings(grid, deviance, float(fit.theta[k]), limit, lower, upper)
    ends = np.array([fit.theta[k], low, high])
    logged = fit.law.parameters[k].log
    return (Interval(*map(float, np.exp(ends) if logged else ends)), np.exp(grid) if logged else grid, deviance)


def _limit(dof: float, level: float, beside_bound: bool) -> float:
    """The deviance that `level` of tables stay below: F_1,nu, or half F_1,nu and half 2 F_2,nu beside a bound.

    Source: Self & Liang 1987 (J. Amer. Statist. Assoc. 82), case 6, for the mixture.
    """
    if dof <= 0:
        return np.inf
    low = float(special.fdtri(1, dof, level))
    if not beside_bound:
        return low

    def beyond(limit: float) -> float:
        return 0.5 * float(special.fdtrc(1, dof, limit) + special.fdtrc(2, dof, limit / 2)) - (1 - level)

    return float(brentq(beyond, low, 2 * float(special.fdtri(2, dof, level))))


def _unit(fit: Fit, k: int, noise: Noise) -> float:
    """[H^-1]_kk / [H^-1 M H^-1]_kk: the curvature that rho has in parameter k, over the one that its variance gives.

    H = sum w_i E psi'(e_i) J_i J_i' is the expected curvature of rho, M = sum w_i^2 E psi(e_i)^2 J_i J_i' + what rows
    share is the variance of its slope; psi clips at delta, and e_i is normal with the row's own s_i.

    Source: Ronchetti 1982 for Huber's rho; Pace, Salvan & Sartori 2011 (Statistica Sinica 21) for the ratio.
    """
    free = [j for j, name in enumerate(fit.law.names) if j == k or name not in fit.at_bound]
    jacobian = fit.jacobian[free]
    length = np.maximum(np.linalg.norm(jacobian, axis=1), 1e-300)
    jacobian = jacobian / length[:, None]
    sigma, weights = np.maximum(noise.sigma, 1e-12), fit.problem.weights
    slope, square = _moments(fit.delta.value / sigma)
    inverse = np.linalg.pinv((jacobian * weights * slope) @ jacobian.T, rcond=1e-14, hermitian=True)
    middle = (jacobian * weights**2 * sigma**2 * square) @ jacobian.T
    if noise.shared is not None:
        levels = noise.shared.level[:, None] == np.arange(noise.shared.level.max() + 1)
        pulls = (jacobian * weights * slope) @ levels
        middle = middle + noise.shared.size**2 * pulls @ pulls.T
    index = free.index(k)
    variance = float(inverse[index] @ middle @ inverse[index])
    return float(inverse[index, index]) / max(variance, 1e-100)


def _moments(clip: Array) -> tuple[Array, Array]:
    """E psi' and E psi^2 of a standard normal number clipped at +- `clip`."""
    if np.isinf(clip).all():
        return np.ones_like(clip), np.ones_like(clip)
    inside = special.erf(clip / np.sqrt(2))
    density = np.exp(-0.5 * clip**2) / np.sqrt(2 * np.pi)
    return inside, inside - 2 * clip * density + clip**2 * (1 - inside)


def _profile_grid(fit: Fit, k: int, lower: float, upper: float, points: int) -> Array:
    """Values from near one bound to near the other, denser around the estimate."""
    centre = float(fit.theta[k])
    parameter = fit.law.parameters[k]
    if parameter.name == "E":
        lowest = float(np.exp(fit.problem.y.min()))
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

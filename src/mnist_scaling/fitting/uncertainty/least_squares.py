"""Least squares: planes, y = c + sum_i b_i x_i, and exponents with intervals, log L = c - sum_i a_i log x_i."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from mnist_scaling.fitting.estimation.variance import explained_by_levels
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval

LEVEL = 0.95


@dataclass(frozen=True)
class Plane:
    """y = c + sum_i b_i x_i, by least squares; of several y, shape (n, draws), as many planes."""

    design: Array
    """A column of ones beside those of x, shape (n, 1 + p)."""
    coefficients: Array
    """c, b_1, …: shape (1 + p,), or (1 + p, draws)."""
    fitted: Array
    """The plane at its own rows, and what it leaves of y, both of y's shape."""
    residual: Array
    determined: bool
    """Whether the rows tell all coefficients apart."""

    @property
    def free(self) -> int:
        """Degrees of freedom of the residuals."""
        return len(self.design) - self.design.shape[1]

    @property
    def leverage(self) -> Array:
        """Diagonal of the hat matrix, shape (n,)."""
        return np.einsum("ij,ji->i", self.design, np.linalg.pinv(self.design))

    def at(self, *x: ArrayLike) -> Array:
        """The plane at m other places, shape (m,)."""
        return _design(*x) @ self.coefficients


def plane(y: ArrayLike, *x: ArrayLike) -> Plane:
    """The least-squares plane of y, shape (n,) or (n, draws), in the x, shape (n,) each."""
    design, y = _design(*x), np.asarray(y, float)
    coefficients, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    fitted = design @ coefficients
    return Plane(design, coefficients, fitted, y - fitted, bool(rank == design.shape[1]))


def _design(*x: ArrayLike) -> Array:
    columns = [np.atleast_1d(np.asarray(column, float)) for column in x]
    return np.column_stack([np.ones(len(columns[0])), *columns])


BENT = 4.0
"""Squared error of a parabola counts so many times against that of a plane: beyond the rows a bend costs."""


def carried_on(y: Array, x: Array, at: Array) -> float:
    """y beyond the rows, x (n, p) and `at` (p,), by a plane, or a parabola that foresees rows from the others better.

    A parabola bends along inputs of four values or more, and is taken where it has at most half of the plane's error.
    """
    u, at, candidates = x - x.mean(axis=0), at - x.mean(axis=0), []
    bent = [i for i in range(len(at)) if len(np.unique(u[:, i])) > 3]
    for powers, times in (([], 1.0), (bent, BENT)):
        through = plane(y, *u.T, *(u[:, powers] ** 2).T)
        left_out = through.residual / np.maximum(1 - through.leverage, 1e-9)
        candidates.append((times * float((left_out**2).sum()), float(through.at(*at, *at[powers] ** 2)[0])))
    return min(candidates)[1]


def line_at(x: Array, y: Array, at: Array, level: float) -> tuple[Array, Array]:
    """A new y at places, by the line through (x, y): its value, and half of Student's interval, both of their shape."""
    middle = x.mean()
    line, places = plane(y, x - middle), at - middle
    spread = (line.residual**2).sum() / line.free * (1 + 1 / len(x) + places**2 / ((x - middle) ** 2).sum())
    return line.at(places), np.asarray(stdtrit(line.free, 0.5 + level / 2) * np.sqrt(spread))


def exponents(
    loss: ArrayLike, *inputs: ArrayLike, level: float = LEVEL, shared: ArrayLike | None = None
) -> list[Interval]:
    """Exponents of a power law in several inputs.

    loss = k * prod_i x_i^-a_i. The interval is Student's with n - p - 1 degrees of freedom; with none
    left, or inputs that move together, it is NaN. Where rows share an error by the level of one input, its variance is
    added, and degrees of freedom are Satterthwaite's.

    Parameters
    ----------
    loss : array_like, shape (n,)
        Positive; rows that are not finite are left out.
    *inputs : array_like, shape (n,)
        x_i, positive.
    level : float
        Of each interval, such as 0.95.
    shared : array_like, shape (n,), optional
        Rows of one of its values may share an error, such as the amount of data that they were trained on.

    Returns
    -------
    list of Interval
        One a_i for each input.
    """
    y = np.log(np.asarray(loss, float))
    x = np.log(np.array([np.asarray(column, float) for column in inputs]).T)
    kept = np.isfinite(y) & np.isfinite(x).all(axis=1)
    y, x = y[kept], x[kept]
    free = len(y) - x.shape[1] - 1
    if free < 0:
        return [Interval()] * len(inputs)
    x = x - x.mean(axis=0)
    if np.linalg.matrix_rank(x, tol=1e-8) < x.shape[1]:
        return [Interval()] * len(inputs)
    solve = np.linalg.pinv(x)
    slopes = solve @ y
    if free == 0:
        return [Interval(-float(s)) for s in slopes]
    residual = y - y.mean() - x @ slopes
    levels = None if shared is None else np.log(np.asarray(shared, float))[kept]
    variance, dof = _variances(solve, x, residual, free, levels)
    half = stdtrit(dof, 0.5 + level / 2) * np.sqrt(variance)
    return [Interval(-float(s), -float(s + h), -float(s - h)) for s, h in zip(slopes, half, strict=True)]


def _variances(solve: Array, x: Array, residual: Array, free: int, levels: Array | None) -> tuple[Array, Array]:
    """Variance of each slope and its degrees of freedom, shape (p,) each, with a shared error where levels show one."""
    own = (solve**2).sum(axis=1)
    total = float(residual @ residual)
    alone = total / free * own, np.full(len(own), float(free))
    basis = np.linalg.qr(np.column_stack([np.ones(len(x)), x]))[0]
    shared = None if levels is None else explained_by_levels(levels, residual, basis)
    if shared is None:
        return alone
    rest = free - shared.rank
    square = (total - shared.square) / rest
    between = shared.square / shared.rank
    if not shared.seen(square, rest) or shared.variance(square) <= 0:
        return alone
    dummies = shared.level[:, None] == np.arange(shared.level.max() + 1)
    # The variance is a sum of the two mean squares, each with its own degrees of freedom.
    share = ((solve @ dummies) ** 2).sum(axis=1) * shared.rank / shared.trace
    parts = np.array([(own - share) * square, share * between])
    variance = parts.sum(axis=0)
    return variance, variance**2 / (parts**2 / np.array([[rest], [shared.rank]])).sum(axis=0)

"""One law with a misfit, as it is learnt: the points of a table, a law that is linearised there, and surfaces given it.

At most `MOST_CELLS` points with a log loss each, and what is known of their noise. The law is linear in its parameters
around its optimum, with normal priors: the likelihood of sizes, lengths and noise then has them integrated out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from mnist_scaling.fitting.estimation.estimate import Fit
from mnist_scaling.fitting.estimation.problem import Problem, robust_scale
from mnist_scaling.fitting.estimation.solve import minimise
from mnist_scaling.fitting.fitted import EXACT
from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.misfit.process import Axes, Shape, design, packed, products
from mnist_scaling.fitting.rows import Table, level_of
from mnist_scaling.fitting.uncertainty.luck import Field
from mnist_scaling.fitting.uncertainty.noise import MOST_OUTLYING, seed_noise

MOST_CELLS = 100
"""More rows than this are averaged over neighbourhoods, because the time grows with the cube of their number."""

BINS = 10
"""Neighbourhoods along each axis of two, over the table's range; of one axis, their square."""

NEIGHBOURS = 4
"""Nearest rows that a row is held against."""

OUTLYING = 6.0
"""Robust standard deviations beyond which a row is no neighbour of its neighbours, but a broken one."""


@dataclass(frozen=True)
class Points:
    """Points, their log losses, and the noise of these."""

    logs: dict[str, Array]
    """Of the inputs, around the middle of the table, shape (m,)."""
    y: Array
    variance: Array
    """Of y, shape (m,), up to a factor that is unknown:"""
    log_factor: tuple[float, float]
    """Mean and standard deviation of that factor's logarithm, before the misfit is looked at."""
    level: np.ndarray
    """Number of each cell's amount of data, whose cells may share an error, shape (m,); all differ where few repeat."""
    tuned: bool
    """Whether neighbouring cells share what tuning left to luck."""
    repeats: float
    """Runs behind a loss, on average; the usual number where it is not known."""
    broken: np.ndarray
    """Mask of the table's rows that are left out, shape (n,)."""


def points_of(table: Table, axes: Axes, fit: Fit) -> Points:
    """The points of a table without its broken rows; `fit`, of all rows, says what neighbourhoods average over."""
    seeds, near = seed_noise(table), axes.centred(table.logs(axes.names))
    broken = _broken(np.stack([x / h for x, h in zip(near.values(), axes.half, strict=True)]), fit.residual)
    whole = ~broken
    logs, y, residual = {k: x[whole] for k, x in near.items()}, table.y[whole], fit.residual[whole]
    level = _levels(logs["D"]) if "D" in logs and len(logs) > 1 else np.arange(len(y))
    runs = table.repeats[np.isfinite(table.repeats)] if table.repeats is not None else np.empty(0)
    repeats = float(runs.mean()) if len(runs) else USUALLY
    known = level, bool(table.tuned), repeats, broken
    if seeds is not None:
        cells = Points(logs, y, seeds.variance[whole], (0.0, float(np.sqrt(2 / max(seeds.dof, 1.0)))), *known)
    else:
        # The law's residuals hold its misfit too, so that the noise is likely to be less.
        usual = robust_scale(residual, fit.free) ** 2
        cells = Points(logs, y, np.full(len(y), max(usual, 1e-16)), (np.log(0.5), 1.0), *known)
    return cells if len(y) <= MOST_CELLS else _neighbourhoods(cells, axes, fit, residual)


def _broken(u: Array, residual: Array) -> np.ndarray:
    """Mask of the few rows that are far off their neighbours, by far more than rows usually are: no smooth misfit."""
    if len(residual) <= NEIGHBOURS:
        return np.zeros(len(residual), bool)
    near = cKDTree(u.T).query(u.T, NEIGHBOURS + 1)[1][:, 1:]
    off = np.abs(residual - np.median(residual[near], axis=1))
    far = off > max(OUTLYING * robust_scale(off), EXACT)
    return far if far.sum() <= max(1, MOST_OUTLYING * len(far)) else np.zeros(len(far), bool)


def _levels(log_d: Array) -> np.ndarray:
    """Number of each row's amount of data, where amounts repeat; else each row's own number."""
    number = level_of(log_d)
    return number if 2 * (number.max() + 1) <= len(log_d) else np.arange(len(log_d))


def _neighbourhoods(cells: Points, axes: Axes, fit: Fit, residual: Array) -> Points:
    """Means of residuals over boxes, put back on the law at the box' mean point; their scatter says the noise."""
    bins = BINS if len(axes.names) == 2 else BINS**2
    box = np.zeros(len(cells.y), int)
    for x, half in zip(cells.logs.values(), axes.half, strict=True):
        box = box * bins + np.clip(((x / half + 1) / 2 * bins).astype(int), 0, bins - 1)
    _, box = np.unique(box, return_inverse=True)
    number = np.bincount(box)

    def mean(values: Array) -> Array:
        return np.bincount(box, values) / number

    logs = {k: mean(x) for k, x in cells.logs.items()}
    centre = mean(residual)
    y = fit.law.evaluate(fit.theta[None], logs)[0][0] + centre
    variance = mean(cells.variance) / number
    out = replace(cells, logs=logs, y=y, variance=variance, level=np.arange(len(number)))
    dof = len(box) - len(number)
    if cells.log_factor[0] == 0 or dof < len(number):
        return out
    scatter = float(((residual - centre[box]) ** 2).sum()) / dof
    return replace(out, variance=scatter / number, log_factor=(0.0, float(np.sqrt(2 / dof))))


SIZE = (np.log(0.05), 2.0)
"""Mean and standard deviation of ln b, b in units of half of the law's range of ln loss per half-span."""

ALIKE = 0.8
"""Correlation of the sizes of the parts of g: a law that misses in one way is likely to miss in others."""

LENGTH = (np.log(0.9), 0.6)
"""The same of a length in half-spans."""

SCATTER = (np.log(0.3), 1.0)
"""The same of what cells scatter by beyond their repeats, each by itself, in units of the repeats' noise."""

SHARED = (np.log(0.2), 0.8)
"""The same of errors that the cells of one amount of data share, such as one draw of the training images."""

LUCK = (np.log(0.5), 0.5)
"""The same of luck that neighbouring cells share, where cells were tuned, in units of the noise of one run: 0.27 to
0.58 in four grids that were tuned twice."""

USUALLY = 4.0
"""Repeats of a cell where nobody says how many."""

SPREAD = {"E": 0.5, "log": 2.0, "gamma": 1.0, "": 0.5}
"""Prior standard deviations of the laws' parameters around their optimum: E in lowest losses"""

ROUNDING = 1e-14
"""Share of the covariance's trace that is added to its diagonal."""

CACHED = 200_000
"""Numbers in the covariances that are handled at once."""


@dataclass(frozen=True)
class Part:
    """Draws of surfaces over one law."""

    law: Law
    theta: Array
    """Parameters around the middle of the table, shape (draws, p)."""
    coefficients: Array
    """Of g, shape (draws, coefficients)."""
    misfit: Array
    """Root mean square of g over the cells, less what the law can follow, shape (draws,)."""
    scatter: Array
    """Variance of a cell's ln loss about the surface: its repeats' noise, and what is left to luck, shape (draws,)."""


class LinearisedLaw:
    """One law with a misfit, linearised at its optimum: the likelihood of the unknowns, and draws given them."""

    def __init__(self, fit: Fit, cells: Points, axes: Axes) -> None:
        self.fit, self.cells = fit, cells
        self.features = axes.features({k: x + m for (k, x), m in zip(cells.logs.items(), axes.middle, strict=True)})
        value, jacobian = fit.law.evaluate(fit.theta[None], cells.logs)
        self.residual = cells.y - value[0]
        self.jacobian = jacobian[0] * _spread(fit, cells.y)[:, None]
        self.of_law = packed(self.jacobian.T @ self.jacobian)
        self.lower = np.tril_indices(len(cells.y))
        self.products = [products(waves) for waves in self.features]
        self.unit = max(float(np.ptp(value)) / 2, 1e-6)
        self.sizes = 1 if len(axes.names) == 1 else 3
        self.roots, priors = [(cells.level[:, None] == np.arange(cells.level.max() + 1)).astype(float)], [SHARED]
        if cells.tuned:
            field = Field(np.column_stack([*cells.logs.values()]), axes.names)
            self.roots.append(field.root(field.usual))
            priors.append((LUCK[0] + 0.5 * np.log(cells.repeats), LUCK[1]))
        self.priors = np.array([SCATTER, *priors]).T
        self.shared = packed(np.stack([root @ root.T for root in self.roots]))
        self.unknowns = self.sizes + len(axes.names) + 2 + len(self.roots)

    def _shape(self, z: Array) -> Shape:
        size, length = z[:, : self.sizes], z[:, self.sizes : -2 - len(self.roots)]
        share = np.full((self.sizes, self.sizes), ALIKE) + (1 - ALIKE) * np.eye(self.sizes)
        size = size @ np.linalg.cholesky(share).T
        return Shape(self.unit * np.exp(SIZE[0] + SIZE[1] * size), np.exp(LENGTH[0] + LENGTH[1] * length))

    def _noise(self, z: Array) -> tuple[Array, Array]:
        """Variance of every cell, shape (batch, m), and of each error that cells share, shape (batch, errors)."""
        variance, (mean, deviation), errors = self.cells.variance, self.cells.log_factor, len(self.roots) + 1
        factor = np.exp(mean + deviation * z[:, [-1 - errors]])
        scatter, shared = np.split(np.exp(2 * (self.priors[0] + self.priors[1] * z[:, -errors:])), [1], axis=1)
        usual = variance.mean()
        return factor * (variance + scatter * usual) + 1e-12, factor * shared * usual

    def _errors(self, z: Array, rng: np.random.Generator) -> Array:
        """Draws of the cells' noise, shape (batch, m)."""
        own, shared = self._noise(z)
        common = np.zeros_like(own)
        for root, variance in zip(self.roots, shared.T, strict=True):
            common += (np.sqrt(variance)[:, None] * rng.standard_normal((len(z), root.shape[1]))) @ root.T
        return np.sqrt(own) * rng.standard_normal(own.shape) + common

    def _covariance(self, z: Array) -> Array:
        """Of the cells, with the law's own and the noise: `packed`, of each row of z."""
        own, shared = self._noise(z)
        covariance = self._shape(z).covariance(self.products)
        covariance += self.of_law
        covariance += shared @ self.shared
        diagonal = np.flatnonzero(self.lower[0] == self.lower[1])
        # Beside a vast misfit, rounding would be larger than a tiny noise.
        covariance[:, diagonal] += own + ROUNDING * covariance[:, diagonal].sum(axis=1, keepdims=True)
        return covariance

    def _parts(self, count: int) -> list[slice]:
        """Cuts of a batch whose covariances stay in the cache."""
        most = max(1, CACHED // len(self.residual) ** 2)
        return [slice(k, k + most) for k in range(0, max(count, 1), most)]

    def log_likelihood(self, z: Array) -> Array:
        """Of unknowns of shape (batch, unknowns), up to a constant: shape (batch,)."""
        return np.concatenate([self._log_likelihood(z[part]) for part in self._parts(len(z))])

    def _log_likelihood(self, z: Array) -> Array:
        # The factor of the covariance with the residuals as one more row holds the whitened residuals in that row.
        m = len(self.residual)
        bordered = np.zeros((len(z), m + 1, m + 1))
        bordered[:, *self.lower] = self._covariance(z)
        bordered[:, m, :m] = self.residual
        bordered[:, m, m] = 1e12
        root = np.linalg.cholesky(bordered)
        return -0.5 * (root[:, m, :m] ** 2).sum(axis=1) - np.log(np.einsum("bii->bi", root)[:, :m]).sum(axis=1)

    def draw(self, z: Array, rng: np.random.Generator) -> Part:
        """One surface for each row of unknowns."""
        shape, (noise, shared) = self._shape(z), self._noise(z)
        variances, waves = np.concatenate(shape.variances(), axis=1), design(self.features)
        prior = np.sqrt(variances) * rng.standard_normal(variances.shape)
        of_law = rng.standard_normal((len(z), len(self.jacobian))) @ self.jacobian
        left = self.residual - prior @ waves.T - of_law - self._errors(z, rng)
        solved, m = np.empty_like(left), left.shape[1]
        for part in self._parts(len(z)):
            whole = np.empty((len(z[part]), m, m))
            whole[:, *self.lower] = whole[:, *self.lower[::-1]] = self._covariance(z[part])
            solved[part] = np.linalg.solve(whole, left[part, :, None])[..., 0]
        coefficients = prior + variances * (solved @ waves)
        g = coefficients @ waves.T
        y = self.cells.y - g + self._errors(z, rng)
        weights = noise.mean(axis=1, keepdims=True) / noise
        problem = Problem(self.fit.law, self.cells.logs, y, weights)
        start = np.repeat(self.fit.theta[None], len(z), axis=0)
        theta = minimise(problem, start, max_iterations=60, tolerance=1e-7).theta
        directions, length, _ = np.linalg.svd(self.jacobian.T, full_matrices=False)
        basis = directions[:, length > 1e-9 * length.max()]
        beyond = g - (g @ basis) @ basis.T
        scatter = noise.mean(axis=1) + shared.sum(axis=1)
        return Part(self.fit.law, theta, coefficients, np.sqrt((beyond**2).mean(axis=1)), scatter)


def _spread(fit: Fit, y: Array) -> Array:
    """Prior standard deviations of a law's parameters, shape (p,): 0 where one stopped at a bound."""
    lowest = float(np.exp(y.min()))
    out = []
    for p, value in zip(fit.law.parameters, fit.theta, strict=True):
        size = SPREAD["log"] if p.log else SPREAD.get(p.name, SPREAD[""])
        if p.name == "E":
            size = lowest * min(max(value / lowest, 0.02), size)
        out.append(0.0 if p.name in fit.at_bound else size)
    return np.array(out)

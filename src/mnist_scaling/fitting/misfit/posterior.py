"""ln L(N, D) = ln law(N, D; theta) + g(N, D) + noise: draws of whole surfaces, for tables that no law need describe.

g is a smooth random surface (`process`). How large and how rough it is, and how noisy the cells are, is learnt from
the table: these unknowns are drawn from their posterior, with the law linearised at its optimum and integrated out
(`sampler`). Each draw of a surface then takes a draw of g given the cells (Matheron's rule), fits the law again to what
g leaves, with fresh noise, and adds g. Several laws are mixed by their evidence.

Source: Kennedy & O'Hagan 2001 (J. R. Stat. Soc. B 63); Wilson et al. 2021 (J. Mach. Learn. Res. 22) for the draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.estimation.estimate import Fit, fit_law
from mnist_scaling.fitting.estimation.problem import Problem
from mnist_scaling.fitting.estimation.solve import minimise
from mnist_scaling.fitting.frontier.parametric import Cost, Valley, valley
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import STEP, Array, Law
from mnist_scaling.fitting.misfit.points import Points, points_of
from mnist_scaling.fitting.misfit.process import Axes, Shape, design, products
from mnist_scaling.fitting.misfit.sampler import posterior_draws
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.noise import seed_noise

PARTICLES = 256
"""Draws of the unknown sizes, lengths and noise."""

FEWEST_DRAWS = 200
"""Draws of the model's surfaces, at least: fewer than that give no quantiles of 2.5 %."""

SIZE = (np.log(0.05), 2.0)
"""Mean and standard deviation of ln b, b in units of half of the law's range of ln loss per half-span."""

ALIKE = 0.8
"""Correlation of the sizes of the parts of g: a law that misses in one way is likely to miss in others."""

LENGTH = (np.log(0.9), 0.6)
"""The same of a length in half-spans."""

LUCK = (np.log(0.3), 1.0)
"""The same of what cells scatter by beyond their repeats, in units of the repeats' noise: luck that tuning leaves."""

SHARED = (np.log(0.2), 0.8)
"""The same of errors that the cells of one amount of data share, such as one draw of the training images."""

SPREAD = {"E": 0.5, "log": 2.0, "gamma": 1.0, "": 0.5}
"""Prior standard deviations of the laws' parameters around their optimum: E in lowest losses"""

ROUNDING = 1e-14
"""Share of the covariance's trace that is added to its diagonal."""

MOST_POINTS = 2_000
"""Points handled at once."""

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


@dataclass(frozen=True)
class Posterior:
    """Draws of whole surfaces, the number to quote being the median of a quantity's draws."""

    law: Law
    """That of the largest weight."""
    axes: Axes
    parts: tuple[Part, ...]
    weights: Mapping[str, float]
    """Of each law."""
    broken: np.ndarray
    """Mask of the table's rows that are left out because they lie far off their neighbours, shape (n,)."""

    def log_loss(self, logs: Mapping[str, Array]) -> Array:
        """ln L at n points, logarithms of the inputs, of every draw: shape (draws, n)."""
        n = len(next(iter(logs.values())))
        if n > MOST_POINTS:
            cuts = [slice(k, k + MOST_POINTS) for k in range(0, n, MOST_POINTS)]
            return np.concatenate([self.log_loss({k: x[c] for k, x in logs.items()}) for c in cuts], axis=1)
        centred, waves = self.axes.centred(logs), design(self.axes.features(logs))
        return np.concatenate([p.law.evaluate(p.theta, centred)[0] + p.coefficients @ waves.T for p in self.parts])

    def slope(self, at: Mapping[str, float], variable: str) -> Array:
        """-d ln L / d ln variable at a point of logs, shape (draws,)."""
        steps = {k: np.full(2, at[k]) + (np.array([-STEP, STEP]) if k == variable else 0.0) for k in self.axes.names}
        low, high = self.log_loss(steps).T
        return (low - high) / (2 * STEP)

    def floor(self) -> Array:
        """E of every draw's law, 0 for a law without one, shape (draws,)."""
        return np.concatenate(
            [p.theta[:, p.law.floor] if p.law.floor is not None else np.zeros(len(p.theta)) for p in self.parts]
        )

    def misfit(self) -> Array:
        """Root mean square of g over the cells in ln loss, less what the law can follow of it, shape (draws,)."""
        return np.concatenate([p.misfit for p in self.parts])

    def scatter(self) -> Array:
        """Standard deviation of a cell's ln loss about the surface, shape (draws,).

        It holds the noise of the cell's repeats, and what its tuning and its draw of the data leave to luck.
        """
        return np.concatenate([np.sqrt(p.scatter) for p in self.parts])

    def frontier(self, cost: Cost, log_c: Array) -> Valley:
        """The compute-efficient frontier of every draw at these budgets, shape (m,)."""
        return valley(self.log_loss, self.axes, cost, log_c)


def surface(table: Table, draws: int, rng: np.random.Generator, laws: Sequence[str | Law] | None = None) -> Posterior:
    """The posterior of one table, whose law may be wrong.

    Parameters
    ----------
    table : Table
        Rows, one for each cell; with or without standard errors of repeats.
    draws : int
    rng : numpy.random.Generator
        The draws depend on it and the table only.
    laws : sequence of str or Law, optional
        Base laws, of the same inputs, by name or as they are; the usual ones for the table's inputs when left out.

    Raises
    ------
    InputError
        When the table can hold none of the laws.
    """
    base = [get_law(law) if isinstance(law, str) else law for law in laws or _usual(table)]
    axes = Axes.of(table.logs(base[0].inputs))
    fits = _fits(table, axes, base)
    cells = points_of(table, axes, fits[0])
    models = [_Model(fit, cells, axes) for fit in fits]
    found = [posterior_draws(m.log_likelihood, m.unknowns, PARTICLES, rng) for m in models]
    evidence = np.array([e for _, e in found])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    counts = np.floor(draws * weights.cumsum() + 0.5).astype(int)
    counts = np.diff(counts, prepend=0)
    parts = [
        m.draw(z[rng.integers(len(z), size=count)], rng)
        for m, (z, _), count in zip(models, found, counts, strict=True)
        if count
    ]
    by_name = {m.fit.law.name: float(w) for m, w in zip(models, weights, strict=True)}
    return Posterior(models[int(weights.argmax())].fit.law, axes, tuple(parts), by_name, cells.broken)


def _usual(table: Table) -> tuple[str, ...]:
    if table.has(("N", "D")):
        return ("coupled", "multiplicative_floor")
    return (f"power_{next(k for k in ('N', 'D', 'C') if k in table.inputs)}_floor",)


def _fits(table: Table, axes: Axes, laws: Sequence[Law]) -> list[Fit]:
    """Each law that the table can hold, fitted around the middle of the table; the plane where it holds none."""
    logs, scale, out = axes.centred(table.logs(axes.names)), seed_noise(table), []
    for law in laws:
        try:
            out.append(fit_law(law, logs, table.y, seeds=scale))
        except InputError:
            continue
    plane = get_law("multiplicative" if len(axes.names) == 2 else f"power_{axes.names[0]}")
    return out or [fit_law(plane, logs, table.y, seeds=scale)]


class _Model:
    """One law with a misfit, linearised at its optimum: the likelihood of the unknowns, and draws given them."""

    def __init__(self, fit: Fit, cells: Points, axes: Axes) -> None:
        self.fit, self.cells = fit, cells
        self.features = axes.features({k: x + m for (k, x), m in zip(cells.logs.items(), axes.middle, strict=True)})
        value, jacobian = fit.law.evaluate(fit.theta[None], cells.logs)
        self.residual = cells.y - value[0]
        self.jacobian = jacobian[0] * _spread(fit, cells.y)[:, None]
        self.of_law = (self.jacobian.T @ self.jacobian).ravel()
        self.products = [products(waves) for waves in self.features]
        self.unit = max(float(np.ptp(value)) / 2, 1e-6)
        self.sizes = 1 if len(axes.names) == 1 else 3
        self.unknowns = self.sizes + len(axes.names) + 3
        self.level = (cells.level[:, None] == np.arange(cells.level.max() + 1)).astype(float)
        self.same = (self.level @ self.level.T).ravel()

    def _shape(self, z: Array) -> Shape:
        size, length = z[:, : self.sizes], z[:, self.sizes : -3]
        share = np.full((self.sizes, self.sizes), ALIKE) + (1 - ALIKE) * np.eye(self.sizes)
        size = size @ np.linalg.cholesky(share).T
        return Shape(self.unit * np.exp(SIZE[0] + SIZE[1] * size), np.exp(LENGTH[0] + LENGTH[1] * length))

    def _noise(self, z: Array) -> tuple[Array, Array]:
        """Variance of every cell, shape (batch, m), and of what the cells of a level share, shape (batch,)."""
        variance, (mean, deviation) = self.cells.variance, self.cells.log_factor
        factor, luck = np.exp(mean + deviation * z[:, -3]), np.exp(LUCK[0] + LUCK[1] * z[:, -2])
        shared = np.exp(SHARED[0] + SHARED[1] * z[:, -1])
        usual = variance.mean()
        return factor[:, None] * (variance + (luck**2 * usual)[:, None]) + 1e-12, factor * shared**2 * usual

    def _errors(self, z: Array, rng: np.random.Generator) -> Array:
        """Draws of the cells' noise, shape (batch, m)."""
        own, shared = self._noise(z)
        common = np.sqrt(shared)[:, None] * rng.standard_normal((len(z), self.level.shape[1]))
        return np.sqrt(own) * rng.standard_normal(own.shape) + common @ self.level.T

    def _covariance(self, z: Array) -> Array:
        """Of the cells, with the law's own and the noise, shape (batch, m, m)."""
        own, shared = self._noise(z)
        covariance = self._shape(z).covariance(self.products)
        covariance += self.of_law
        covariance += shared[:, None] * self.same
        m = len(self.residual)
        # Beside a vast misfit, rounding would be larger than a tiny noise.
        covariance[:, :: m + 1] += own + ROUNDING * covariance[:, :: m + 1].sum(axis=1, keepdims=True)
        return covariance.reshape(-1, m, m)

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
        bordered = np.empty((len(z), m + 1, m + 1))
        bordered[:, :m, :m] = self._covariance(z)
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
        solves = [np.linalg.solve(self._covariance(z[k]), left[k][..., None])[..., 0] for k in self._parts(len(z))]
        solved = np.concatenate(solves)
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
        scatter = noise.mean(axis=1) + shared
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

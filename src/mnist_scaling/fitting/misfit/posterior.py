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
from mnist_scaling.fitting.frontier.parametric import Cost
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import STEP, Array, Law
from mnist_scaling.fitting.misfit.cells import Cells, cells_of
from mnist_scaling.fitting.misfit.process import Axes, Shape, design
from mnist_scaling.fitting.misfit.sampler import posterior_draws
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.noise import seed_scale

PARTICLES = 256
"""Draws of the unknown sizes, lengths and noise."""

SIZE = (np.log(0.03), 1.3)
"""Mean and standard deviation of ln b, b in units of half of the law's range of ln loss per half-span."""

LENGTH = (np.log(0.9), 0.5)
"""The same of a length in half-spans."""

LUCK = (np.log(0.3), 1.0)
"""The same of what cells scatter by beyond their repeats, in units of the repeats' noise: luck that tuning leaves."""

SPREAD = {"E": 0.5, "log": 2.0, "gamma": 1.0, "": 0.5}
"""Prior standard deviations of the laws' parameters around their optimum: E in lowest losses"""

SEARCHED = 3.0
"""Half-spans from the middle of the table in which a frontier is looked for."""

POINTS = 61
"""Sizes tried for each budget; the best is refined by a parabola."""

MOST_POINTS = 2_000
"""Points handled at once."""


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


@dataclass(frozen=True)
class SurfaceFrontier:
    """Where each surface is lowest at each budget; NaN where that is not inside of what was searched."""

    log_n: Array
    log_d: Array
    log_loss: Array
    """Each of shape (draws, m)."""
    exponents: Mapping[str, Array]
    """Of "N", "D" and "loss" in C, by a line through a draw's minima, shape (draws,); NaN with fewer than two."""


@dataclass(frozen=True)
class Posterior:
    """Draws of whole surfaces, the number to quote being the median of a quantity's draws."""

    law: Law
    """That of the largest weight."""
    axes: Axes
    parts: tuple[Part, ...]
    weights: Mapping[str, float]
    """Of each law."""

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

    def frontier(self, cost: Cost, log_c: Array) -> SurfaceFrontier:
        """The compute-efficient frontier of every draw.

        Parameters
        ----------
        cost : Cost
        log_c : array, shape (m,)
            Budgets.
        """
        log_c = np.atleast_1d(np.asarray(log_c, float))
        low, high = self._searched(cost, log_c)
        log_n = low[:, None] + np.maximum(high - low, 0.0)[:, None] * np.linspace(0, 1, POINTS)
        log_d = (log_c[:, None] - cost.constant - cost.kappa_n * log_n) / cost.kappa_d
        surface = self.log_loss({"N": log_n.ravel(), "D": log_d.ravel()}).reshape(-1, *log_n.shape)
        shift, value = _lowest(surface)
        step = (high - low) / (POINTS - 1)
        best_n = np.where(step > 0, low + step * shift, np.nan)
        best_d = (log_c - cost.constant - cost.kappa_n * best_n) / cost.kappa_d
        value = np.where(np.isfinite(best_n), value, np.nan)
        lines = {k: _line(log_c, y) for k, y in (("N", best_n), ("D", best_d), ("loss", value))}
        return SurfaceFrontier(best_n, best_d, value, lines)

    def _searched(self, cost: Cost, log_c: Array) -> tuple[Array, Array]:
        """Smallest and largest log N of each budget such that N and D lie in the searched range."""
        reach = SEARCHED * self.axes.half
        (n_low, d_low), (n_high, d_high) = self.axes.middle - reach, self.axes.middle + reach
        ends = [(log_c - cost.constant - cost.kappa_d * d) / cost.kappa_n for d in (d_high, d_low)]
        return np.maximum(n_low, ends[0]), np.minimum(n_high, ends[1])


def _lowest(surface: Array) -> tuple[Array, Array]:
    """Position (in steps) and value of the minimum along the last axis; NaN at its ends."""
    at = surface.argmin(axis=-1)
    inside = np.clip(at, 1, surface.shape[-1] - 2)
    low, middle, high = (np.take_along_axis(surface, inside[..., None] + k, -1)[..., 0] for k in (-1, 0, 1))
    bend = low - 2 * middle + high
    with np.errstate(all="ignore"):
        shift = np.where(bend > 0, 0.5 * (low - high) / bend, 0.0)
    good = at == inside
    return np.where(good, inside + shift, np.nan), np.where(good, middle - 0.25 * (low - high) * shift, np.nan)


def _line(x: Array, y: Array) -> Array:
    """Least-squares slope of y (draws, m) in x (m,), over what is not NaN; NaN with fewer than two points."""
    known = np.isfinite(y)
    number = known.sum(axis=1)
    with np.errstate(all="ignore"):
        dx = np.where(known, x - np.where(known, x, 0.0).sum(axis=1, keepdims=True) / number[:, None], 0.0)
        return np.asarray(
            (dx * np.where(known, y, 0.0)).sum(axis=1) / np.where(number > 1, (dx**2).sum(axis=1), np.nan)
        )


def surface(table: Table, draws: int, rng: np.random.Generator, laws: Sequence[str] | None = None) -> Posterior:
    """The posterior of one table, whose law may be wrong.

    Parameters
    ----------
    table : Table
        Rows, one for each cell; with or without standard errors of repeats.
    draws : int
    rng : numpy.random.Generator
        The draws depend on it and the table only.
    laws : sequence of str, optional
        Base laws, of the same inputs; the usual ones for the table's inputs when left out.

    Raises
    ------
    InputError
        When the table can hold none of the laws.
    """
    names = tuple(laws) if laws else _usual(table)
    axes = Axes.of(table.logs(get_law(names[0]).inputs))
    fits = _fits(table, axes, names)
    cells = cells_of(table, axes, fits[0])
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
    return Posterior(models[int(weights.argmax())].fit.law, axes, tuple(parts), by_name)


def _usual(table: Table) -> tuple[str, ...]:
    if table.has(("N", "D")):
        return ("coupled", "multiplicative_floor")
    return (f"power_{next(k for k in ('N', 'D', 'C') if k in table.inputs)}_floor",)


def _fits(table: Table, axes: Axes, names: Sequence[str]) -> list[Fit]:
    """Each law that the table can hold, fitted around the middle of the table; the plane where it holds none."""
    logs, scale, out, refusal = axes.centred(table.logs(axes.names)), seed_scale(table), [], None
    for name in names:
        try:
            out.append(fit_law(get_law(name), logs, table.y, seeds=scale))
        except InputError as error:
            refusal = error
    if out:
        return out
    plane = "multiplicative" if len(axes.names) == 2 else f"power_{axes.names[0]}"
    if refusal is not None and plane in names:
        raise refusal
    return [fit_law(get_law(plane), logs, table.y, seeds=scale)]


class _Model:
    """One law with a misfit, linearised at its optimum: the likelihood of the unknowns, and draws given them."""

    def __init__(self, fit: Fit, cells: Cells, axes: Axes) -> None:
        self.fit, self.cells = fit, cells
        self.features = axes.features({k: x + m for (k, x), m in zip(cells.logs.items(), axes.middle, strict=True)})
        value, jacobian = fit.law.evaluate(fit.theta[None], cells.logs)
        self.residual = cells.y - value[0]
        self.jacobian = jacobian[0] * _spread(fit.law, cells.y)[:, None]
        self.of_law = self.jacobian.T @ self.jacobian
        self.unit = max(float(np.ptp(value)) / 2, 1e-6)
        self.sizes = 1 if len(axes.names) == 1 else 3
        self.unknowns = self.sizes + len(axes.names) + 2

    def _shape(self, z: Array) -> Shape:
        size, length = z[:, : self.sizes], z[:, self.sizes : -2]
        return Shape(self.unit * np.exp(SIZE[0] + SIZE[1] * size), np.exp(LENGTH[0] + LENGTH[1] * length))

    def _noise(self, z: Array) -> Array:
        """Variance of every cell, shape (batch, m)."""
        variance, (mean, deviation) = self.cells.variance, self.cells.log_factor
        factor, luck = np.exp(mean + deviation * z[:, -2:-1]), np.exp(LUCK[0] + LUCK[1] * z[:, -1:])
        return factor * (variance + luck**2 * variance.mean())

    def _cholesky(self, z: Array) -> Array:
        covariance = self._shape(z).covariance(self.features) + self.of_law
        index = np.arange(len(self.residual))
        covariance[:, index, index] += self._noise(z) + 1e-12
        return np.linalg.cholesky(covariance)

    def log_likelihood(self, z: Array) -> Array:
        """Of unknowns of shape (batch, unknowns), up to a constant: shape (batch,)."""
        most = max(1, 2_000_000 // len(self.residual) ** 2)
        if len(z) > most:
            return np.concatenate([self.log_likelihood(z[k : k + most]) for k in range(0, len(z), most)])
        root = self._cholesky(z)
        white = np.linalg.solve(root, np.broadcast_to(self.residual[:, None], (len(z), len(self.residual), 1)))[..., 0]
        return -0.5 * (white**2).sum(axis=1) - np.log(np.einsum("bii->bi", root)).sum(axis=1)

    def draw(self, z: Array, rng: np.random.Generator) -> Part:
        """One surface for each row of unknowns."""
        shape, noise = self._shape(z), self._noise(z)
        variances, waves = np.concatenate(shape.variances(), axis=1), design(self.features)
        prior = np.sqrt(variances) * rng.standard_normal(variances.shape)
        errors = np.sqrt(noise) * rng.standard_normal(noise.shape)
        of_law = rng.standard_normal((len(z), len(self.jacobian))) @ self.jacobian
        left = self.residual - prior @ waves.T - of_law - errors
        root = self._cholesky(z)
        solved = np.linalg.solve(root.transpose(0, 2, 1), np.linalg.solve(root, left[..., None]))[..., 0]
        coefficients = prior + variances * (solved @ waves)
        g = coefficients @ waves.T
        y = self.cells.y - g + np.sqrt(noise) * rng.standard_normal(noise.shape)
        weights = noise.mean(axis=1, keepdims=True) / noise
        problem = Problem(self.fit.law, self.cells.logs, y, weights)
        theta = minimise(
            problem, np.repeat(self.fit.theta[None], len(z), axis=0), max_iterations=60, tolerance=1e-7
        ).theta
        basis = np.linalg.svd(self.jacobian.T, full_matrices=False)[0]
        beyond = g - (g @ basis) @ basis.T
        return Part(self.fit.law, theta, coefficients, np.sqrt((beyond**2).mean(axis=1)))


def _spread(law: Law, y: Array) -> Array:
    """Prior standard deviations of a law's parameters, shape (p,)."""
    out = [SPREAD["log"] if p.log else SPREAD.get(p.name, SPREAD[""]) for p in law.parameters]
    scale = [float(np.exp(y.min())) if p.name == "E" else 1.0 for p in law.parameters]
    return np.array(out) * scale

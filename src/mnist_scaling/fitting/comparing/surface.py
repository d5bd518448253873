"""Both arms as smooth surfaces over log sizes, with the noise of their cells, and draws of both at once.

    log L_arm(x) = c + sum_i b_i x_i + sum_ij q_ij x_i x_j        x = log N, log D

The surface is not a law. It measures the noise, because curvature of the loss is no noise, and it gives the loss
between cells. Everything is linear in the log losses, so that what both arms share in a cell cancels exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mnist_scaling.fitting.comparing.pairing import Cells, PairNoise
from mnist_scaling.fitting.estimation.variance import pool, squeeze
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.noise import LARGEST_LEVERAGE, seed_noise

RATIO = np.array([-1.0, 1.0])
"""What makes the log ratio of two log losses (a, b)."""

FEWEST_FREE = 3
"""Degrees of freedom that a curved surface must leave; a plane is fitted where it would leave fewer."""

SUSPECT = 0.2
"""Level of the F test between the scatter about the surface and that of the repeats. It is easily rejected, because
cells that are tuned apart scatter by their tuning, too, which repeats of one setting can't show."""

BENT, FREE_WHEN_BENT = 0.2, 15
"""Level of the F test for cubic terms of the log ratio, and degrees of freedom that they must leave. Without them a
ratio that bends twice, as between laws with floors, held the true multiplier in 80 % of simulations instead of 95."""


@dataclass(frozen=True)
class Surfaces:
    """The surfaces of two arms over the same basis, and the noise of their cells."""

    cells: Cells
    centre: Array
    """Where x is counted from, shape (variables,)."""
    terms: tuple[tuple[int, ...], ...]
    """The basis: () is 1, (0,) is x_0, (0, 1) is x_0 x_1."""
    solve: tuple[Array, Array]
    """Coefficients of a and of b from the log losses of both, (y_a, y_b): shape (terms, rows of both)."""
    covariance: Array
    """Of the noise of (a, b) in one cell, shape (2, 2)."""
    spread: Array
    """Factor on the noise of each row, shape (rows of both,)."""
    dof: float
    """Degrees of freedom of the noise."""

    @property
    def y(self) -> Array:
        """Log losses of a, then of b."""
        return np.concatenate(self.cells.y)

    def basis(self, x: Array) -> Array:
        """Values of the terms at log sizes of shape (…, variables): shape (…, terms)."""
        return basis(np.asarray(x) - self.centre, self.terms)

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Noise of (y_a, y_b), shape (number, rows of both), and the standard normal numbers behind it."""
        n = len(self.cells.a)
        root = _root(self.covariance)
        if self.cells.paired:
            normal = rng.standard_normal((number, n, 2)) @ root.T
            noise = np.concatenate([normal[:, :, 0], normal[:, :, 1]], axis=1)
        else:
            sizes = np.repeat(np.sqrt(np.diag(self.covariance)), [n, len(self.cells.b)])
            noise = rng.standard_normal((number, len(sizes))) * sizes
        scale = np.repeat(np.sqrt(np.maximum(np.diag(self.covariance), 1e-300)), [n, len(self.cells.b)])
        return noise * self.spread, noise / scale


def basis(x: Array, terms: tuple[tuple[int, ...], ...]) -> Array:
    """Products of the columns of x, one per term: shape (…, terms)."""
    return np.stack([np.prod([x[..., k] for k in term] or [np.ones(x.shape[:-1])], axis=0) for term in terms], -1)


def fit_surfaces(cells: Cells) -> Surfaces:
    """Fit both arms by least squares: each its own surface where cells are paired, else with shared curvature."""
    x_a, x_b = cells.x
    low, high = cells.corners
    centre = x_a.mean(axis=0) if cells.paired else (low + high) / 2
    x_a, x_b = x_a - centre, x_b - centre
    n = len(x_a)
    linear = ((), *((k,) for k in range(len(centre))))
    curved = _curved(x_a, x_b)
    if (n if cells.paired else n + len(x_b) - len(linear)) - len(linear) - len(curved) < FEWEST_FREE:
        curved = ()
    terms = (*linear, *curved)
    if cells.paired and curved:
        terms = (*terms, *_cubic(x_a, np.subtract(*cells.y), terms))
    if cells.paired:
        inverse = np.linalg.pinv(basis(x_a, terms))
        empty = np.zeros_like(inverse)
        solve = (np.hstack([inverse, empty]), np.hstack([empty, inverse]))
    else:
        solve = _shared_curvature(x_a, x_b, linear, curved)
    design = (basis(x_a, terms), basis(x_b, terms))
    covariance, spread, dof = _noise(cells, design, solve)
    return Surfaces(cells, centre, terms, solve, covariance, spread, dof)


def _curved(x_a: Array, x_b: Array) -> tuple[tuple[int, ...], ...]:
    """Squares of the variables with three levels in both arms, and the product of two variables."""
    count = [min(len(np.unique(np.round(x[:, k], 6))) for x in (x_a, x_b)) for k in range(x_a.shape[1])]
    squares = [(k, k) for k, levels in enumerate(count) if levels >= 3]
    return (*squares, *([(0, 1)] if len(count) == 2 else []))


def _cubic(x: Array, ratio: Array, terms: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """Cubic terms, where the log ratio of the arms shows them."""
    squares = [term for term in terms if len(term) == 2 and term[0] == term[1]]
    more = {tuple(sorted((*square, k))) for square in squares for k in range(x.shape[1])}
    more = {t for t in more if len(set(t)) > 1 or len(np.unique(np.round(x[:, t[0]], 6))) >= 4}
    bent = (*terms, *sorted(more))
    free = len(x) - len(bent)
    if not more or free < FREE_WHEN_BENT:
        return ()
    plain, full = (float(_residual(basis(x, t), ratio) @ _residual(basis(x, t), ratio)) for t in (terms, bent))
    statistic = (plain - full) / len(more) / max(full / free, 1e-300)
    return tuple(sorted(more)) if stats.f.sf(statistic, len(more), free) < BENT else ()


def _residual(design: Array, y: Array) -> Array:
    return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]


def _shared_curvature(
    x_a: Array, x_b: Array, linear: tuple[tuple[int, ...], ...], curved: tuple[tuple[int, ...], ...]
) -> tuple[Array, Array]:
    """Arms on different cells: level and slopes of each arm, one curvature, which would pass for a slope else."""
    plane_a, plane_b = basis(x_a, linear), basis(x_b, linear)
    rows = [
        np.hstack([plane_a, np.zeros_like(plane_a), basis(x_a, curved) if curved else np.empty((len(x_a), 0))]),
        np.hstack([np.zeros_like(plane_b), plane_b, basis(x_b, curved) if curved else np.empty((len(x_b), 0))]),
    ]
    inverse = np.linalg.pinv(np.vstack(rows))
    p = len(linear)
    return np.vstack([inverse[:p], inverse[2 * p :]]), np.vstack([inverse[p : 2 * p], inverse[2 * p :]])


def _noise(cells: Cells, design: tuple[Array, Array], solve: tuple[Array, Array]) -> tuple[Array, Array, float]:
    """Covariance of the noise, factor of each row, degrees of freedom.

    The scatter about the surfaces and that of the repeats are pooled as in a fit (`variance.pool`): where cells are
    paired by the noise of the log ratio in repeats of shared seeds, else arm by arm by standard errors. Rows differ in
    noise as far as a test sees it (`variance.squeeze`).
    """
    y, n = np.concatenate(cells.y), len(cells.a)
    residual = y - np.concatenate([design[0] @ solve[0] @ y, design[1] @ solve[1] @ y])
    hat = np.concatenate(
        [np.einsum("ij,ji->i", design[0], solve[0][:, :n]), np.einsum("ij,ji->i", design[1], solve[1][:, n:])]
    )
    free = np.maximum(1 - hat, 1 - LARGEST_LEVERAGE)
    if not cells.paired:
        parts = [
            _of_arm(residual[rows], free[rows], table)
            for rows, table in ((slice(None, n), cells.a), (slice(n, None), cells.b))
        ]
        covariance = np.diag([variance for variance, _ in parts])
        own = residual**2 / free / np.repeat(np.maximum(np.diag(covariance), 1e-300), [n, len(y) - n])
        return covariance, _factors(own, np.concatenate(cells.x)), sum(dof for _, dof in parts)
    pair = np.stack([residual[:n], residual[n:]], axis=1)
    dof = max(float((1 - hat[:n]).sum()), 0.0)
    covariance = pair.T @ pair / dof if dof > 0.5 else np.full((2, 2), np.nan)
    covariance, dof = _pooled(covariance, dof, cells.seeds)
    size = float(RATIO @ covariance @ RATIO)
    own = (pair @ RATIO) ** 2 / free[:n] / max(size, 1e-300)
    return covariance, np.tile(_factors(own, cells.x[0]), 2), dof


def _of_arm(residual: Array, free: Array, table: Table) -> tuple[float, float]:
    """Variance of the noise of one arm's rows, and its degrees of freedom."""
    seeds = seed_noise(table)
    of_seeds, dof = (0.0, 0.0) if seeds is None else (float(seeds.variance.mean()), seeds.dof)
    variance, total, _, _ = pool(float((residual**2).sum() / free.sum()), float(free.sum()), of_seeds, dof, SUSPECT)
    return variance, total


def _pooled(covariance: Array, dof: float, seeds: PairNoise | None) -> tuple[Array, float]:
    if seeds is None:
        return covariance, dof
    about, repeats = (float(RATIO @ c @ RATIO) for c in (covariance, seeds.covariance))
    if not np.isfinite(about):
        return seeds.covariance, seeds.dof
    if repeats <= 0:
        return covariance, dof
    _, total, _, _ = pool(about, dof, repeats, seeds.dof, SUSPECT)
    if total <= dof:
        return covariance, dof
    return (covariance * dof + seeds.covariance * seeds.dof) / total, total


def _factors(own: Array, x: Array) -> Array:
    """Standard deviation of each row relative to the pooled one; its mean square is 1."""
    if not np.isfinite(own).all() or not own.any():
        return np.ones_like(own)
    variance = squeeze(own, np.ones(len(own)), x).variance
    return np.sqrt(variance / variance.mean())


def _root(covariance: Array) -> Array:
    """A matrix whose product with its transpose is the covariance, also where it is singular."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0))

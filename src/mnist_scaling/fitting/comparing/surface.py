"""Both arms as smooth surfaces over log sizes, with the noise of their cells, and draws of both at once.

    log L_arm(x) = c + sum_i b_i x_i + sum_ij q_ij x_i x_j        x = log N, log D

The surface is not a law. It measures the noise, because curvature of the loss is no noise, and it gives the loss
between cells. Everything is linear in the log losses, so that what both arms share in a cell cancels exactly. The noise
is that of the seeds, and what the tuning of each arm left to luck (`uncertainty.luck`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mnist_scaling.fitting.comparing.pairing import Cells
from mnist_scaling.fitting.estimation.variance import squeeze
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.luck import Field, Luck, Numbers, luck
from mnist_scaling.fitting.uncertainty.noise import LARGEST_LEVERAGE, seed_noise

RATIO = np.array([-1.0, 1.0])
"""What makes the log ratio of two log losses (a, b)."""

FEWEST_FREE = 3
"""Degrees of freedom that a curved surface must leave; a plane is fitted where it would leave fewer."""

FEWEST_BENT = 13
"""Cells from which luck is what a curved mean leaves; of fewer a curve would leave too little to see luck by."""

LEAST_SHARE = 1e-3
"""The noise of a twin's seeds counts at least as this share of s^2."""

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
    """Of (a, b) in one cell, as the scatter about the surfaces and the repeats show it together, shape (2, 2)."""
    shape: Array
    """Covariance of the seeds' noise of (a, b) in one cell over s^2, shape (2, 2)."""
    spread: Array
    """Factor on the seeds' noise of each row, shape (rows of both,)."""
    luck: Luck
    """s^2, and what tuning left."""
    fields: tuple[Field | None, Field | None]
    """The cells of each arm, in which it was tuned; None where it was not and the other one was."""

    @property
    def dof(self) -> float:
        """Degrees of freedom of the noise."""
        return self.luck.dof

    @property
    def y(self) -> Array:
        """Log losses of a, then of b."""
        return np.concatenate(self.cells.y)

    def basis(self, x: Array) -> Array:
        """Values of the terms at log sizes of shape (…, variables): shape (…, terms)."""
        return basis(np.asarray(x) - self.centre, self.terms)

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Noise of (y_a, y_b), shape (number, rows of both), and the same in units of what one arm's scatter shows.

        The latter are for fits that widen their intervals themselves, so s is not drawn for them. Both are NaN where
        nothing is left to measure noise by.
        """
        n = len(self.cells.a)
        if not self.dof > 0:
            return (np.full((number, len(self.spread)), np.nan),) * 2
        points, s = self.luck.draw(number, rng)
        if self.cells.paired:
            pair = rng.standard_normal((number, n, 2)) @ _root(self.shape).T
            own = np.concatenate([pair[:, :, 0], pair[:, :, 1]], axis=1)
        else:
            sizes = np.repeat(np.sqrt(np.diag(self.shape)), [n, len(self.cells.b)])
            own = rng.standard_normal((number, len(sizes))) * sizes
        noise = own * self.spread
        for field, rows in zip(self.fields, (slice(None, n), slice(n, None)), strict=True):
            if field is not None:
                noise[:, rows] += self.luck.field(points, field, rng)
        scale = np.repeat(np.sqrt(np.maximum(np.diag(self.covariance), 1e-300)), [n, len(self.cells.b)])
        return s[:, None] * noise, np.sqrt(self.luck.variance[points])[:, None] * noise / scale


def basis(x: Array, terms: tuple[tuple[int, ...], ...]) -> Array:
    """Products of the columns of x, one per term: shape (…, terms)."""
    return np.stack([np.prod([x[..., k] for k in term] or [np.ones(x.shape[:-1])], axis=0) for term in terms], -1)


def fit_surfaces(cells: Cells, twin: Cells | None = None) -> Surfaces:
    """Fit both arms by least squares: each its own surface where cells are paired, else with shared curvature.

    Parameters
    ----------
    cells : Cells
    twin : Cells, optional
        An arm and itself tuned again, which shows what tuning leaves.
    """
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
        inverse, p = np.linalg.pinv(_stacked(x_a, x_b, linear, curved)), len(linear)
        solve = (np.delete(inverse, slice(p, 2 * p), 0), inverse[p:])
    design = (basis(x_a, terms), basis(x_b, terms))
    residual, free = _residuals(cells, design, solve)
    if cells.paired:
        mean = basis(x_a, tuple(t for t in terms if len(t) < (3 if n >= FEWEST_BENT else 2)))
        return Surfaces(cells, centre, terms, solve, *_paired(cells, residual, free, mean, twin))
    mean = _stacked(x_a, x_b, linear, curved)
    return Surfaces(cells, centre, terms, solve, *_apart(cells, residual, free, mean, twin))


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


def _stacked(x_a: Array, x_b: Array, linear: tuple[tuple[int, ...], ...], curved: tuple[tuple[int, ...], ...]) -> Array:
    """Design of arms on different cells: level and slopes of each arm, and one curvature, which would pass for a slope
    else."""
    a, b = (basis(x, (*linear, *curved)) for x in (x_a, x_b))
    p = len(linear)
    return np.vstack([np.hstack([a[:, :p], 0 * a[:, :p], a[:, p:]]), np.hstack([0 * b[:, :p], b[:, :p], b[:, p:]])])


def _residuals(cells: Cells, design: tuple[Array, Array], solve: tuple[Array, Array]) -> tuple[Array, Array]:
    """What the surfaces leave of (y_a, y_b), and each row's degrees of freedom, shape (rows of both,) both."""
    y, n = np.concatenate(cells.y), len(cells.a)
    hat = np.concatenate(
        [np.einsum("ij,ji->i", design[0], solve[0][:, :n]), np.einsum("ij,ji->i", design[1], solve[1][:, n:])]
    )
    return y - np.concatenate([design[0] @ solve[0] @ y, design[1] @ solve[1] @ y]), 1 - hat


_Noise = tuple[Array, Array, Array, Luck, tuple[Field | None, Field | None]]
"""All that `Surfaces` knows of noise, in its order."""


def _paired(cells: Cells, residual: Array, free: Array, mean: Array, twin: Cells | None) -> _Noise:
    """Noise of pairs of cells: s^2 is that of the log ratio, in which both arms' luck meets."""
    n, field = len(cells.a), _field(cells.a, cells)
    pair, freedom = np.stack([residual[:n], residual[n:]], axis=1), float(free[:n].sum())
    about, seeds = pair.T @ pair, np.zeros((2, 2))
    known = 0.0
    if cells.seeds is not None and _ratio(cells.seeds.covariance) > 0:
        seeds, known = cells.seeds.covariance, cells.seeds.dof
    covariance = (about + known * seeds) / max(freedom + known, 1e-9)
    unit = seeds if known else covariance
    spread = _factors((pair @ RATIO) ** 2 / np.maximum(free[:n], 1 - LARGEST_LEVERAGE), field.x)
    lucky = [field if tuned or not any(cells.tuned) else None for tuned in cells.tuned]
    ratio = Numbers(np.subtract(*cells.y[::-1]), mean, spread**2, (field,), 2.0 - lucky.count(None))
    found = luck([ratio, *_again(twin, _ratio(unit))], _ratio(seeds), known)
    return covariance, unit / max(_ratio(unit), 1e-300), np.tile(spread, 2), found, (lucky[0], lucky[1])


def _apart(cells: Cells, residual: Array, free: Array, mean: Array, twin: Cells | None) -> _Noise:
    """Noise of arms on different cells: s^2 is the mean of both arms', which their scatter and repeats show."""
    n, arms, shown = len(cells.a), (cells.a, cells.b), []
    for rows, table in ((slice(None, n), cells.a), (slice(n, None), cells.b)):
        seeds = seed_noise(table)
        known = (0.0, 0.0) if seeds is None else (float(seeds.variance.mean()), seeds.dof)
        shown.append((float((residual[rows] ** 2).sum()), float(free[rows].sum()), *known))
    square, freedom, variance, dof = np.array(shown).T
    usual = np.maximum((square + dof * variance) / np.maximum(freedom + dof, 1e-9), 1e-300)
    unit, each = float(usual.mean()), np.repeat(usual, [len(arm) for arm in arms])
    spread = _factors(residual**2 / np.maximum(free, 1 - LARGEST_LEVERAGE) / each, np.concatenate(cells.x))
    fields = _field(cells.a, cells), _field(cells.b, cells)
    losses = Numbers(np.concatenate(cells.y), mean, each / unit * spread**2, fields)
    by_seeds = float(dof @ (variance / usual)) * unit / max(float(dof.sum()), 1e-9)
    found = luck([losses, *_again(twin, unit)], by_seeds, float(dof.sum()))
    return np.diag(usual), np.diag(usual) / unit, spread, found, fields


def _field(table: Table, cells: Cells) -> Field:
    return Field(np.column_stack([np.log(table.inputs[k]) for k in cells.variables]), cells.variables, any(cells.tuned))


def _again(twin: Cells | None, unit: float) -> list[Numbers]:
    """The log ratio of an arm and of itself tuned again: luck twice, and the seeds of both."""
    if twin is None:
        return []
    seeds = [found for table in (twin.a, twin.b) if (found := seed_noise(table)) is not None]
    noise = sum(float(found.variance.mean()) for found in seeds) if len(seeds) == 2 else unit
    if twin.seeds is not None:
        noise = _ratio(twin.seeds.covariance)
    n = len(twin.a)
    own = np.full(n, max(noise / max(unit, 1e-300), LEAST_SHARE))
    return [Numbers(np.subtract(*twin.y[::-1]), np.empty((n, 0)), own, (_field(twin.a, twin),), 2.0)]


def _ratio(covariance: Array) -> float:
    """Variance of the log ratio of (a, b)."""
    return float(RATIO @ covariance @ RATIO)


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

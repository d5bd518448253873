"""The noise of two arms' log losses: that of the seeds, and what the tuning of each arm left to luck.

    y_arm = surface + e_arm + l_arm        e = s shape^(1/2) normal, of a and b in a cell        l: `uncertainty.luck`

Where cells are paired, s^2 is the variance of the log ratio of a cell, in which what a seed gives to both arms cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.comparing.pairing import Cells
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.luck import Field, Luck, Numbers, luck, ratios, spread
from mnist_scaling.fitting.uncertainty.noise import seed_noise

RATIO = np.array([-1.0, 1.0])
"""What makes the log ratio of two log losses (a, b)."""

LEAST_SHARE = 1e-3
"""The noise of a twin's seeds counts at least as this share of s^2."""


@dataclass(frozen=True)
class ArmNoise:
    """The noise of the rows of two arms, those of a and then those of b."""

    paired: bool
    sizes: tuple[int, int]
    """Rows of each arm."""
    covariance: Array
    """Of (a, b) in one cell, as the scatter about the surfaces and the repeats show it together, shape (2, 2)."""
    shape: Array
    """Covariance of the seeds' noise of (a, b) in one cell over s^2, shape (2, 2)."""
    spread: Array
    """Factor on the seeds' noise of each row, shape (rows of both,)."""
    luck: Luck
    """s^2, and what tuning left."""
    fields: tuple[Field, Field]
    """The cells of each arm. What differs from cell to cell in an arm that was not tuned counts as luck, too."""

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Noise of (y_a, y_b), shape (number, rows of both), and the same in units of what one arm's scatter shows.

        The latter are for fits that widen their intervals themselves, so s is not drawn for them. Both are NaN where
        nothing is left to measure noise by.
        """
        n = self.sizes[0]
        if not self.luck.dof > 0:
            return (np.full((number, len(self.spread)), np.nan),) * 2
        points, s = self.luck.draw(number, rng)
        if self.paired:
            pair = rng.standard_normal((number, n, 2)) @ _root(self.shape).T
            own = np.concatenate([pair[:, :, 0], pair[:, :, 1]], axis=1)
        else:
            sizes = np.repeat(np.sqrt(np.diag(self.shape)), self.sizes)
            own = rng.standard_normal((number, len(sizes))) * sizes
        left = np.concatenate([self.luck.field(points, field, rng) for field in self.fields], axis=1)
        noise = own * self.spread + left
        scale = np.repeat(np.sqrt(np.maximum(np.diag(self.covariance), 1e-300)), self.sizes)
        return s[:, None] * noise, np.sqrt(self.luck.variance[points])[:, None] * noise / scale


def of_pairs(cells: Cells, residual: Array, free: Array, twin: Cells | None) -> ArmNoise:
    """Noise of paired cells.

    Parameters
    ----------
    cells : Cells
    residual, free : array, shape (rows of both,)
        What the surfaces leave of the log losses, and each row's degrees of freedom.
    twin : Cells, optional
        An arm and itself tuned again.
    """
    n = len(cells.a)
    pair, freedom = np.stack([residual[:n], residual[n:]], axis=1), float(free[:n].sum())
    about, seeds = pair.T @ pair, np.zeros((2, 2))
    known = 0.0
    if cells.seeds is not None and _ratio(cells.seeds.covariance) > 0:
        seeds, known = cells.seeds.covariance, cells.seeds.dof
    covariance = (about + known * seeds) / max(freedom + known, 1e-9)
    unit = seeds if known else covariance
    field = _field(cells.a, cells)
    ratio = ratios(np.subtract(*cells.y[::-1]), field, 2.0)
    found = luck([ratio, *_again(twin, cells, _ratio(unit), _ratio(unit))], _ratio(seeds), known)
    shape = unit / max(_ratio(unit), 1e-300)
    return ArmNoise(True, (n, n), covariance, shape, np.tile(np.sqrt(ratio.own), 2), found, (field, field))


def of_others(cells: Cells, residual: Array, free: Array, mean: Array, twin: Cells | None) -> ArmNoise:
    """Noise of arms on different cells: s^2 is the mean of both arms', which their scatter and repeats show.

    Parameters
    ----------
    cells, residual, free, twin
        As in `of_pairs`.
    mean : array, shape (rows of both, coefficients)
        Design of both surfaces.
    """
    n, sizes, shown = len(cells.a), (len(cells.a), len(cells.b)), []
    for rows, table in ((slice(None, n), cells.a), (slice(n, None), cells.b)):
        seeds = seed_noise(table)
        known = (0.0, 0.0) if seeds is None else (float(seeds.variance.mean()), seeds.dof)
        shown.append((float((residual[rows] ** 2).sum()), float(free[rows].sum()), *known))
    square, freedom, variance, dof = np.array(shown).T
    usual = np.maximum((square + dof * variance) / np.maximum(freedom + dof, 1e-9), 1e-300)
    unit, each = float(usual.mean()), np.repeat(usual, sizes)
    y = np.concatenate(cells.y)
    factor = spread(y / np.sqrt(each), mean / np.sqrt(each)[:, None], np.concatenate(cells.x))
    fields = _field(cells.a, cells), _field(cells.b, cells)
    losses = Numbers(y, mean, each / unit * factor**2, fields)
    by_seeds = float(dof @ (variance / usual)) * unit / max(float(dof.sum()), 1e-9)
    found = luck([losses, *_again(twin, cells, unit, 2 * unit)], by_seeds, float(dof.sum()))
    return ArmNoise(False, sizes, np.diag(usual), np.diag(usual) / unit, factor, found, fields)


def _field(table: Table, cells: Cells) -> Field:
    return Field(np.column_stack([np.log(table.inputs[k]) for k in cells.variables]), cells.variables, cells.tuned)


def _again(twin: Cells | None, cells: Cells, unit: float, noise: float) -> list[Numbers]:
    """The log ratio of an arm and of itself tuned again: luck twice, and the seeds of both.

    An arm without tuning has no luck, so beside tuned cells its twin shows the noise of seeds alone.

    Parameters
    ----------
    twin, cells : Cells
        The twin, and the arms that are compared.
    unit, noise : float
        s^2, and the variance of such a ratio by seeds where the twin has no repeats.
    """
    if twin is None:
        return []
    seeds = [found for table in (twin.a, twin.b) if (found := seed_noise(table)) is not None]
    if len(seeds) == 2:
        noise = sum(float(found.variance.mean()) for found in seeds)
    if twin.seeds is not None:
        noise = _ratio(twin.seeds.covariance)
    n = len(twin.a)
    own = np.full(n, max(noise / max(unit, 1e-300), LEAST_SHARE))
    times = 2.0 if twin.tuned or not cells.tuned else 0.0
    return [Numbers(np.subtract(*twin.y[::-1]), np.empty((n, 0)), own, (_field(twin.a, cells),), times)]


def _ratio(covariance: Array) -> float:
    """Variance of the log ratio of (a, b)."""
    return float(RATIO @ covariance @ RATIO)


def _root(covariance: Array) -> Array:
    """A matrix whose product with its transpose is the covariance, also where it is singular."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0))

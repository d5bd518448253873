"""Both arms as smooth surfaces over log sizes, with the noise of their cells, and draws of both at once.

    log L_arm(x) = c + sum_i b_i x_i + sum_ij q_ij x_i x_j        x = log N, log D

The surface is not a law. It measures the noise, because curvature of the loss is no noise, and it gives the loss
between cells. Everything is linear in the log losses, so that what both arms share in a cell cancels exactly.

    y_arm = surface + e_arm + l_arm        e = s shape^(1/2) normal, of a and b in a cell        l: `uncertainty.luck`

The noise e is that of the seeds, and l is what the tuning of each arm left to luck. Where cells are paired, s^2 is the
variance of the log ratio of a cell, in which what a seed gives to both arms cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.comparing.pairing import Cells, of_ratio
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table, level_of
from mnist_scaling.fitting.uncertainty.luck import Field, Luck, Numbers, luck, ratios, spread
from mnist_scaling.fitting.uncertainty.noise import mean_and_dof, seed_noise

FEWEST_FREE = 3
"""Degrees of freedom that a curved surface must leave; a plane is fitted where it would leave fewer."""


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
    noise: ArmNoise

    @property
    def y(self) -> Array:
        """Log losses of a, then of b."""
        return np.concatenate(self.cells.y)

    def basis(self, x: Array) -> Array:
        """Values of the terms at log sizes of shape (…, variables): shape (…, terms)."""
        return basis(np.asarray(x) - self.centre, self.terms)


def basis(x: Array, terms: tuple[tuple[int, ...], ...]) -> Array:
    """Products of the columns of x, one per term: shape (…, terms)."""
    return np.stack([np.prod([x[..., k] for k in term] or [np.ones(x.shape[:-1])], axis=0) for term in terms], -1)


def fit_surfaces(cells: Cells, twin: Cells | None = None) -> Surfaces:
    """Fit both arms by least squares: each its own surface where cells are paired, else with shared curvature.

    A twin, which is an arm and itself tuned again, shows what tuning leaves.
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
    design = (basis(x_a, terms), basis(x_b, terms))
    if cells.paired:
        solve = apart(*design)
        noise = _of_pairs(cells, *_residuals(cells, design, solve), twin)
    else:
        stacked, p = _stacked(design, len(linear)), len(linear)
        inverse = np.asarray(np.linalg.pinv(stacked), float)
        solve = (np.delete(inverse, slice(p, 2 * p), 0), inverse[p:])
        noise = _of_others(cells, *_residuals(cells, design, solve), stacked, twin)
    return Surfaces(cells, centre, terms, solve, noise)


def apart(a: Array, b: Array) -> tuple[Array, Array]:
    """Least-squares solutions of two designs, each from the log losses of both: shape (terms, rows of both)."""
    a, b = (np.asarray(np.linalg.pinv(design), float) for design in (a, b))
    return np.hstack([a, np.zeros_like(b)]), np.hstack([np.zeros_like(a), b])


def _curved(x_a: Array, x_b: Array) -> tuple[tuple[int, ...], ...]:
    """Squares of the variables with three levels in both arms, and the product of two variables."""
    count = [min(1 + level_of(x[:, k]).max() for x in (x_a, x_b)) for k in range(x_a.shape[1])]
    squares = [(k, k) for k, levels in enumerate(count) if levels >= 3]
    return (*squares, *([(0, 1)] if len(count) == 2 else []))


def _stacked(design: tuple[Array, Array], p: int) -> Array:
    """Design of arms on different cells: level and slopes, which are p, of each arm; a curvature of each would pass for
    a slope."""
    a, b = design
    return np.vstack([np.hstack([a[:, :p], 0 * a[:, :p], a[:, p:]]), np.hstack([0 * b[:, :p], b[:, :p], b[:, p:]])])


def _residuals(cells: Cells, design: tuple[Array, Array], solve: tuple[Array, Array]) -> tuple[Array, Array]:
    """What the surfaces leave of (y_a, y_b), and each row's degrees of freedom, shape (rows of both,) both."""
    y, n = np.concatenate(cells.y), len(cells.a)
    own = solve[0][:, :n], solve[1][:, n:]
    hat = np.concatenate([np.einsum("ij,ji->i", x, s) for x, s in zip(design, own, strict=True)])
    return y - np.concatenate([x @ s @ y for x, s in zip(design, solve, strict=True)]), 1 - hat


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
    by_seed: tuple[Array, Array] | None = None
    """`Cells.by_seed`, for numbers of one arm, and for differences of arms that share no seed; what the cells of a
    pair share cancels in theirs, so that their noise is independent in each cell."""
    shared: bool = False
    """Whether the arms' repeats have the same seeds."""

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Array, Array, tuple[Array, ...]]:
        """Noise of (y_a, y_b), shape (number, rows of both): of differences, in units of what one arm's scatter shows,
        and of each arm alone, of which the widest holds.

        The second are for fits that widen their intervals themselves, so s is not drawn for them. All are NaN where
        nothing is left to measure noise by.
        """
        n = self.sizes[0]
        if not self.luck.dof > 0:
            nothing = np.full((number, len(self.spread)), np.nan)
            return nothing, nothing, (nothing,)
        points, s = self.luck.draw(number, rng)
        if self.paired:
            values, vectors = np.linalg.eigh(self.shape)  # whose root exists where it is singular, too
            pair = rng.standard_normal((number, n, 2)) @ (vectors * np.sqrt(np.maximum(values, 0))).T
            own = np.concatenate([pair[:, :, 0], pair[:, :, 1]], axis=1)
        else:
            sizes = np.repeat(np.sqrt(np.diag(self.shape)), self.sizes)
            own = rng.standard_normal((number, len(sizes))) * sizes
        left = np.concatenate([self.luck.field(points, field, rng) for field in self.fields], axis=1)
        scale = np.repeat(np.sqrt(np.maximum(np.diag(self.covariance), 1e-300)), self.sizes)
        unit = np.sqrt(self.luck.variance[points])[:, None]
        noise = own * self.spread + left
        of_pairs, in_units = s[:, None] * noise, unit * noise / scale
        if self.by_seed is None:
            return of_pairs, in_units, (of_pairs,)
        # A seed gives its images and first weights to all cells: few numbers, so Student's t and not the normal.
        rng = rng.spawn(1)[0]
        drawn = [rng.standard_normal((number, len(one))) for one in self.by_seed]
        few = [np.sqrt((len(one) - 1) / rng.chisquare(len(one) - 1, number)) for one in self.by_seed]
        if self.shared:  # one seed is one draw in both arms
            drawn[1], few[1] = drawn[0], few[0]
        normal = np.concatenate([z @ one for z, one in zip(drawn, self.by_seed, strict=True)], axis=1)
        alone = s[:, None] * left + normal * np.repeat(few, self.sizes, axis=0).T
        noise = (of_pairs, in_units) if self.shared else (alone, (unit * left + normal) / scale)
        return *noise, (of_pairs, alone)


def _of_pairs(cells: Cells, residual: Array, free: Array, twin: Cells | None) -> ArmNoise:
    """Noise of paired cells, of whose log losses the surfaces leave residuals and degrees of freedom."""
    n = len(cells.a)
    pair, freedom = np.stack([residual[:n], residual[n:]], axis=1), float(free[:n].sum())
    about, seeds = pair.T @ pair, np.zeros((2, 2))
    known = 0.0
    if cells.seeds is not None and of_ratio(cells.seeds.covariance) > 0:
        seeds, known = cells.seeds.covariance, cells.seeds.dof
    covariance = (about + known * seeds) / max(freedom + known, 1e-9)
    unit = seeds if known else covariance
    field = _field(cells.a, cells)
    ratio = ratios(np.subtract(*cells.y[::-1]), field, 2.0)
    posterior = luck([ratio, *_again(twin, cells, of_ratio(unit), of_ratio(unit))], of_ratio(seeds), known)
    shape = unit / max(of_ratio(unit), 1e-300)
    factor, shared = np.tile(np.sqrt(ratio.own), 2), cells.seeds is not None and cells.seeds.shared
    return ArmNoise(True, (n, n), covariance, shape, factor, posterior, (field, field), cells.by_seed, shared)


def _of_others(cells: Cells, residual: Array, free: Array, mean: Array, twin: Cells | None) -> ArmNoise:
    """Noise of arms on different cells: s^2 is the mean of both arms', which their scatter and repeats show.

    The surfaces' design is `mean`, shape (rows of both, coefficients).
    """
    n, sizes, shown = len(cells.a), (len(cells.a), len(cells.b)), []
    for rows, table in ((slice(None, n), cells.a), (slice(n, None), cells.b)):
        known = mean_and_dof(seed_noise(table))
        shown.append((float((residual[rows] ** 2).sum()), float(free[rows].sum()), *known))
    square, freedom, variance, dof = np.array(shown).T
    usual = np.maximum((square + dof * variance) / np.maximum(freedom + dof, 1e-9), 1e-300)
    unit, each = float(usual.mean()), np.repeat(usual, sizes)
    y = np.concatenate(cells.y)
    factor = spread(y / np.sqrt(each), mean / np.sqrt(each)[:, None], np.concatenate(cells.x))
    fields = _field(cells.a, cells), _field(cells.b, cells)
    losses = Numbers(y, mean, each / unit * factor**2, fields)
    by_seeds = float(dof @ (variance / usual)) * unit / max(float(dof.sum()), 1e-9)
    posterior = luck([losses, *_again(twin, cells, unit, 2 * unit)], by_seeds, float(dof.sum()))
    return ArmNoise(False, sizes, np.diag(usual), np.diag(usual) / unit, factor, posterior, fields)


def _field(table: Table, cells: Cells) -> Field:
    return Field(np.column_stack([np.log(table.inputs[k]) for k in cells.variables]), cells.variables, cells.tuned)


def _again(twin: Cells | None, cells: Cells, unit: float, noise: float) -> list[Numbers]:
    """The log ratio of an arm and of itself tuned again: luck twice, and the seeds of both.

    An arm without tuning has no luck, so beside tuned cells its twin shows the noise of seeds alone. `unit` is s^2, and
    `noise` the variance of such a ratio by seeds where the twin has no repeats.
    """
    if twin is None:
        return []
    seeds = [one for table in (twin.a, twin.b) if (one := seed_noise(table)) is not None]
    if len(seeds) == 2:
        noise = sum(float(one.variance.mean()) for one in seeds)
    if twin.seeds is not None:
        noise = of_ratio(twin.seeds.covariance)
    n = len(twin.a)
    own = np.full(n, max(noise / max(unit, 1e-300), LEAST_SHARE))
    times = 2.0 if twin.tuned or not cells.tuned else 0.0
    return [Numbers(np.subtract(*twin.y[::-1]), np.empty((n, 0)), own, (_field(twin.a, cells),), times)]

"""What the tuning of cells leaves to luck: an error that neighbouring cells share, and that repeats can't show.

    y = F b + e        e ~ N(0, s^2 (W + m q K))        K_ij = h_i h_j rho_D^(steps in D) rho_N^(steps in N)

Here y are numbers of cells, such as log ratios of two arms' losses, F their mean, s^2 W the noise of their seeds, and
q the variance of one arm's luck over s^2, of which a number holds m. Luck is larger with less data: h falls as
D^-1/8. Cells start from what their neighbours selected, which is why luck is handed on.

No grid of a few dozen cells shows q and both rho, so they are averaged over: a grid of them is weighed by the
restricted likelihood, which has b and s^2 integrated out, the latter together with the repeats' own estimate. Draws are
therefore of a mixture of Student's t. A twin, which is one arm tuned again, is such numbers without a mean.

Source: Patterson & Thompson 1971 (Biometrika 58:545); Rasmussen & Williams 2006, section 2.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy.linalg import block_diag

from mnist_scaling.fitting.estimation.variance import squeeze
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import level_of, places
from mnist_scaling.fitting.uncertainty.noise import LARGEST_LEVERAGE

ALONG_D, ALONG_N = (0.3, 0.5, 0.7, 0.85), (0.0, 0.2, 0.4, 0.6)
"""Correlations of neighbouring cells along D and along N that are tried. With 0 among those along D, where grids that
were tuned twice had 0.5 and 0.7, offset and alpha of 4 x 4 cells were held in 90 instead of 91 to 92 % of simulated
pairs of arms."""

SIZES = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
"""Values of q that are tried, each as likely as another before the cells are looked at."""

FALL = 0.125
"""Power of D by which the standard deviation of luck falls. With 0.25 the ratio at the largest of 4 x 4 cells was held
in 87 instead of 90 % of simulated pairs of arms whose luck does not fall; luck that falls as D^-1/4 is held, too."""

FEWEST_BENT = 13
"""Cells from which luck is what a curved mean leaves; of fewer a curve would leave too little to see luck by."""


@dataclass(frozen=True)
class Field:
    """The cells that one tuned grid has luck in."""

    x: Array
    """Log sizes, shape (cells, variables)."""
    variables: tuple[str, ...]
    """What the columns of x are: N, D or C."""
    tuned: bool = True
    """False: nothing was tuned, so cells have no luck in common, and their scatter is each one's own."""
    axes: Array | None = None
    """Numbers of the levels of what sets each variable, as x; by x where nothing is given."""

    @property
    def shapes(self) -> list[tuple[float, ...]]:
        """Correlations of neighbours along each variable that are tried."""
        if not self.tuned:
            return [(0.0,) * len(self.variables)]
        return list(product(*(ALONG_N if v == "N" else ALONG_D for v in self.variables)))

    @cached_property
    def steps(self) -> Array:
        """Steps of the grid between cells along each variable, shape (variables, cells, cells)."""
        steps = []
        given = self.axes is not None and len(np.unique(self.axes, axis=0)) == len(self.x)
        for column in (self.axes if given and self.axes is not None else places(self.x)).T:
            levels, place = np.unique(column, return_inverse=True)
            # Of sizes that are scattered, not on a grid, as many as lie side by side make one step.
            most = len(levels) if len(self.variables) == 1 else max(np.sqrt(len(column)), 2)
            scale = 1.0 if len(levels) <= len(column) / 2 else (most - 1) / max(len(levels) - 1, 1)
            steps.append(scale * np.abs(np.subtract.outer(place, place)))
        return np.array(steps)

    @property
    def usual(self) -> Array:
        """K on average over `shapes`, for a model that does not learn the shape."""
        return np.mean([self.correlation(shape) for shape in self.shapes], axis=0)

    def root(self, k: Array) -> Array:
        """R with R R' = k, which is of these cells; those at one place have one luck, and so one row."""
        kept, row = np.unique((self.steps.sum(axis=0) == 0).argmax(axis=1), return_inverse=True)
        return np.asarray(np.linalg.cholesky(k[np.ix_(kept, kept)])[row])

    def correlation(self, shape: Sequence[float]) -> Array:
        """K of one of `shapes`, whose diagonal has the mean 1."""
        k = np.prod([np.where(s == 0, 1.0, r**s) for r, s in zip(shape, self.steps, strict=True)], axis=0)
        if "D" in self.variables and self.tuned:
            z = self.x[:, self.variables.index("D")]
            h = np.exp(-FALL * (z - z.mean()))
            k = k * np.outer(h, h) / (h**2).mean()
        return np.asarray(k)


@dataclass(frozen=True)
class Numbers:
    """Numbers of cells that hold luck."""

    y: Array
    """Shape (n,)."""
    mean: Array
    """F, shape (n, p); p = 0 where the mean is known to be 0."""
    own: Array
    """W, shape (n,)."""
    fields: Sequence[Field]
    """The cells, in the order of y; cells of different fields share no luck."""
    times: float = 1.0
    """m: 2 of the ratio of two arms that were tuned apart."""

    def likelihood(self, shape: int) -> tuple[Array, Array, int]:
        """ln |W + m q K|, squares over it, both of what the mean leaves, by `SIZES`; and their degrees of freedom."""
        root = np.sqrt(self.own)
        k = block_diag(*(f.correlation(f.shapes[shape]) for f in self.fields)) / np.outer(root, root)
        values, vectors = np.linalg.eigh(self._rest.T @ k @ self._rest)
        z = vectors.T @ self._rest.T @ (self.y / root)
        spread = 1 + self.times * np.outer(SIZES, np.maximum(values, 0.0))
        return np.log(spread).sum(axis=1), (z**2 / spread).sum(axis=1), len(z)

    @cached_property
    def _rest(self) -> Array:
        """An orthonormal basis of what the mean leaves of y / sqrt(W), shape (n, n - rank)."""
        if not self.mean.shape[1]:
            return np.eye(len(self.y))
        left, values, _ = np.linalg.svd(self.mean / np.sqrt(self.own)[:, None])
        return left[:, int((values > 1e-9 * values[0]).sum()) :]


def ratios(y: Array, field: Field, times: float) -> Numbers:
    """Log ratios of two losses of a field's cells, `times` of which hold luck, with noise as unequal as a test sees."""
    mean = _smooth(field.x)
    return Numbers(y, mean, spread(y, mean, field.x) ** 2, (field,), times)


def _smooth(x: Array) -> Array:
    """Design of a plane, and of a curved surface where there are cells enough, shape (cells, coefficients)."""
    x = x - x.mean(axis=0)
    columns = [np.ones(len(x)), *x.T]
    if len(x) >= FEWEST_BENT:
        columns += [c**2 for c in x.T if level_of(c).max() >= 2]
        columns += [x.prod(axis=1)] * (x.shape[1] > 1)
    return np.column_stack(columns)


def spread(y: Array, mean: Array, x: Array) -> Array:
    """Standard deviation of each y about its mean relative to the usual one, as far as a test sees it, shape (n,)."""
    hat = mean @ np.linalg.pinv(mean)
    own = (y - hat @ y) ** 2 / np.maximum(1 - np.diag(hat), 1 - LARGEST_LEVERAGE)
    if not np.isfinite(own).all() or not own.any():
        return np.ones_like(own)
    variance = squeeze(own / own.mean(), np.ones(len(own)), x).variance
    return np.asarray(np.sqrt(variance / variance.mean()))


@dataclass(frozen=True)
class Luck:
    """The posterior of luck, on a grid of its shape and size."""

    shape: np.ndarray
    """Position in `Field.shapes`, shape (points,)."""
    q: Array
    weight: Array
    square: Array
    """Sum of squares of each point, which s^2 is drawn from."""
    dof: float
    """Degrees of freedom of s^2."""
    shapes: Sequence[tuple[float, ...]]

    @property
    def variance(self) -> Array:
        """s^2 of each point, shape (points,)."""
        return self.square / self.dof

    @property
    def sd(self) -> float:
        """Standard deviation that luck has in one arm's log loss, on average."""
        return float(np.sqrt(self.q * self.variance) @ self.weight)

    @property
    def neighbours(self) -> float:
        """Correlation of luck between neighbouring cells, on average over variables and over what luck there is."""
        share = self.q * self.variance * self.weight
        mean = np.array([np.mean(shape) for shape in self.shapes])[self.shape]
        return float(share @ mean / share.sum()) if share.sum() > 0 else 0.0

    def draw(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, Array]:
        """Points of the grid by their weights, and an s for each: shape (number,) both."""
        points = rng.choice(len(self.weight), number, p=self.weight)
        return points, np.sqrt(self.square[points] / rng.chisquare(self.dof, number))

    def field(self, points: np.ndarray, field: Field, rng: np.random.Generator) -> Array:
        """One arm's luck in units of s at drawn points: shape (points, cells)."""
        out = rng.standard_normal((len(points), len(field.x)))
        for shape in np.unique(self.shape[points]):
            rows = self.shape[points] == shape
            root = field.root(field.correlation(self.shapes[shape]))
            out[rows] = out[rows, : root.shape[1]] @ root.T
        return out * np.sqrt(self.q[points])[:, None]


def luck(numbers: Sequence[Numbers], seeds: float, dof: float) -> Luck:
    """The posterior of luck in numbers that share s^2, q and both correlations.

    `seeds` is s^2 as repeats show it, with `dof` degrees of freedom; both are 0 where nothing is known.
    """
    shapes = numbers[0].fields[0].shapes
    parts = [[of.likelihood(k) for of in numbers] for k in range(len(shapes))]
    free = sum(n for _, _, n in parts[0]) + dof
    square = np.array([sum(squares for _, squares, _ in part) for part in parts]) + dof * seeds
    square = np.maximum(square, 1e-300)
    height = -0.5 * np.array([sum(logs for logs, _, _ in part) for part in parts]) - 0.5 * free * np.log(square)
    weight = np.exp(height - height.max()).ravel()
    points = np.repeat(np.arange(len(shapes)), len(SIZES))
    return Luck(points, np.tile(SIZES, len(shapes)), weight / weight.sum(), square.ravel(), free, shapes)

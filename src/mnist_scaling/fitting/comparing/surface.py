"""Both arms as smooth surfaces over log sizes, with the noise of their cells, and draws of both at once.

    log L_arm(x) = c + sum_i b_i x_i + sum_ij q_ij x_i x_j        x = log N, log D

The surface is not a law. It measures the noise, because curvature of the loss is no noise, and it gives the loss
between cells. Everything is linear in the log losses, so that what both arms share in a cell cancels exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.comparing.arm_noise import ArmNoise, of_others, of_pairs
from mnist_scaling.fitting.comparing.pairing import Cells
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import level_of

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
    def dof(self) -> float:
        """Degrees of freedom of the noise."""
        return self.noise.luck.dof

    @property
    def y(self) -> Array:
        """Log losses of a, then of b."""
        return np.concatenate(self.cells.y)

    def basis(self, x: Array) -> Array:
        """Values of the terms at log sizes of shape (…, variables): shape (…, terms)."""
        return basis(np.asarray(x) - self.centre, self.terms)

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """`ArmNoise.draw`."""
        return self.noise.draw(number, rng)


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
    if cells.paired:
        a, b = (np.linalg.pinv(basis(x, terms)) for x in (x_a, x_b))
        solve = (np.hstack([a, np.zeros_like(b)]), np.hstack([np.zeros_like(a), b]))
    else:
        inverse, p = np.linalg.pinv(_stacked(x_a, x_b, linear, curved)), len(linear)
        solve = (np.delete(inverse, slice(p, 2 * p), 0), inverse[p:])
    design = (basis(x_a, terms), basis(x_b, terms))
    residual, free = _residuals(cells, design, solve)
    if cells.paired:
        noise = of_pairs(cells, residual, free, twin)
    else:
        noise = of_others(cells, residual, free, _stacked(x_a, x_b, linear, curved), twin)
    return Surfaces(cells, centre, terms, solve, noise)


def _curved(x_a: Array, x_b: Array) -> tuple[tuple[int, ...], ...]:
    """Squares of the variables with three levels in both arms, and the product of two variables."""
    count = [min(1 + level_of(x[:, k]).max() for x in (x_a, x_b)) for k in range(x_a.shape[1])]
    squares = [(k, k) for k, levels in enumerate(count) if levels >= 3]
    return (*squares, *([(0, 1)] if len(count) == 2 else []))


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

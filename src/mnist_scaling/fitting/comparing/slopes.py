"""Exponents of L ∝ N^-alpha D^-beta in both arms, their differences, and the offset between the arms.

    log(L_b / L_a) = offset - (alpha_b - alpha_a) log N - (beta_b - beta_a) log D      N, D from the middle of the grid

Where the cells are paired it is the ratio of the two losses of each cell that is fitted, so that the noise and the
misfit that both arms share cancel. Otherwise each arm has its own level and slopes and both have one curvature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.comparing.surface import Surfaces, basis
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.bootstrap import interval, student_factor
from mnist_scaling.fitting.uncertainty.interval import Interval

NAMES = {"N": "alpha", "D": "beta", "C": "gamma"}
"""What the exponent of each variable is called."""


@dataclass(frozen=True)
class Difference:
    """One quantity in both arms, and b's minus a's."""

    a: Interval
    b: Interval
    difference: Interval


def solve_slopes(surfaces: Surfaces) -> tuple[Array, Array]:
    """Level and slopes of each arm from the log losses of both: two matrices of shape (1 + variables, rows)."""
    cells = surfaces.cells
    if not cells.paired:
        k = 1 + len(cells.variables)
        return surfaces.solve[0][:k], surfaces.solve[1][:k]
    x = cells.x[0] - surfaces.centre
    inverse = np.linalg.pinv(basis(x, ((), *((k,) for k in range(x.shape[1])))))
    empty = np.zeros_like(inverse)
    return np.hstack([inverse, empty]), np.hstack([empty, inverse])


def slopes(surfaces: Surfaces, noise: Array, level: float) -> tuple[dict[str, Difference], Interval]:
    """Differences of the exponents by name, and log(L_b / L_a) in the middle of the grid.

    Parameters
    ----------
    surfaces : Surfaces
    noise : array, shape (draws, rows of both)
        What `Surfaces.draw` gave.
    level : float
        Of the intervals.
    """
    solve_a, solve_b = solve_slopes(surfaces)
    t_factor = student_factor(surfaces.dof, level)

    def estimate(row: Array) -> Interval:
        return interval(float(row @ surfaces.y), (surfaces.y + noise) @ row, level, t_factor)

    found = {}
    for k, variable in enumerate(surfaces.cells.variables, start=1):
        a, b = -solve_a[k], -solve_b[k]
        found[NAMES[variable]] = Difference(estimate(a), estimate(b), estimate(b - a))
    return found, estimate(solve_b[0] - solve_a[0])

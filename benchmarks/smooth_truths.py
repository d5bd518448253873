"""Smooth surfaces of ln L over ln N and ln D that none of our laws is: nine that are written down, and a generator.

Both fall in N and in D over the suite's grids and up to 30 times their compute. What is written down was used while
the model was made; of the generator's surfaces, none was.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicSpline

from mnist_scaling.fitting.laws.base import Array

Surface = Callable[[Array, Array], Array]
"""From x = ln N and z = ln D around the grid's middle to ln L."""

MIDDLE = (8.78, 9.43)
"""ln N and ln D in the middle of the suite's grids, whose half-spans are 1.15 and 1.39."""

HALF = (1.15, 1.39)


def _soft(t: Array, width: float = 1.0) -> Array:
    return np.asarray(width * np.logaddexp(0, t / width))


WRITTEN: dict[str, Surface] = {
    "saturates in D": lambda x, z: -0.35 * x + 0.7 * np.log(1.0 + np.exp(-0.9 * z)),
    "saturates in N": lambda x, z: -0.5 * z + 0.7 * np.log(0.8 + np.exp(-0.8 * x)),
    "logarithmic": lambda x, z: np.log(0.8 - 0.09 * x - 0.13 * z),
    "interaction": lambda x, z: -0.35 * x - 0.5 * z - 0.08 * x * z,
    "broken in D": lambda x, z: np.log(0.02 + 0.25 * np.exp(-0.8 * x) + 0.25 * np.exp(-0.7 * z + 0.4 * _soft(z, 0.3))),
    "broken in N": lambda x, z: np.log(0.01 + 0.3 * np.exp(-0.4 * x - 0.6 * _soft(x, 0.3)) + 0.2 * np.exp(-0.6 * z)),
    "curved": lambda x, z: -0.35 * x - 0.5 * z + 0.06 * x**2 + 0.04 * z**2,
    "wavy exponents": lambda x, z: (
        np.log(0.25 * np.exp(-0.7 * x) + 0.25 * np.exp(-0.8 * z))
        + 0.04 * np.sin(1.8 * x + 0.5)
        + 0.05 * np.cos(1.5 * z)
    ),
    "stretched from chance": lambda x, z: np.log(2.3) - np.maximum(2.0 + 0.3 * x + 0.4 * z, 0.05) ** 1.3,
}
"""Written down, and used while the model was made."""

SEALED = 60
"""Surfaces of the generator that are looked at once."""


def drawn(seed: int) -> Surface:
    """A random surface that falls in both.

    Its slopes come from rising curves of oblique directions: integrals of exp of random smooth functions, so that a
    slope is positive and wanders by a random amount over a random length. In a third of the surfaces they add up in
    ln L; in the others those near N and those near D make a term each, which add up to the power p: a surface with a
    valley along budgets. Half have a floor, of up to the reducible loss at the largest cell.
    """
    rng = np.random.default_rng([20261129, seed])
    terms = rng.random() < 2 / 3
    reach = 0.3 if terms else np.pi / 2 - 0.1
    angles = np.array([0.0, rng.uniform(0, reach), np.pi / 2, np.pi / 2 - rng.uniform(0, reach)])
    steep = 2.0 if terms else 1.0
    steepness = steep * np.array([rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.6)])
    share = rng.uniform(0, 0.5, 2)
    shares = np.array([1 - share[0], share[0], 1 - share[1], share[1]])
    power, level, wander, length = rng.uniform(0.5, 2), rng.uniform(-1.5, 0), rng.uniform(0.1, 0.6), rng.uniform(0.5, 2)
    grid = np.linspace(-8, 8, 161)
    root = np.linalg.cholesky(np.exp(-0.5 * ((grid[:, None] - grid) / length) ** 2) + 1e-8 * np.eye(len(grid)))
    slopes = [np.exp(wander * root @ rng.standard_normal(len(grid))) for _ in angles]
    curves = [CubicSpline(grid, s / s[np.abs(grid) <= 1].mean()).antiderivative() for s in slopes]
    ways = np.stack([np.cos(angles) * steepness[0] * HALF[0], np.sin(angles) * steepness[1] * HALF[1]]) * shares
    size = np.linalg.norm(ways, axis=0)
    offset = rng.uniform(-0.5, 0.5)

    def reducible(x: Array, z: Array) -> Array:
        u, v = x / HALF[0], z / HALF[1]
        fall = [
            s * (c((d[0] * u + d[1] * v) / s) - c(0.0)) if s > 0 else 0 * u
            for d, s, c in zip(ways.T, size, curves, strict=True)
        ]
        near_n, near_d = -fall[0] - fall[1], -fall[2] - fall[3]
        if not terms:
            return np.asarray(level + near_n + near_d)
        return np.asarray(level + np.logaddexp(power * (near_n + offset), power * (near_d - offset)) / power)

    corner = float(np.exp(reducible(np.array(HALF[0]), np.array(HALF[1]))))
    floor = corner * rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
    return lambda x, z: np.log(floor + np.exp(reducible(x, z)))


def smooth_log_loss(truth: str, log_n: Array, log_d: Array) -> Array:
    """ln L of a written surface by its name, or of a drawn one by "drawn K"."""
    surface = WRITTEN.get(truth) or drawn(int(truth.removeprefix("drawn ")))
    return np.asarray(surface(np.asarray(log_n, float) - MIDDLE[0], np.asarray(log_d, float) - MIDDLE[1]))

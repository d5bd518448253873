"""Vertex bias: how far the vertices of quadratics all lie from the minima of a loss that is steeper on one side.

    ln L = c_i + b' b / 2 + |b| sum_m theta_m P_m(b / |b|) / 2,        theta_m ~ Normal(0, SIDED^2)

b is the distance from the cell's minimum, scaled by the root of each key's curvature; P_m are the products of three of
its parts. For one key the last term is theta b |b| / 2: the curvature is 1 + theta above the minimum and 1 - theta
below it. A quadratic through such trials has its vertex on the side on which the loss rises more slowly, by about the
same distance in every cell. That distance is where the mean slope at the minimum, estimated with the terms theta that
all cells share, vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.settings import vertices
from mnist_scaling.settings.vertices import Trials, Vertices

SIDED = 0.5
"""Standard deviation of theta before any trial is seen: sides whose curvatures differ by a factor of 3."""

DOUBT = 0.3
"""Share of the bias by which it may be wrong: where the sides differ only further off, the terms take off too much."""

_ROUNDS = 30
_CLOSE = 1e-4
_STEP = 0.02
"""For the slope of the mean move, which is taken numerically."""
_FARTHEST = 0.3
"""No round moves the minima further."""


@dataclass(frozen=True)
class VertexBias:
    """How much is to be added to all vertices, in standardised coordinates."""

    value: Array
    """(k,)."""
    covariance: Array
    """(k, k)."""


def vertex_bias(trials: Trials, bent: list[int], at: Vertices) -> VertexBias:
    """The common distance from the vertices of quadratics, which have a minimum in the `bent` keys, to the minima.

    Where the terms leave no minimum, it is 0 with a deviation of 1, which is half of the range.
    """
    k = len(bent)
    start = np.clip(np.nan_to_num(at.value), -1.2, 1.2)
    weight = np.where(np.abs(at.value) < 1, at.error**-2.0, 0.0)
    weight = np.nan_to_num(weight) / np.maximum(np.nansum(weight, 0), 1e-300)
    scale = np.sqrt(np.diag(at.curvature))

    def move(by: Array) -> tuple[Array, Array]:
        return _mean_move(trials, bent, start + by, scale, weight, at.noise)

    unknown = VertexBias(np.zeros(k), np.eye(k))
    by = np.zeros(k)
    for _ in range(_ROUNDS):
        step, covariance = move(by)
        if not np.isfinite(step).all():
            return unknown
        by = by + np.clip(step, -_FARTHEST, _FARTHEST)
        if np.abs(step).max() < _CLOSE:
            break
    slope = np.stack([(move(by + _STEP * e)[0] - move(by - _STEP * e)[0]) / (2 * _STEP) for e in np.eye(k)], 1)
    if not np.isfinite(slope).all() or np.linalg.cond(slope) > 1e6:
        return unknown
    # A shift of the mean move by d shifts the place where it vanishes by -slope^-1 d.
    inverse = np.linalg.inv(slope)
    return VertexBias(by, np.asarray(inverse @ covariance @ inverse.T + np.diag((DOUBT * by) ** 2)))


def _mean_move(
    trials: Trials, bent: list[int], minima: Array, scale: Array, weight: Array, noise: float
) -> tuple[Array, Array]:
    """Mean distance of the vertices from supposed minima (cells, k) once theta is allowed for, and its covariance."""
    k = len(bent)
    z = trials.z.copy()
    z[:, bent] -= minima[trials.cell]
    sided = _sided(z[:, bent] * scale)
    found = vertices.sums(replace(trials, z=z), bent, sided)
    terms = found.right.shape[1]
    ridge = np.r_[np.zeros(terms - sided.shape[1]), np.full(sided.shape[1], (noise / SIDED) ** 2)]
    aligned = vertices.solve(found, ridge=ridge)
    if not aligned.minimum:
        return np.full(k, np.nan), np.full((k, k), np.nan)
    mean = (weight * np.nan_to_num(aligned.value)).sum(0)
    normal = found.normal[found.used].sum(0) + np.diag(ridge)
    by_term = np.linalg.inv(aligned.curvature) @ np.einsum("ck,ckq->kq", weight, found.shift)
    return mean, noise**2 * by_term @ np.linalg.solve(normal, by_term.T)


def _sided(b: Array) -> Array:
    """|b| P_m(b / |b|) / 2 for all products P_m of three parts of b, (n, terms)."""
    products = [b[:, list(three)].prod(1) for three in combinations_with_replacement(range(b.shape[1]), 3)]
    return np.stack(products, 1) / (2 * np.maximum(np.linalg.norm(b, axis=1), 1e-9)[:, None])

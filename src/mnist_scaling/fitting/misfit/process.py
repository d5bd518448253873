"""The misfit g as a random surface over scaled log inputs: integrals of random slopes.

    g(u, v) = b_N I[s_N](u) + b_D I[s_D](v) + b_ND I[I[s_ND]](u, v),        I[s](u) = integral of s from 0 to u

where u and v run from -1 to 1 over the table. Each s is a trend through the middle (`TREND`) and a stationary, smooth
part of variance 1, each direction with a length of its own. So beyond the table the doubt of g and of its slopes grows
with distance: by the trend, and in the part that both axes share by the distance along the other. Each s is a Fourier
series of random coefficients on [-REACH, REACH] and a straight line, which makes g linear in them: covariances, draws
and values at any point are products of matrices.

Source: Kennedy & O'Hagan 2001 (J. R. Stat. Soc. B 63) for a model with a misfit; the series, Hensman et al. 2018 (J.
Mach. Learn. Res. 18).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.laws.base import Array, Logs

REACH = 5.0
"""Half of the series' period in half-spans of the table. Minima are looked for within 3 of them; for points that are
asked for farther away than this, along ladders or with `predict`, the waves repeat, and the trend goes on."""

WAVES = 12
"""Frequencies of the series: the shortest wave is 0.8 half-spans long."""

TREND = 0.7
"""Standard deviation of a trend in the slope, in slopes per half-span."""

OMEGA = np.arange(WAVES + 1) * np.pi / REACH


@dataclass(frozen=True)
class Axes:
    """The inputs' logs and how they are scaled: u = (log x - middle) / half."""

    names: tuple[str, ...]
    middle: Array
    half: Array

    @classmethod
    def of(cls, logs: Logs) -> Axes:
        """The axes over which these logs run from -1 to 1."""
        ends = np.array([(x.min(), x.max()) for x in logs.values()])
        return cls(tuple(logs), ends.mean(axis=1), np.maximum(np.diff(ends)[:, 0] / 2, 1e-9))

    def centred(self, logs: Mapping[str, Array]) -> dict[str, Array]:
        """Logs around the middle of the table, which is where the laws are fitted."""
        return {k: np.asarray(logs[k], float) - m for k, m in zip(self.names, self.middle, strict=True)}

    def features(self, logs: Mapping[str, Array]) -> list[Array]:
        """Integrated waves of each axis, shape (n, 2 WAVES + 2) each."""
        return [_integrated(x / h) for x, h in zip(self.centred(logs).values(), self.half, strict=True)]


def _integrated(u: Array) -> Array:
    """Integrals from 0 to u of u, 1, cos(w u), sin(w u), …: shape (n, 2 WAVES + 2)."""
    wave = u[:, None] * OMEGA[1:]
    powers = np.column_stack([u * u / 2, u])
    return np.concatenate([powers, np.sin(wave) / OMEGA[1:], (1 - np.cos(wave)) / OMEGA[1:]], axis=1)


def products(waves: Array) -> Array:
    """What each variance of `spectrum` adds to the `packed` covariance of n points, shape (WAVES + 2, …)."""
    each = packed(np.einsum("ik,jk->kij", waves, waves))
    each[2 : WAVES + 2] += each[WAVES + 2 :]
    return np.ascontiguousarray(each[: WAVES + 2])


def packed(symmetric: Array) -> Array:
    """The lower triangles, row by row, of matrices of shape (…, n, n): shape (…, n (n + 1) / 2)."""
    return symmetric[(..., *np.tril_indices(symmetric.shape[-1]))]


def spectrum(length: Array) -> Array:
    """Variances of a slope's trend, of its constant and of each wave, shape (batch, WAVES + 2).

    All but the first sum to 1; they are those of a squared exponential of this length in half-spans, shape (batch,).
    """
    density = np.exp(-0.5 * (OMEGA * length[:, None]) ** 2)
    density[:, 0] /= 2
    density /= density.sum(axis=1, keepdims=True)
    return np.concatenate([np.full((len(length), 1), TREND**2), density], axis=1)


@dataclass(frozen=True)
class Shape:
    """Sizes and lengths of the parts of g, one for each draw."""

    size: Array
    """b of each axis' own part and, of two axes, of the part that both share, shape (batch, 1 or 3)."""
    length: Array
    """In half-spans, shape (batch, axes)."""

    def variances(self) -> list[Array]:
        """Prior variances of the coefficients of each part, shape (batch, coefficients) each."""
        each = [np.concatenate([s, s[:, 2:]], axis=1) for s in map(spectrum, self.length.T)]
        parts = list(each)
        if len(each) == 2:
            parts.append((each[0][:, :, None] * each[1][:, None, :]).reshape(len(self.size), -1))
        return [size[:, None] ** 2 * part for size, part in zip(self.size.T, parts, strict=True)]

    def covariance(self, of_axes: Sequence[Array]) -> Array:
        """`packed` covariance of g at n points, whose `products` along each axis are given."""
        each = [spectrum(length) @ given for length, given in zip(self.length.T, of_axes, strict=True)]
        square = self.size**2
        total = square[:, 2:] * (each[0] * each[1]) if len(each) == 2 else np.zeros_like(each[0])
        for k, kernel in enumerate(each):
            kernel *= square[:, k : k + 1]
            total += kernel
        return total


def design(features: Sequence[Array]) -> Array:
    """Values of all coefficients' functions at n points, in the order of `Shape.variances`: shape (n, coefficients)."""
    parts = list(features)
    if len(parts) == 2:
        parts.append((features[0][:, :, None] * features[1][:, None, :]).reshape(len(features[0]), -1))
    return np.concatenate(parts, axis=1)

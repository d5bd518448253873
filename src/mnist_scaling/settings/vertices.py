"""The best setting of each cell as the vertex of a quadratic through its trials, not as its luckiest trial.

    ln L_ij = c_i - g_i . z_ij + z_ij' H z_ij / 2 + noise,        v_i = H^-1 g_i

z are the tuned keys, in logs where the search was, with the middle of their range at 0 and its ends at -1 and 1. Level
and gradient are each cell's own. The curvature H, cross terms included, is one for all cells: of its own a quadratic
in three keys takes 10 parameters, more than a cell has good trials, and with a common one it takes 4. A key in which
the loss does not bend has no vertex; it enters as a slope that all cells share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mnist_scaling.fitting.laws.base import Array


@dataclass(frozen=True)
class CellTrials:
    """The finished trials of one cell."""

    losses: Array
    """Shape (n,), positive."""
    settings: Array
    """Values of the tuned keys, shape (n, k)."""
    low: Array
    """Ends of the search ranges, shape (k,); NaN for a key that the cell did not tune."""
    high: Array
    sizes: Mapping[str, float] = field(default_factory=dict)
    """What the cell is: N, D, steps, loss, …; positive."""


@dataclass(frozen=True)
class Trials:
    """The trials of all cells that a quadratic is fitted to, cell after cell."""

    y: Array
    """ln L less the lowest of the cell, (n,)."""
    z: Array
    """Standardised settings, (n, k)."""
    cell: np.ndarray
    """Number of the cell, (n,), int."""
    count: int
    """Cells, with those that have too few trials."""


@dataclass(frozen=True)
class CellSums:
    """What each cell adds to the estimate of the curvature: it is solved from sums, so that cells can be redrawn."""

    normal: Array
    """(cells, q, q): the shared terms' sums of squares once the cell's own terms are taken out."""
    right: Array
    """(cells, q): their products with y."""
    gradient: Array
    """(cells, k): the cell's own slope in z where the shared terms are 0."""
    shift: Array
    """(cells, k, q): by how much a shared coefficient of 1 changes it."""
    inverse: Array
    """(cells, k, k): inverse sums of squares of z about their mean."""
    squares: Array
    """(cells,): y's sum of squares once the cell's own terms are taken out."""
    used: np.ndarray
    """(cells,), bool: whether the cell has trials enough."""
    n: np.ndarray
    """(cells,), int: trials in the window."""


@dataclass(frozen=True)
class Vertices:
    """Vertices of all cells, in standardised coordinates."""

    value: Array
    """(cells, k), NaN for a cell that is not used."""
    error: Array
    """Standard errors, (cells, k)."""
    curvature: Array
    """H, (k, k); NaN where there are too few trials."""
    noise: float
    """Standard deviation of ln L about the quadratic."""
    dof: int
    """Degrees of freedom of `noise`."""
    minimum: bool = True
    """Whether the quadratic has a minimum."""


def standardise(cells: Sequence[CellTrials], log: Sequence[bool], within: float) -> tuple[Trials, Array, Array]:
    """The trials of a loss up to (1 + within) times the lowest of their cell, in standardised coordinates.

    These are z = (u - centre) / half, where u is the key, or its log where it was searched on a log scale. Given are
    the trials, the centre and half of the range, of all cells together, shape (k,) each.
    """
    ends = np.array([[c.low, c.high] for c in cells])  # (cells, 2, k)
    low, high = (coordinate(part, log) for part in (np.nanmin(ends[:, 0], 0), np.nanmax(ends[:, 1], 0)))
    centre, half = (low + high) / 2, (high - low) / 2
    y, z, number = [], [], []
    for i, cell in enumerate(cells):
        losses = np.log(cell.losses)
        kept = np.flatnonzero(np.isfinite(losses) & np.isfinite(cell.settings).all(1))
        kept = kept[losses[kept] <= losses[kept].min(initial=np.inf) + np.log1p(within)]
        y.append(losses[kept] - losses[kept].min(initial=np.inf) if len(kept) else losses[:0])
        z.append((coordinate(cell.settings[kept], log) - centre) / half)
        number.append(np.full(len(kept), i))
    return Trials(np.concatenate(y), np.concatenate(z), np.concatenate(number), len(cells)), centre, half


def coordinate(values: Array, log: Sequence[bool]) -> Array:
    """Values of the keys, (…, k), in logs where the search was."""
    values = np.asarray(values, float)
    mask = np.asarray(log)
    out = values.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        out[..., mask] = np.log(values[..., mask])
    return out


def sums(trials: Trials, bent: Sequence[int], further: Array | None = None) -> CellSums:
    """Each cell's part of the least-squares problem, its own level and gradient solved beforehand.

    A cell is used when it has two trials more than its own 1 + k parameters, spread over all k keys whose columns are
    `bent`. `further`, shape (n, terms), are more terms whose coefficients all cells share.
    """
    own, k = trials.z[:, bent], len(bent)
    shared = np.concatenate([_products(own), np.delete(trials.z, bent, axis=1)], 1)
    shared = shared if further is None else np.concatenate([shared, further], 1)
    q, m = shared.shape[1], trials.count
    out = CellSums(
        np.zeros((m, q, q)), np.zeros((m, q)), np.full((m, k), np.nan), np.zeros((m, k, q)), np.zeros((m, k, k)),
        np.zeros(m), np.zeros(m, bool), np.bincount(trials.cell, minlength=m),
    )  # fmt: skip
    for i in np.flatnonzero(out.n >= k + 3):
        rows = trials.cell == i
        z, f, y = (a[rows] - a[rows].mean(0) for a in (own, shared, trials.y))
        if np.linalg.matrix_rank(z, tol=1e-3) < k:
            continue
        out.used[i] = True
        out.inverse[i] = np.linalg.inv(z.T @ z)
        slopes = out.inverse[i] @ z.T
        out.gradient[i], out.shift[i] = -slopes @ y, slopes @ f
        f, y = f - z @ out.shift[i], y + z @ out.gradient[i]
        out.normal[i], out.right[i], out.squares[i] = f.T @ f, f.T @ y, y @ y
    return out


def solve(found: CellSums, times: Array | None = None, ridge: Array | None = None) -> Vertices:
    """Curvature and vertices of the bent keys, in the order of `sums`.

    The error of a vertex holds the noise of its own trials and that of the common curvature. `times`, shape (cells,),
    is how often each cell counts, for a bootstrap by cell; `ridge`, shape (q,), draws shared coefficients towards 0.
    """
    k = found.gradient.shape[1]
    weight = found.used * (1 if times is None else times)
    normal, right = np.tensordot(weight, found.normal, 1), np.tensordot(weight, found.right, 1)
    normal = normal if ridge is None else normal + np.diag(ridge)
    n = int((weight * (found.n - 1 - k)).sum()) - len(right)
    unknown = np.full((len(weight), k), np.nan)
    if n < 1 or np.linalg.cond(normal) > 1e12:
        return Vertices(unknown, unknown, np.full((k, k), np.nan), np.nan, n, minimum=False)
    h = np.asarray(np.linalg.solve(normal, right), float)
    curvature = np.asarray(np.tensordot(h, _basis(k, len(h)), 1))
    noise2 = max(float(weight @ found.squares - right @ h) / n, 1e-300)
    if np.linalg.eigvalsh(curvature).min() <= 0:
        return Vertices(unknown, unknown, curvature, float(np.sqrt(noise2)), n, minimum=False)
    inverse = np.linalg.inv(curvature)
    value = (found.gradient + found.shift @ h) @ inverse
    # d v = H^-1 (d g + shift d h - dH v); beyond the range the last part would grow with the vertex itself.
    inner = np.clip(np.nan_to_num(value), -1, 1)
    moved = found.shift - np.einsum("qab,cb->caq", _basis(k, len(right)), inner)
    spread = noise2 * (found.inverse + moved @ np.linalg.inv(normal) @ moved.transpose(0, 2, 1))
    variance = np.einsum("ab,cbd,da->ca", inverse, spread, inverse)
    error = np.where(found.used[:, None], np.sqrt(variance), np.nan)
    return Vertices(value, error, curvature, float(np.sqrt(noise2)), n)


def curvature_error(found: CellSums, at: Vertices) -> Array:
    """Standard errors of the curvatures H_aa of the keys, (k,)."""
    k = len(at.curvature)
    covariance = at.noise**2 * np.linalg.inv(found.normal[found.used].sum(0))
    return np.array([np.sqrt(covariance[q, q]) for q, (a, b) in enumerate(_pairs(k)) if a == b])


def _pairs(k: int) -> list[tuple[int, int]]:
    """Row and column of each entry of H that is its own."""
    return [(a, b) for a in range(k) for b in range(a, k)]


def _products(z: Array) -> Array:
    """What the entries of H multiply, (n, q): z_a^2 / 2, and z_a z_b for a < b."""
    return np.stack([z[:, a] * z[:, b] * (0.5 if a == b else 1.0) for a, b in _pairs(z.shape[1])], 1)


def _basis(k: int, q: int) -> Array:
    """The symmetric matrix that each of q shared coefficients adds to H, (q, k, k); those of slopes add nothing."""
    out = np.zeros((q, k, k))
    for index, (a, b) in enumerate(_pairs(k)):
        out[index, a, b] = out[index, b, a] = 1
    return out

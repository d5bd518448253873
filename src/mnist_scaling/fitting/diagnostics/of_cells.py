"""What can be wrong with single cells: what they bring, losses out of order, outliers, rows entered twice."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from scipy import stats

from mnist_scaling.fitting.diagnostics.found import Flag, cells_of
from mnist_scaling.fitting.estimate import Fit
from mnist_scaling.fitting.objective import robust_scale
from mnist_scaling.fitting.rows import Table
from mnist_scaling.study import flags

FAMILY_ERROR = 0.01
"""Chance that a table without the fault raises a flag that rests on a test of noise."""

SMALLEST_NOISE = 0.003
"""Relative noise assumed at least, so that rounding in a table without noise raises nothing."""


def carried(table: Table) -> list[Flag]:
    """Flags that the cells themselves bring: what the tuner and the regimes wrote."""
    out = []
    for code in sorted({c for row in table.flags for c in row}):
        index = [i for i, row in enumerate(table.flags) if code in row]
        count = f"{len(index)} cell{'s' * (len(index) != 1)}"
        out.append(Flag(code, f"The study marked {count} as {code}.", cells_of(table, index)))
    return out


def non_monotone(table: Table, noise: float) -> list[Flag]:
    """More parameters, or more data, and yet a higher loss than noise explains.

    Parameters
    ----------
    noise : float
        `usual_noise`; NaN where unknown.
    """
    pairs = list(_neighbours(table))
    if not pairs or not np.isfinite(noise):
        return []
    limit = stats.norm.isf(FAMILY_ERROR / len(pairs)) * np.sqrt(2) * max(noise, SMALLEST_NOISE)
    bad = [(a, b, k) for a, b, k in pairs if table.y[b] - table.y[a] > limit]
    if not bad:
        return []
    worst = max(bad, key=lambda p: table.y[p[1]] - table.y[p[0]])
    rise = 100 * np.expm1(table.y[worst[1]] - table.y[worst[0]])
    text = (
        f"The loss rises with {' and '.join(sorted({k for *_, k in bad}))} at {len(bad)} "
        f"step{'s' * (len(bad) != 1)} of the grid, by {rise:.0f} % at worst, which is beyond noise."
    )
    return [Flag(flags.NON_MONOTONE, text, cells_of(table, dict.fromkeys(b for _, b, _ in bad)))]


def _neighbours(table: Table) -> Iterable[tuple[int, int, str]]:
    """Pairs of rows one step apart in N at equal D, or in D at equal N."""
    if not table.has(("N", "D")):
        for key in ("N", "D"):
            if key in table.inputs and "C" not in table.inputs:
                order = np.argsort(table.inputs[key], kind="stable")
                yield from ((int(a), int(b), key) for a, b in pairwise(order))
        return
    for variable, fixed in (("N", "D"), ("D", "N")):
        level = np.round(np.log(table.inputs[fixed]), 6)
        for value in np.unique(level):
            rows = np.flatnonzero(level == value)
            rows = rows[np.argsort(table.inputs[variable][rows], kind="stable")]
            steps = pairwise(rows)
            yield from (
                (int(a), int(b), variable) for a, b in steps if table.inputs[variable][b] > table.inputs[variable][a]
            )


def usual_noise(table: Table, fit: Fit | None) -> float:
    """Standard deviation of log loss that the repeats give, else the residuals' robust scale; NaN without either.

    An outlier does not move either of them, unlike the noise that widens the intervals.
    """
    if table.se is not None and (np.isfinite(table.se) & (table.se > 0)).sum() >= 4:
        relative = table.se[table.se > 0] / table.loss[table.se > 0]
        return float(np.sqrt(np.nanmean(np.minimum(relative, 3 * np.nanmedian(relative)) ** 2)))
    return robust_scale(fit.residual, fit.law.size) if fit is not None else np.nan


def seed_outlier(table: Table, fit: Fit | None) -> list[Flag]:
    """Rows whose repeats scatter far more than the others', or that lie far off the best law."""
    wide = _wide_repeats(table)
    far = _far_residuals(fit, usual_noise(table, fit)) if fit is not None else np.empty(0, int)
    index = sorted({*map(int, wide), *map(int, far)})
    if not index:
        return []
    text = (
        f"{len(index)} cell{'s' * (len(index) != 1)} stand{'s' * (len(index) == 1)} out: {len(wide)} by the scatter of "
        f"their repeats, {len(far)} by distance from the best law."
    )
    return [Flag(flags.SEED_OUTLIER, text, cells_of(table, index))]


def _wide_repeats(table: Table) -> np.ndarray:
    if table.se is None:
        return np.empty(0, int)
    known = np.flatnonzero(np.isfinite(table.se) & (table.se > 0))
    if len(known) < 4:
        return np.empty(0, int)
    variance = (table.se[known] / table.loss[known]) ** 2
    repeats = np.full(len(table), 3.0) if table.repeats is None else table.repeats
    freedom = np.maximum(np.nan_to_num(repeats[known], nan=2.0) - 1, 1)
    others = (variance.sum() - variance) / (len(known) - 1)
    limit = stats.f.isf(FAMILY_ERROR / len(known), freedom, freedom.sum() - freedom)
    return known[variance > limit * np.maximum(others, SMALLEST_NOISE**2 / 9)]


def _far_residuals(fit: Fit, noise: float) -> np.ndarray:
    lost = fit.n - fit.law.size
    if lost < 5:
        return np.empty(0, int)
    scale = max(robust_scale(fit.residual, fit.law.size), noise)
    size = np.abs(fit.residual) / np.sqrt(1 - np.minimum(fit.leverage, 0.95))
    # A median of n residuals is as uncertain as a root mean square of 0.37 n.
    limit = stats.t.isf(FAMILY_ERROR / 2 / fit.n, max(0.37 * lost, 2.0))
    return np.flatnonzero(size > limit * max(scale, SMALLEST_NOISE))


def duplicate_rows(table: Table) -> list[Flag]:
    """Rows that agree in every input: repeats entered as rows count as independent cells."""
    keys = np.stack([np.log(v) for k, v in sorted(table.inputs.items())], axis=1)
    _, inverse, counts = np.unique(np.round(keys, 9), axis=0, return_inverse=True, return_counts=True)
    twice = np.flatnonzero(counts[np.asarray(inverse).ravel()] > 1)
    if not len(twice):
        return []
    same = len(np.unique(np.column_stack([keys[twice], table.loss[twice]]).round(9), axis=0)) < len(twice)
    text = (
        f"{len(twice)} rows share their inputs with another row{', some their loss too' if same else ''}; "
        "each counts as a cell of its own."
    )
    severity = flags.WARNING if same else flags.INFO
    return [Flag(flags.DUPLICATE_ROWS, text, cells_of(table, twice), severity=severity)]

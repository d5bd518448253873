"""What can be wrong with cells and their losses: outliers, losses out of order, chance, another unit, copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import special

from mnist_scaling.fitting.diagnostics import Flag, cells_of
from mnist_scaling.fitting.estimation.estimate import Fit
from mnist_scaling.fitting.estimation.problem import robust_scale
from mnist_scaling.fitting.estimation.variance import squeeze
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import MEANINGS, Table
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import plane
from mnist_scaling.fitting.uncertainty.noise import LARGEST_LEVERAGE, covariates, repeated, seed_noise
from mnist_scaling.study import flags

FAMILY_ERROR = 0.01
"""Chance that a table without the fault raises a flag that rests on a test of noise."""

SMALLEST_NOISE = 0.003
"""Relative noise assumed at least, so that rounding in a table without noise raises nothing."""

HEAVIEST = 7.0
"""Most degrees of freedom of the tails that a row is held against: tens of rows don't show that noise has none."""

IGNORED = 1e-9
"""Degrees of freedom of a row that is to have no say."""


def carried(table: Table) -> list[Flag]:
    """Flags that the cells themselves bring: what the tuner and the regimes wrote."""
    out = []
    for code in sorted({c for row in table.flags for c in row}):
        index = [i for i, row in enumerate(table.flags) if code in row]
        count = f"{len(index)} cell{'s' * (len(index) != 1)}"
        seen = flags.kind(code).seen_when
        said = f"In {count} {seen}." if seen else f"The table marks {count} as {code}."
        out.append(Flag(code, said, cells_of(table, index)))
    return out


def non_monotone(table: Table, fit: Fit | None) -> list[Flag]:
    """More parameters, or more data, and yet a higher loss than the noise of the two cells explains (Welch's t).

    It is that of their repeats, else the residuals' robust scale: an outlier must not excuse itself.
    """
    seeds, pairs = seed_noise(table), list(_neighbours(table))
    scale = robust_scale(fit.residual, fit.law.size) if fit else np.nan
    known = (seeds.variance, seeds.row_dof) if seeds else (scale**2, 1e9)
    variance, dof = (np.broadcast_to(one, len(table)) for one in known)
    bad = []
    for a, b, k in pairs:
        both = np.maximum(variance[[a, b]], SMALLEST_NOISE**2)
        free = both.sum() ** 2 / (both**2 / dof[[a, b]]).sum()
        if table.y[b] - table.y[a] > -special.stdtrit(free, FAMILY_ERROR / len(pairs)) * np.sqrt(both.sum()):
            bad.append((a, b, k))
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
        for rows in table.by_level(fixed).values():
            rows = rows[np.argsort(table.inputs[variable][rows], kind="stable")]
            steps = pairwise(rows)
            yield from (
                (int(a), int(b), variable) for a, b in steps if table.inputs[variable][b] > table.inputs[variable][a]
            )


def seed_outlier(table: Table, fit: Fit | None) -> list[Flag]:
    """Rows whose repeats scatter far more than is usual at their place, or that lie far off the best law.

    A row is held against the others' noise, which may differ from place to place and from row to row as far as a test
    sees it: in a table with unequal noise a loud row is no outlier.
    """
    wide = _wide_repeats(table)
    far = _far_residuals(table, fit) if fit is not None else np.empty(0, int)
    index = sorted({*map(int, wide), *map(int, far)})
    if not index:
        return []
    text = (
        f"{len(index)} cell{'s' * (len(index) != 1)} stand{'s' * (len(index) == 1)} out: {len(wide)} by the scatter of "
        f"their repeats, {len(far)} by distance from the best law."
    )
    return [Flag(flags.SEED_OUTLIER, text, cells_of(table, index))]


def _wide_repeats(table: Table) -> np.ndarray:
    known = np.flatnonzero(repeated(table))
    if table.se is None or len(known) < 4:
        return np.empty(0, int)
    variance = (table.se[known] / table.loss[known]) ** 2
    repeats = np.full(len(known), 3.0) if table.repeats is None else np.nan_to_num(table.repeats[known], nan=3.0)
    return known[_loud(variance, np.maximum(repeats - 1, 1.0), covariates(table)[known], SMALLEST_NOISE**2 / 9)]


def _far_residuals(table: Table, fit: Fit) -> np.ndarray:
    """Rows whose residuals are too large, in units of their repeats' noise where that differs between rows."""
    if fit.n - fit.law.size < 5:
        return np.empty(0, int)
    seeds = seed_noise(table)
    shape = np.ones(fit.n) if seeds is None else seeds.variance / seeds.scale**2
    square = fit.residual**2 / (1 - np.minimum(fit.leverage, LARGEST_LEVERAGE)) / shape
    least = SMALLEST_NOISE**2 if seeds is None else max(SMALLEST_NOISE**2, seeds.scale**2)
    return _loud(square, np.ones(fit.n), covariates(table), least)


def _loud(variance: Array, dof: Array, where: Array, least: float) -> np.ndarray:
    """Positions whose variance exceeds what the others' make likely, the loudest first and then without it.

    The usual variance may depend on `where`, as in `squeeze`, and is no less than `least`.
    """
    weight, loud = dof.astype(float).copy(), []
    for _ in range(max(1, len(variance) // 10)):
        usual = squeeze(variance, weight, where).usual
        row = int(np.argmax(np.where(weight > IGNORED, variance / np.maximum(usual, least), 0.0)))
        weight[row] = IGNORED
        others = squeeze(variance, weight, where, doubt=True)
        total_dof = float(weight.sum())
        limit = special.fdtri(dof[row], min(others.prior, total_dof, HEAVIEST), 1 - FAMILY_ERROR / len(variance))
        if variance[row] <= limit * max(float(others.usual[row]), least):
            break
        loud.append(row)
    return np.array(sorted(loud), int)


def duplicate_rows(table: Table) -> list[Flag]:
    """Rows that agree in every input: repeats that were entered as rows, or copies."""
    keys = np.stack([np.log(v) for k, v in sorted(table.inputs.items())], axis=1)
    _, inverse, counts = np.unique(np.round(keys, 9), axis=0, return_inverse=True, return_counts=True)
    twice = np.flatnonzero(counts[np.asarray(inverse).ravel()] > 1)
    if not len(twice):
        return []
    same = len(np.unique(np.column_stack([keys[twice], table.loss[twice]]).round(9), axis=0)) < len(twice)
    # A law of compute alone is one of the best run of each budget (`slices.part_for`).
    sized = table.has(("N",)) or table.has(("D",))
    kept = "those of one cell are folded into their mean" if sized else "of those of one budget the best is taken"
    text = (
        f"{len(twice)} rows share their inputs with another row{', some their loss too' if same else ''}; "
        f"{kept}, and copies count once."
    )
    severity = flags.WARNING if same else flags.INFO
    return [Flag(flags.DUPLICATE_ROWS, text, cells_of(table, twice), severity=severity)]


CHANCE_SHARE = 0.95
"""A loss above this share of ln(classes) is a plateau at chance."""


def chance_rows(table: Table, classes: int | None) -> np.ndarray:
    """Mask of the rows whose loss is above 95 % of ln(classes)."""
    if not classes:
        return np.zeros(len(table), bool)
    return table.loss > CHANCE_SHARE * np.log(classes)


def chance_level(table: Table, classes: int | None, masked: list[dict[str, Any]]) -> list[Flag]:
    """Cells that learned nothing: they say where learning starts, not how it scales."""
    index = np.flatnonzero(chance_rows(table, classes))
    cells = masked + cells_of(table, index)
    if not cells:
        return []
    limit = CHANCE_SHARE * np.log(classes or 1)
    what = "were left out of the fit" if masked else "are part of the fit"
    fix = "Train them longer if they are to count." if masked else ""
    rows = "row" if masked else "cell"  # rows are left out before those of one cell are folded
    text = (
        f"{len(cells)} {rows}{'s' * (len(cells) != 1)} with a loss above 95 % of ln({classes}) = {limit:.3f}, which is "
        f"chance, {what}."
    )
    severity = flags.INFO if masked else flags.WARNING
    return [Flag(flags.CHANCE_LEVEL, text, cells, severity=severity, remedy=fix)]


def double_softmax_floor(table: Table, classes: int | None, floors: Mapping[str, Interval]) -> list[Flag]:
    """Losses that level off at ln(e + k - 1) - 1, the least that softmax applied twice can reach."""
    if not classes:
        return []
    wall = float(np.log(np.e + classes - 1) - 1)
    lowest = float(table.loss.min())
    near = wall - 1e-3 <= lowest <= wall * 1.1
    fitted = [k for k, floor in floors.items() if abs(floor.value / wall - 1) < 0.02]
    if lowest < wall - 1e-3 or not (fitted or near):
        return []
    text = (
        f"The losses level off at {wall:.4f} = ln(e + {classes - 1}) - 1 (lowest: {lowest:.4f}), "
        "the floor of a softmax applied twice."
    )
    index = np.flatnonzero(table.loss <= wall * 1.1)
    return [Flag(flags.DOUBLE_SOFTMAX_FLOOR, text, cells_of(table, index))]


def unit_suspect(table: Table, classes: int | None) -> list[Flag]:
    """Losses that look like bits, percent or an accuracy instead of nats."""
    top, out = float(table.loss.max()), []
    guess = ""
    if classes and top > 1.2 * np.log(classes):
        guess = "bits" if top <= 1.05 * np.log2(classes) else "percent" if top <= 100 else "something else than nats"
    elif not classes and top > 15:
        guess = "percent" if top <= 100 else "something else than nats"
    if guess:
        limit = f"ln({classes}) = {np.log(classes):.3f}" if classes else "what a cross-entropy in nats reaches"
        text = f"The largest loss, {top:.4g}, is above {limit}: the column may be in {guess}."
        out.append(Flag(flags.UNIT_SUSPECT, text, cells_of(table, [int(table.loss.argmax())])))
    key = next((k for k in ("C", "D", "N") if k in table.inputs), None)
    if key and len(table) >= 5 and np.ptp(table.loss) > 0 and np.ptp(table.inputs[key]) > 0:
        rank = rank_correlation(table.inputs[key], table.loss)
        if rank > 0.5:
            text = (
                f"The loss grows with {key} ({MEANINGS[key]}; rank correlation {rank:.2f}): the column may be an "
                "accuracy."
            )
            out.append(Flag(flags.UNIT_SUSPECT, text, remedy="Fit a loss or an error rate."))
    return out


LOGARITHMS = (1.0, 50.0)
"""Logarithms of counts lie between these, within a factor of ten of each other."""

STEEPEST = 0.7
"""Exponents of counts are rarely larger; against logarithms of counts the loss falls faster."""


def input_suspect(table: Table) -> list[Flag]:
    """Inputs that look like logarithms of counts, by their range and by ln L = k - sum_i a_i ln x_i."""
    names = [k for k in ("N", "D") if k in table.inputs] or ["C"]
    slopes = plane(table.y, *table.logs(names).values()).coefficients[1:]
    out = []
    for name, slope in zip(names, slopes, strict=True):
        x = table.inputs[name]
        least, most = float(x.min()), float(x.max())
        if LOGARITHMS[0] <= least and most <= min(LOGARITHMS[1], 10 * least) and (x % 1).any() and slope < -STEEPEST:
            text = (
                f"Every {name} lies between {least:.3g} and {most:.3g}, and the loss falls as {name} to the power "
                f"{slope:.2g}: the column may hold logarithms."
            )
            out.append(Flag(flags.INPUT_SUSPECT, text))
    return out


def constant_loss(table: Table) -> list[Flag]:
    """A loss that never varies has no exponent."""
    if np.ptp(table.y) > 1e-9:
        return []
    text = f"Every loss is {table.loss[0]:.6g}, so no law has anything to fit."
    return [Flag(flags.CONSTANT_LOSS, text)]


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rank correlation, by twice the ranks; equal values share the mean of theirs."""
    ranks = [np.searchsorted(np.sort(x), x) + np.searchsorted(np.sort(x), x, "right") for x in (a, b)]
    return float(np.corrcoef(ranks)[0, 1])

"""kind: basin. Where the loss is lowest along a column, such as the depth, and how far one may stray from there.

    log L = c + b1 z + b2 z^2 + d_v g + e_v g^2              z = log of the column `over`, g = log of `given`
    best value = exp(-b1 / 2 b2)                             basin = exp(2 sqrt(log(1 + tolerance) / b2))

The basin is a factor: the largest value within the tolerance of the best loss, over the smallest such value. The column
`given`, such as the number of parameters, is held fixed: each value v of `over` has its own parabola in it (d_v, e_v),
because networks of one depth have their best size where others do not. Its logarithm counts from its mean over the
cells, so the best value, which may move with it, is the one in the middle of the cells.

Both intervals are exact for normal noise of one size: Student's of b2, of which the basin is a function, and Fieller's
of the quotient -b1 / 2 b2. Where b2 is not told from zero, the basin has no upper end, and the best value no interval.

Source: Fieller 1954, J. R. Stat. Soc. B 16, 175.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from mnist_scaling.asking.measures import Findings, MeasureKind, Number, columns
from mnist_scaling.asking.study_arms import LOSS, StudyArm
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL


@dataclass(frozen=True)
class BasinKeys:
    """Keys of this kind."""

    over: str
    """Column along which the best value is looked for, such as depth."""
    given: str | None = None
    """Column that is held fixed; null for none."""
    tolerance: float = 0.05
    """Share by which the loss may exceed the best one inside the basin."""


def measure(keys: BasinKeys, arms: Mapping[str, StudyArm]) -> Findings:
    """Slots <arm>_best and <arm>_basin; <arm>_edge, whether there is a best value, and those tried hold it; and
    <arm>_given, the value at which the other column is held."""
    numbers: dict[str, Number] = {}
    words: dict[str, str] = {}
    notes: list[str] = []
    for name, arm in arms.items():
        over, loss = columns(arm, keys.over, LOSS)
        values, z = np.unique(over), np.log(over)
        terms = [np.ones_like(z), z, z**2]
        if keys.given is not None:
            g = np.log(columns(arm, keys.given)[0])
            words[f"{name}_given"] = f"{float(f'{np.exp(g.mean()):.2g}'):,.0f}"
            g = g - g.mean()
            terms += [np.where(over == value, g**power, 0.0) for value in values for power in (1, 2)]
        if len(z) <= len(terms) or len(values) < 3:
            notes.append(f"{arm.label}: {len(z)} cells are too few to tell a basin.")
            best = basin = Interval()
        else:
            best, basin = _basin(np.stack(terms, axis=1), np.log(loss), keys.tolerance)
        numbers[f"{name}_best"] = Number(best, f"{arm.label}: best {keys.over}", factor=True)
        share = f"{100 * keys.tolerance:g} %"
        meaning = f"{arm.label}: factor of {keys.over} within {share} of the best loss"
        numbers[f"{name}_basin"] = Number(basin, meaning, factor=True)
        if best.known and not best.bounded:
            notes.append(
                f"{arm.label}: these cells do not tell that the loss rises to both sides of the best {keys.over}."
            )
        words[f"{name}_edge"] = _edge(best, values) if best.known else "the cells tell no minimum along it"
    return Findings(numbers, words, tuple(notes))


def _edge(best: Interval, tried: Array) -> str:
    """Where the best value and its interval lie among those that were tried."""
    low, high = tried.min(), tried.max()
    if not low <= best.value <= high:
        return f"outside those that were tried, {low:.2g} to {high:.2g}"
    if best.bounded and not low <= best.low <= best.high <= high:
        return f"its interval goes beyond those that were tried, {low:.2g} to {high:.2g}"
    return f"inside those that were tried, {low:.2g} to {high:.2g}"


def _basin(design: Array, y: Array, tolerance: float) -> tuple[Interval, Interval]:
    """Best value and width of the basin; unknown where the curve has no minimum."""
    inverse = np.linalg.pinv(design)
    free = len(y) - design.shape[1]
    beta = inverse @ y
    b1, b2 = beta[1:3]
    if b2 <= 0:
        return Interval(), Interval()
    cov = (inverse @ inverse.T)[1:3, 1:3] * float(((y - design @ beta) ** 2).sum()) / free
    t = stdtrit(free, 0.5 + LEVEL / 2)
    half = t * np.sqrt(cov[1, 1])

    def width(curvature: float) -> float:
        return 2 * np.sqrt(np.log1p(tolerance) / curvature) if curvature > 0 else np.inf

    basin = Interval(width(b2), width(b2 + half), width(b2 - half))
    return _quotient(b1, b2, t**2 * cov).exp(), basin.exp()


def _quotient(b1: float, b2: float, squares: Array) -> Interval:
    """-b1 / 2 b2 with Fieller's interval: every z at which |b1 + 2 b2 z| is within t standard errors of zero.

    `squares` is t^2 times the covariance of b1 and b2.
    """
    value = float(-b1 / (2 * b2))
    square, line, constant = 4 * (b2**2 - squares[1, 1]), 4 * (b1 * b2 - squares[0, 1]), b1**2 - squares[0, 0]
    if square <= 0:
        return Interval(value)
    root = np.sqrt(max(line**2 - 4 * square * constant, 0.0))
    return Interval(value, float((-line - root) / (2 * square)), float((-line + root) / (2 * square)))


KIND = MeasureKind(BasinKeys, measure)

"""kind: basin. Where the loss is lowest along the ratio of two columns, and how far one may stray from there.

    log L = c + b1 z + b2 z^2 + d1 g + d2 g^2 + e z g        z = log(over / per), g = log of the column `given`
    best ratio = exp(-b1 / 2 b2)                             basin = exp(2 sqrt(log(1 + tolerance) / b2))

The basin is a factor: the largest ratio within the tolerance of the best loss, over the smallest such ratio. The
column `given` takes up what merely goes along with the ratio, such as the number of parameters; its logarithm counts
from its mean over the cells, so the best ratio, which may move with it, is the one in the middle of the cells.

Both intervals are exact for normal noise of one size: Student's of b2, of which the basin is a function, and Fieller's
of the quotient -b1 / 2 b2. Where b2 is not told from zero, the basin has no upper end, and the best ratio no interval.

Whether the ratios that were tried hold the best one is asked of those at the mean of `given`: of each value of `per`
the ratio that has it, between its cells. A grid may try other ratios, but only for smaller or larger models.

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
    """Column above the line of the ratio, such as width."""
    per: str
    """Column below it, such as depth."""
    given: str | None = None
    """Column that is held fixed; null for none."""
    tolerance: float = 0.05
    """Share by which the loss may exceed the best one inside the basin."""


def measure(keys: BasinKeys, arms: Mapping[str, StudyArm]) -> Findings:
    """Slots <arm>_best and <arm>_basin, and <arm>_edge: whether there is a best ratio, and those tried hold it."""
    numbers: dict[str, Number] = {}
    words: dict[str, str] = {}
    notes: list[str] = []
    for name, arm in arms.items():
        over, per, loss = columns(arm, keys.over, keys.per, LOSS)
        z = np.log(over / per)
        terms, tried = [np.ones_like(z), z, z**2], z
        if keys.given is not None:
            g = np.log(columns(arm, keys.given)[0])
            g = g - g.mean()
            terms += [g, g**2, z * g]
            tried = _at_the_mean(z, g, per)
        if len(z) <= len(terms) or len(np.unique(np.round(z, 6))) < 3:
            notes.append(f"{arm.label}: {len(z)} cells are too few to tell a basin.")
            best = basin = Interval()
        else:
            best, basin = _basin(np.stack(terms, axis=1), np.log(loss), keys.tolerance)
        ratio = f"{keys.over} / {keys.per}"
        numbers[f"{name}_best"] = Number(best, f"{arm.label}: best {ratio}", factor=True)
        share = f"{100 * keys.tolerance:g} %"
        meaning = f"{arm.label}: factor of {ratio} within {share} of the best loss"
        numbers[f"{name}_basin"] = Number(basin, meaning, factor=True)
        if best.known and not best.bounded:
            notes.append(f"{arm.label}: these cells do not tell that the loss rises to both sides of the best {ratio}.")
        if best.known:
            words[f"{name}_edge"] = _edge(best, np.exp(tried))
        else:
            words[f"{name}_edge"] = "the cells tell no minimum along it"
    return Findings(numbers, words, tuple(notes))


def _at_the_mean(z: Array, g: Array, per: Array) -> Array:
    """z at g = 0 of each value of `per` whose cells lie on both sides of it; all z where fewer than two values do."""
    at_mean = []
    for value in np.unique(per):
        own = np.flatnonzero(per == value)
        own = own[np.argsort(g[own])]
        if g[own[0]] <= 0 <= g[own[-1]]:
            at_mean.append(np.interp(0.0, g[own], z[own]))
    return np.array(at_mean) if len(at_mean) > 1 else z


def _edge(best: Interval, tried: Array) -> str:
    """Where the best ratio and its interval lie among those that were tried."""
    low, high = tried.min(), tried.max()
    if not low <= best.value <= high:
        return f"outside the ratios that were tried there, {low:.2g} to {high:.2g}"
    if best.bounded and not low <= best.low <= best.high <= high:
        return f"its interval goes beyond the ratios that were tried there, {low:.2g} to {high:.2g}"
    return "inside the ratios that were tried"


def _basin(design: Array, y: Array, tolerance: float) -> tuple[Interval, Interval]:
    """Best ratio and width of the basin; unknown where the curve has no minimum."""
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

"""Differences of every exponent that `fit` has: parameters of laws, exponents of slices, exponents of frontiers.

Each arm is fitted alone; the draws of both arms share their noise as far as the cells do, so that it cancels in the
difference. Exponents of frontiers come with intervals of their own: their difference is bounded
by the square-root rule for two intervals (Zou & Donner 2008), which takes them as independent and is wide otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from mnist_scaling.fitting.comparing.pairing import Cells, Difference
from mnist_scaling.fitting.comparing.surface import Surfaces
from mnist_scaling.fitting.fitted import Fitted, Options, describing, fit_part
from mnist_scaling.fitting.frontier.fronts import EXPONENTS
from mnist_scaling.fitting.frontier.methods import all_frontiers
from mnist_scaling.fitting.frontier.parametric import fit_cost
from mnist_scaling.fitting.laws import ALL
from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.misfit.posterior import surface
from mnist_scaling.fitting.rows import SAME_LEVEL
from mnist_scaling.fitting.slices import Slice, all_slices, can_hold, is_joint, part_for, refusal, whole
from mnist_scaling.fitting.uncertainty.bootstrap import PAIRS_FROM, Draws, interval
from mnist_scaling.fitting.uncertainty.interval import Interval


@dataclass(frozen=True)
class ExponentDifference:
    """One exponent of one law or method in both arms."""

    source: str
    """Law, or frontier method."""
    is_method: bool
    parameter: str
    at: str
    """Of a slice: "D=50000"; empty otherwise."""
    found: Difference


def _joint_laws(cells: Cells) -> list[Law]:
    """The default joint laws that the rows of both arms can hold."""
    if cells.variables != ("N", "D"):
        return []
    laws = [law for law in ALL.values() if is_joint(law) and law.default and set(law.inputs) <= {"N", "D"}]
    return [law for law in laws if can_hold(cells.a, law) and can_hold(cells.b, law)]


def exponent_differences(
    surfaces: Surfaces, normal: Array, level: float, rng: np.random.Generator
) -> list[ExponentDifference]:
    """Every exponent of both arms, and b's minus a's, by the standard normal numbers of `Surfaces.draw`.

    `rng` is for the rows that tables of many rows resample.
    """
    cells = surfaces.cells
    draws = _draws(cells, normal, level, rng)
    options = Options(draws=len(normal), level=level)
    out: list[ExponentDifference] = []
    fitted: tuple[dict[str, Fitted], dict[str, Fitted]] = ({}, {})
    for law in _joint_laws(cells):
        both = [fit_part(law, t, whole(t), options, d, deep=False) for t, d in zip(cells.tables, draws, strict=True)]
        fitted[0][law.name], fitted[1][law.name] = both
        out += _of_laws(both[0], both[1], level)
    out += _lines(cells, options, draws, level)
    return out + _frontiers(cells, fitted, draws, rng)


def _draws(cells: Cells, normal: Array, level: float, rng: np.random.Generator) -> tuple[Draws, Draws]:
    """Draws of each arm: redrawn noise, or resampled rows, the same cells of both arms where they are paired."""
    sizes = len(cells.a), len(cells.b)
    parts = normal[:, : sizes[0]], normal[:, sizes[0] :]
    seeds = [tuple(int(seed) for seed in rng.integers(2**63, size=3)) for _ in sizes]
    if cells.paired:
        seeds[1] = seeds[0]
    kinds = ["pairs" if n >= PAIRS_FROM else "wild" for n in sizes]
    a, b = (
        Draws(kind, len(z), n, (seed[0], seed[1], seed[2]), level, z)
        for kind, n, seed, z in zip(kinds, sizes, seeds, parts, strict=True)
    )
    return a, b


def _of_laws(a: Fitted, b: Fitted, level: float, at: str = "") -> list[ExponentDifference]:
    """Exponents of one law that was fitted to both arms; scales are no exponents."""
    out = []
    t_factor = max(a.t_factor, b.t_factor)
    for k, p in enumerate(a.law.parameters):
        if p.log:
            continue
        drawn = b.thetas[:, k] - a.thetas[:, k]
        difference = interval(float(b.fit.theta[k] - a.fit.theta[k]), drawn, level, t_factor)
        found = Difference(a.params[p.name], b.params[p.name], difference)
        out.append(ExponentDifference(a.law.name, False, p.name, at, found))
    return out


def _lines(cells: Cells, options: Options, draws: tuple[Draws, Draws], level: float) -> list[ExponentDifference]:
    """Laws of one variable: at the largest size of the other (and along the hull for C), and at each of its levels."""
    tables = cells.tables
    pairs: list[tuple[Law, Slice, Slice, str]] = []
    for law in ALL.values():
        if law.default and not is_joint(law) and all(t.has(law.inputs) for t in tables):
            a, b = (part_for(law, t) for t in tables)
            pairs.append((law, a, b, ""))
    others = all_slices(cells.b)
    for one in all_slices(cells.a):
        apart = [(abs(np.log((one.value or 1) / (s.value or 1))), s) for s in others if s.variable == one.variable]
        gap, two = min(apart, key=itemgetter(0), default=(np.inf, one))
        if gap <= SAME_LEVEL:
            pairs.append((ALL[f"power_{one.variable}"], one, two, f"{one.fixed}={one.value:.6g}"))
    out: list[ExponentDifference] = []
    for law, *parts, at in pairs:
        if any(refusal(law, table, part) for part, table in zip(parts, tables, strict=True)):
            continue
        fits = [fit_part(law, t, p, options, d, deep=False) for t, p, d in zip(tables, parts, draws, strict=True)]
        out += _of_laws(fits[0], fits[1], level, at)
    return out


def _frontiers(
    cells: Cells,
    fitted: tuple[dict[str, Fitted], dict[str, Fitted]],
    draws: tuple[Draws, Draws],
    rng: np.random.Generator,
) -> list[ExponentDifference]:
    """Exponents of N*, D* and L* by every method that both arms have."""
    found = []
    for table, laws, drawn in zip(cells.tables, fitted, draws, strict=True):
        model = surface(table, max(drawn.number, 1), rng) if laws else None
        found.append(all_frontiers(table, model, describing(laws), fit_cost(table), drawn, "parabola", "no law"))
    out = []
    for method in found[0]:
        for key in EXPONENTS:
            a, b = (result[method].intervals[key] for result in found)
            if a.known and b.known:
                out.append(ExponentDifference(method, True, key, "", Difference(a, b, difference_of(a, b))))
    return out


def difference_of(a: Interval, b: Interval) -> Interval:
    """b - a of two independent estimates: low = d - sqrt((b - b_low)^2 + (a_high - a)^2), and high likewise."""
    value = b.value - a.value
    if not (a.bounded and b.bounded):
        return Interval(value)
    return Interval(
        value,
        value - float(np.hypot(b.value - b.low, a.high - a.value)),
        value + float(np.hypot(b.high - b.value, a.value - a.low)),
    )

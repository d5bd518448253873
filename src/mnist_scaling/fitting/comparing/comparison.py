"""Everything that is said of two arms: differences, compute multiplier, verdict.

    log(L_b / L_a) = offset - (alpha_b - alpha_a) log N - (beta_b - beta_a) log D      N, D from the middle of the grid

Where the cells are paired it is the ratio of the two losses of each cell that is fitted, so that the noise and the
misfit that both arms share cancel. Otherwise each arm has its own level and slopes and both have one curvature.

The exponents of joint laws, the slopes at the largest cell, and the exponents of N*, D* and L* in C are of each arm
alone. The draws of both arms' laws share their noise as far as the cells do, so that it cancels in the difference. The
others come with intervals of their own: their difference is bounded by the square-root rule for two intervals (Zou &
Donner 2008), which takes them as independent and is wide otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mnist_scaling.errors import holds
from mnist_scaling.fitting.analysis import analyse
from mnist_scaling.fitting.comparing.multiplier import Frontiers, Multiplier, frontiers, multipliers
from mnist_scaling.fitting.comparing.pairing import Arm, Cells, Difference, match, match_twin
from mnist_scaling.fitting.comparing.surface import Surfaces, apart, basis, fit_surfaces
from mnist_scaling.fitting.comparing.target import TargetLosses, at_target
from mnist_scaling.fitting.diagnostics import Flag, of_laws
from mnist_scaling.fitting.fitted import Fitted, Options, fit_part
from mnist_scaling.fitting.fronts import EXPONENTS
from mnist_scaling.fitting.headline import SLOPES
from mnist_scaling.fitting.laws import ALL
from mnist_scaling.fitting.laws.base import Array, Law
from mnist_scaling.fitting.laws.power import SYMBOLS
from mnist_scaling.fitting.slices import can_hold, is_joint, ray_of, whole
from mnist_scaling.fitting.uncertainty.bootstrap import PAIRS_FROM, Draws, interval
from mnist_scaling.fitting.uncertainty.interval import OMITTED, Interval
from mnist_scaling.study.flags import CELLS_LEFT_OUT, NO_COMMON_LOSS, NOISE_UNKNOWN, NOT_PAIRED

MARGIN = 0.03
"""Differences of exponents, and of log losses, up to this size don't matter unless the user says otherwise."""

SHARE = 0.1
"""Share of an exponent that a difference which doesn't matter stays within, too: 0.03 is much of a slope of 0.08."""


@dataclass(frozen=True)
class ComparisonOptions:
    """How two arms are compared; `conf/compare.yaml` explains each key."""

    draws: int = 1000
    level: float = 0.95
    seed: int = 0
    margin: float = MARGIN
    exponents: bool = True
    """Whether joint laws and the headline's model are fitted to both arms, which takes seconds."""
    target: float | None = None
    """Compute at which the losses of both are compared, too."""

    def __post_init__(self) -> None:
        holds(self.draws >= 100, "bootstrap.draws >= 100", self.draws, "1000 is usual.")
        holds(0 < self.level < 1, "0 < bootstrap.level < 1", self.level, "0.95 is usual.")
        holds(self.margin > 0, "margin > 0", self.margin, "0.03 is usual.")
        holds(self.seed >= 0, "seed >= 0", self.seed, "0 is usual.")


@dataclass(frozen=True)
class ExponentDifference(Difference):
    """One exponent of a law, or of the frontier by a method, in both arms."""

    law: str = field(default="", metadata=OMITTED)
    method: str = field(default="", metadata=OMITTED)
    parameter: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two arms compared."""

    a: Arm
    b: Arm
    cells: Cells
    surfaces: Surfaces
    options: ComparisonOptions
    slopes: dict[str, Difference]
    """By "alpha", "beta", or "gamma" where tables have C alone."""
    twin: str | None
    """Name of the twin that shows what tuning leaves."""
    offset: Interval
    """log(L_b / L_a) in the middle of the shared sizes."""
    largest: Interval
    """log(L_b / L_a) as it was measured in the cell of the largest compute; nothing is known where none is paired."""
    multipliers: list[Multiplier]
    frontiers: Frontiers | None
    """L*(C) of both arms, on which the multipliers rest."""
    exponents: list[ExponentDifference]
    target: TargetLosses | None
    """The losses at the compute that was asked for."""
    flags: list[Flag]

    @property
    def verdict(self) -> dict[str, str]:
        """What the interval of each difference says."""
        margin = self.options.margin
        slopes = {k: verdict(v.difference, margin_of(v.a.value, margin)) for k, v in self.slopes.items()}
        return slopes | {"offset": verdict(self.offset, margin)}


def compare(
    a: Arm, b: Arm, options: ComparisonOptions | None = None, twin: tuple[Arm, Arm] | None = None
) -> Comparison:
    """Compare arm b with arm a: differences are b - a.

    Parameters
    ----------
    a, b : Arm
    options : ComparisonOptions, optional
    twin : pair of Arm, optional
        An arm, which need not be one of these two, and itself tuned again with another seed: what the two differ by is
        luck.

    Raises
    ------
    InputError
        When the arms share no range of sizes, or too few cells, a twin has other cells than its arm, or the target lies
        below what both cover.
    """
    options = options or ComparisonOptions()
    rng = np.random.default_rng(options.seed)
    cells = match(a, b)
    surfaces = fit_surfaces(cells, None if twin is None else match_twin(*twin, cells.variables))
    noise, normal, alone = surfaces.noise.draw(options.draws, rng)
    differences, offset, largest = slopes(surfaces, noise, alone, options.level)
    fronts = frontiers(surfaces, noise)
    multiplier = multipliers(fronts, options.level) if fronts else []
    exponents = exponent_differences(surfaces, normal, options, rng) if options.exponents else []
    flops, target = options.target, None
    if flops is not None:
        target = at_target(cells, fronts, flops, options.draws, options.level, rng)
    flags = _flags(a, b, surfaces, multiplier, fronts is not None)
    named = twin[1].name if twin else None
    return Comparison(
        a, b, cells, surfaces, options, differences, named, offset, largest, multiplier, fronts, exponents, target,
        flags,
    )  # fmt: skip


def _flags(a: Arm, b: Arm, surfaces: Surfaces, multiplier: list[Multiplier], costed: bool) -> list[Flag]:
    cells, out = surfaces.cells, []
    if not cells.paired:
        out.append(
            Flag(
                NOT_PAIRED,
                f"{a.name} and {b.name} share too few cells to be compared cell by cell, so each arm's rows in the "
                "range of sizes that both cover are compared as they are, and no noise cancels.",
            )
        )
    if any(cells.left_out):
        where = "that the other arm lacks" if cells.paired else "outside the range that both cover"
        parts = [f"{n} of {arm.name}" for arm, n in zip((a, b), cells.left_out, strict=True) if n]
        out.append(Flag(CELLS_LEFT_OUT, f"Cells {where} are not compared: {' and '.join(parts)}."))
    out += of_laws.collinear(ray_of(cells.a) or ray_of(cells.b))
    if not surfaces.noise.luck.dof > 0:
        out.append(Flag(NOISE_UNKNOWN, f"{len(cells.a)} cells leave nothing to measure the noise by."))
    if costed and not multiplier:
        out.append(
            Flag(
                NO_COMMON_LOSS,
                "No loss is reached by both arms inside the compute that they cover, so there is no compute "
                "multiplier without extrapolation.",
            )
        )
    return out


def solve_slopes(surfaces: Surfaces) -> tuple[Array, Array]:
    """Level and slopes of each arm from the log losses of both: two matrices of shape (1 + variables, rows)."""
    cells = surfaces.cells
    if not cells.paired:
        k = 1 + len(cells.variables)
        return surfaces.solve[0][:k], surfaces.solve[1][:k]
    linear = ((), *((k,) for k in range(len(surfaces.centre))))
    a, b = (basis(x - surfaces.centre, linear) for x in cells.x)
    return apart(a, b)


def slopes(
    surfaces: Surfaces, noise: Array, alone: tuple[Array, ...], level: float
) -> tuple[dict[str, Difference], Interval, Interval]:
    """Differences of the exponents by name, and log(L_b / L_a) in the middle of the grid and in its largest cell, by
    `ArmNoise.draw`: noise of differences, and of each arm alone. The latter's interval is the wider one, by cells or by
    seeds, since few seeds tell little of their scatter; so is that of the largest cell, whose noise may be its own."""
    solve_a, solve_b = solve_slopes(surfaces)

    def estimate(row: Array, noise: Array = noise) -> Interval:
        return interval(float(row @ surfaces.y), (surfaces.y + noise) @ row, level, 1.0)

    def own(row: Array) -> Interval:
        return max((estimate(row, one) for one in alone), key=lambda one: one.high - one.low)

    exponents = {}
    for k, variable in enumerate(surfaces.cells.variables, start=1):
        a, b = -solve_a[k], -solve_b[k]
        exponents[SYMBOLS[variable][1]] = Difference(own(a), own(b), estimate(b - a))
    cells, largest = surfaces.cells, Interval()
    if cells.paired:
        cost = cells.a.log_cost(cells.variables)
        ends = np.zeros((2, len(cost)))
        ends[:, np.argmax(cost)] = -1, 1
        largest = own(ends.ravel())
    return exponents, estimate(solve_b[0] - solve_a[0]), largest


DIFFERS, EQUIVALENT, NOT_SETTLED = "differs", "equivalent", "not settled"


def margin_of(exponent: float, margin: float) -> float:
    """Difference from an exponent of arm a that doesn't matter: `margin`, but no more than `SHARE` of it."""
    return min(margin, SHARE * abs(exponent))


def verdict(difference: Interval, margin: float) -> str:
    """differs, equivalent or not settled: what the interval of a difference says, given a margin of equivalence.

    Arms are equivalent where the whole interval lies within the margin, even if it misses 0 (two one-sided tests;
    Schuirmann 1987). They differ where it does not and misses 0. An interval that holds 0 shows nothing by itself.
    """
    if difference.bounded and -margin <= difference.low and difference.high <= margin:
        return EQUIVALENT
    return DIFFERS if difference.excludes(0) else NOT_SETTLED


def exponent_differences(
    surfaces: Surfaces, normal: Array, asked: ComparisonOptions, rng: np.random.Generator
) -> list[ExponentDifference]:
    """Exponents of joint laws in both arms, by the standard normal numbers of `ArmNoise.draw`; and what `fit` quotes.

    `rng` is for the rows that tables of many rows resample.
    """
    cells = surfaces.cells
    if cells.variables != ("N", "D"):
        return []
    draws, level, out = _draws(cells, normal, asked.level, rng), asked.level, []
    options = Options(draws=len(normal), level=level, seed=asked.seed)
    laws = [law for law in ALL.values() if is_joint(law) and law.default and set(law.inputs) <= {"N", "D"}]
    laws = [law for law in laws if all(can_hold(table, law) for table in cells.tables)]
    for law in laws:
        a, b = (fit_part(law, t, whole(t), options, d, deep=False) for t, d in zip(cells.tables, draws, strict=True))
        out += _of_law(law, a, b, level)
    return out + (quoted_differences(cells, options) if laws else [])


def quoted_differences(cells: Cells, options: Options) -> list[ExponentDifference]:
    """Slopes in the largest cell, where both arms have it, and exponents of the frontier, as `fit` quotes them of the
    cells that are compared of each arm."""
    out = []
    alone = [analyse(table, options).headline for table in cells.tables]
    for key in (*(SLOPES if cells.paired else ()), *EXPONENTS):
        of_a, of_b = (getattr(headline, key) for headline in alone)
        if of_a.known and of_b.known:
            of_both = of_a, of_b, difference_of(of_a, of_b)
            inside = [one.inside for one in alone if key in EXPONENTS and one.inside is not None]
            inside = inside if len(inside) == len(alone) else []
            out.append(ExponentDifference(*of_both, method="parametric", parameter=key, inside=inside))
    return out


def _draws(cells: Cells, normal: Array, level: float, rng: np.random.Generator) -> list[Draws]:
    """Draws of each arm: redrawn noise, or resampled rows, the same cells of both arms where they are paired."""
    sizes = len(cells.a), len(cells.b)
    parts = normal[:, : sizes[0]], normal[:, sizes[0] :]
    seeds = [tuple(int(seed) for seed in rng.integers(2**63, size=3)) for _ in sizes]
    if cells.paired:
        seeds[1] = seeds[0]
    return [
        Draws("pairs" if n >= PAIRS_FROM else "wild", len(z), n, (one, two, three), level, z)
        for n, (one, two, three), z in zip(sizes, seeds, parts, strict=True)
    ]


def _of_law(law: Law, a: Fitted, b: Fitted, level: float) -> list[ExponentDifference]:
    """Exponents of one law that was fitted to both arms; scales are no exponents."""
    out, t_factor = [], max(a.t_factor, b.t_factor)
    for k, p in enumerate(law.parameters):
        if not p.log:
            drawn = b.thetas[:, k] - a.thetas[:, k]
            difference = interval(float(b.fit.theta[k] - a.fit.theta[k]), drawn, level, t_factor)
            of_both = a.params[p.name], b.params[p.name], difference
            out.append(ExponentDifference(*of_both, law=law.name, parameter=p.name))
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

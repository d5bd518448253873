"""Before anything has run: the grid, the trials and the repeats that say most of the exponents in a given time.

    ln L = law + g + e        var of a slope = t' (1 + Z' V^-1 Z)^-1 t        V = luck^2 + seed^2 / repeats

Z are the gradients of a usual law and the waves of a usual misfit (`fitting.misfit.process`) at the cells, scaled to
their prior standard deviations, and t those of a slope at the largest cell. No loss is needed for that: of a linear
model the width of an interval depends on the cells, the noise and the prior alone. Grids are whole: every width with
every share of the data, so that N and D never move together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.laws import get_law
from mnist_scaling.fitting.laws.base import STEP, Array
from mnist_scaling.fitting.misfit.posterior import LENGTH, SIZE, SPREAD
from mnist_scaling.fitting.misfit.process import Axes, Shape, design
from mnist_scaling.planning.measurements import CellEffort

SEED_SD, LUCK_SD = 0.065, 0.2
"""Usual standard deviations of ln L between seeds, and of what one trial leaves to luck: medians of the 27 kept studies
of tests/asking/kept, whose certificates say the latter."""

LAW = {"E": 0.03, "A": 3.0, "B": 60.0, "alpha": 0.35, "beta": 0.6, "gamma": 1.0}
"""A usual surface of the loss; what an interval's width depends on is its slopes."""

TRIALS, REPEATS = (4, 6, 8, 12, 16, 24, 32, 48), (2, 3, 4, 6, 9, 12)
"""What is offered per cell."""

FULL = 0.85
"""Least share of the time that an offer takes; where none does that fits, smaller ones are looked at."""

MOST_TIMED = 100
"""Of such offers, how many of the best are timed to see whether they fit."""

NORMAL = 2 * 1.96
"""Width of a 95 % interval in standard deviations."""


@dataclass(frozen=True)
class WholeGrid:
    """All cells that could be run: sizes x amounts of data, arrays of shape (sizes, amounts)."""

    log_n: Array
    log_d: Array
    """Ascending along both axes."""
    trial: Array
    """Seconds of one core that a trial takes."""
    repeat: Array
    """And all runs that one more repeat means."""

    @cached_property
    def waves(self) -> tuple[Array, Array, Array]:
        """Z of all cells, shape (sizes, amounts, k), and the same of both slopes."""
        shape = self.log_n.shape
        logs = {"N": self.log_n.ravel(), "D": self.log_d.ravel()}
        axes, law = Axes.of(logs), get_law("coupled")
        theta = law.internal(LAW)
        y, _ = law.evaluate(theta[None], logs)
        unit = float(np.ptp(y)) / 2 * np.exp(SIZE[0])
        misfit = Shape(np.full((1, 3), unit), np.full((1, 2), np.exp(LENGTH[0])))
        of_waves = np.sqrt(np.concatenate(misfit.variances(), axis=1)[0])
        of_law = np.array([SPREAD["log"] if p.log else SPREAD.get(p.name, SPREAD[""]) for p in law.parameters])
        of_law[law.names.index("E")] *= float(np.exp(y.min()))

        def z(log_n: Array, log_d: Array) -> Array:
            at = {"N": log_n.ravel(), "D": log_d.ravel()}
            gradient = law.evaluate(theta[None], at)[1][0].T
            return np.concatenate([gradient * of_law, design(axes.features(at)) * of_waves], axis=1).reshape(*shape, -1)

        n, d = self.log_n, self.log_d
        alpha, beta = z(n - STEP, d) - z(n + STEP, d), z(n, d - STEP) - z(n, d + STEP)
        return z(n, d), alpha / (2 * STEP), beta / (2 * STEP)


@dataclass(frozen=True)
class Offer:
    """A study that could be run, of every one of its sizes with every one of its amounts of data."""

    sizes: tuple[int, ...]
    """Positions of the grid's sizes, and below of its amounts of data."""
    amounts: tuple[int, ...]
    trials: int
    repeats: int
    work: float
    """Seconds of one core that its runs take."""
    widths: Mapping[str, float]
    """Expected widths of the 95 % intervals of alpha and beta at the largest cell of the whole grid: cheap cells alone
    say little of it."""

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.sizes) * len(self.amounts)


@dataclass(frozen=True)
class Proposal:
    """An offer as a study that can be run, and what it is expected to take."""

    offer: Offer
    axes: tuple[str, ...]
    """Config keys with their values, as overrides."""
    seconds: float
    pace: float
    calibrated: int
    """Runs that the pace is known from."""
    path: str
    """Of the experiment's file."""
    command: str
    """What runs it."""


def intervals(grid: WholeGrid, sizes: tuple[int, ...], amounts: tuple[int, ...], variance: float) -> dict[str, float]:
    """Expected widths of the intervals of alpha and beta where the grid is largest, for cells of that variance."""
    at = np.ix_(sizes, amounts)
    cells, slopes = grid.waves[0][at].reshape(len(sizes) * len(amounts), -1), grid.waves[1:]
    gram = cells @ cells.T + variance * np.eye(len(cells))
    out = {}
    for name, slope in zip(("alpha", "beta"), slopes, strict=True):
        t = slope[-1, -1]
        known = cells @ t
        out[name] = NORMAL * float(np.sqrt(max(t @ t - known @ np.linalg.solve(gram, known), 0.0)))
    return out


def _runs(count: int) -> list[tuple[int, ...]]:
    """Evenly spaced positions, two or more, of an axis of so many values."""
    return [
        tuple(range(low, high + 1, step))
        for low, high in combinations(range(count), 2)
        for step in range(1, count)
        if (high - low) % step == 0
    ]


def offers(grid: WholeGrid, work: float) -> list[Offer]:
    """Studies of at most so much work, in seconds of all cores together; those with the narrowest intervals first."""
    found = []
    for sizes in _runs(grid.log_n.shape[0]):
        for amounts in _runs(grid.log_n.shape[1]):
            at = np.ix_(sizes, amounts)
            trial, repeat = float(grid.trial[at].sum()), float(grid.repeat[at].sum())
            for trials in TRIALS:
                # The most repeats that there is time for: fewer say less.
                able = [r for r in REPEATS if FULL * work <= trials * trial + r * repeat <= work]
                if able:
                    luck = LUCK_SD * trials ** -CellEffort(trials, able[-1]).power
                    widths = intervals(grid, sizes, amounts, luck**2 + SEED_SD**2 / able[-1])
                    total = trials * trial + able[-1] * repeat
                    found.append(Offer(sizes, amounts, trials, able[-1], total, widths))
    return sorted(found, key=lambda offer: sum(width**2 for width in offer.widths.values()))


def best(grid: WholeGrid, minutes: float, cores: int, seconds: Callable[[Offer], float]) -> Offer:
    """The study whose intervals are narrowest, of those that take the time that there is by `seconds`.

    Raises
    ------
    InputError
        When the time does not hold two sizes with two amounts of data.
    """
    limit = 60 * minutes
    at = np.ix_((0, 1), (0, 1))
    least = TRIALS[0] * float(grid.trial[at].sum()) + REPEATS[0] * float(grid.repeat[at].sum())
    work = limit * cores
    while work >= least:
        for offer in offers(grid, work)[:MOST_TIMED]:
            if seconds(offer) <= limit:
                return offer
        work *= FULL
    needed = seconds(Offer((0, 1), (0, 1), TRIALS[0], REPEATS[0], least, {}))
    raise InputError(
        f"`minutes` must hold three cells or more, of two sizes and two amounts of data, but got {minutes:g}: give "
        f"minutes={np.ceil(needed / 6) / 10:g} or more."
    )

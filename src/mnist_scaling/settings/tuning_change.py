"""What tuning changed: exponents of the same cells untuned, selected and tuned, and the change between them.

    L_s = k_s N^-alpha_s D^-beta_s        s = untuned, selected, tuned
    tuned / untuned = k N^-(alpha_tuned - alpha_untuned) D^-(beta_tuned - beta_untuned)

The change is fitted to the ratio of the two losses of each cell, so that what both share (the cell's data, the
misfit of a power law) cancels. Its intervals hold the seeds of both sides, by their repeats, and what tuning left to
luck, which neighbouring cells share (`uncertainty.luck`); the ratios of the whole grid tell of both. An interval of
95 % holds its own change in 95 % of studies; to speak of several slices at once, read `simultaneous`, which
Bonferroni's inequality widens to level 1 - (1 - level) / slices.

Exponents of one side alone are by least squares. Cells of one amount of data may share an error there, such as one draw
of the images that every width was trained on: the plane's intervals hold it where the residuals show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from mnist_scaling.fitting.comparing.pairing import PairNoise, of_ratio
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table, level_of
from mnist_scaling.fitting.slices import ray_of
from mnist_scaling.fitting.uncertainty.bootstrap import interval
from mnist_scaling.fitting.uncertainty.interval import INLINE, Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL, exponents
from mnist_scaling.fitting.uncertainty.luck import Field, luck, ratios

SOURCES = ("untuned", "selected", "tuned")
"""Losses of a cell: the mean over repeats of the untuned setting (one run in studies that did not repeat it), the best
trial (biased low), the mean over repeats of the selected setting."""

CHANGE, SIMULTANEOUS = "change", "simultaneous"
"""tuned - untuned, with an interval for each, and with intervals that hold together."""

DRAWS, SEED = 2000, 0
"""Draws of the noise of a change, of which a simultaneous interval takes the outermost, and the seed of these."""

FEWEST = 3
"""Distinct values along a slice: a line through two points has no residual."""


@dataclass(frozen=True)
class TunedCells:
    """Validation losses of the cells of one grid, arrays of shape (n,); NaN where a cell lacks one."""

    N: Array
    D: Array
    untuned: Array
    selected: Array
    tuned: Array
    tuned_se: Array
    untuned_se: Array = field(default_factory=lambda: np.empty(0))
    """Empty where no untuned setting was repeated."""
    levels: Mapping[str, Array] = field(default_factory=dict)
    """By "N" or "D": values of the axis that sets it, shape (n,). Cells of one level form a slice even where N or D
    differs between them, as D does under early stopping. N and D themselves where it is left out."""
    noise: PairNoise | None = None
    """Of the means of a cell, (untuned, tuned), as repeats of the same seeds on both sides show it."""

    @property
    def both(self) -> np.ndarray:
        """Mask of the cells that have an untuned and a tuned loss."""
        return np.isfinite(self.untuned) & np.isfinite(self.tuned)

    @property
    def log_ratio(self) -> Array:
        """log(tuned / untuned), shape (n,)."""
        return np.asarray(np.log(self.tuned / self.untuned))

    def levels_of(self, variable: str) -> Array:
        """Value of "N" or "D" of each cell's level, or of the axis that sets it, shape (n,)."""
        x: Array = getattr(self, variable)
        if variable in self.levels:
            return self.levels[variable]
        out, known = x.copy(), np.flatnonzero(x > 0)
        if len(known):
            out[known] = Table(x[known], {variable: x[known]}).levels(variable)[level_of(np.log(x[known]))]
        return out


@dataclass(frozen=True)
class SliceChange:
    """Exponents along one variable while the other stands still."""

    variable: str
    """N or D."""
    fixed: str | None
    """The other variable; None where the grid does not vary it."""
    at: float
    """Where on the fixed variable's axis."""
    rows: np.ndarray
    """Positions of the cells; in fits.json, their numbers in the file."""
    exponents: Mapping[str, Interval] = field(default_factory=dict, metadata=INLINE)
    """By `SOURCES`, `CHANGE` and `SIMULTANEOUS`."""


@dataclass(frozen=True)
class TuningChange:
    """What tuning changed on one grid."""

    slices: list[SliceChange]
    plane: dict[str, dict[str, Interval]]
    """By source as in a slice, then by variable: one plane through all cells."""
    left_out: np.ndarray
    """Positions of the cells without an untuned or a tuned loss."""
    level: float


def tuning_change(cells: TunedCells, level: float = LEVEL) -> TuningChange:
    """Exponents of every slice and of one plane through all cells, untuned, selected, tuned and their change.

    `level` is that of each interval, such as 0.95.
    """
    both = np.flatnonzero(cells.both)
    lines = [line for variable, fixed in (("D", "N"), ("N", "D")) for line in _lines(cells, both, variable, fixed)]
    joint = 1 - (1 - level) / max(len(lines), 1)
    used = [k for k in ("N", "D") if len(both) and level_of(np.log(getattr(cells, k)[both])).max() > 0]
    noise = _noise(cells, both, used)
    slices = []
    for variable, fixed, at, index in lines:
        by_source = _fits(cells, index, [variable], noise, level, joint)
        slices.append(SliceChange(variable, fixed, at, index, {k: v[variable] for k, v in by_source.items()}))
    plane = _fits(cells, both, used, noise, level, 1 - (1 - level) / max(len(used), 1)) if used else {}
    return TuningChange(slices, plane, np.flatnonzero(~cells.both), level)


def _noise(cells: TunedCells, both: np.ndarray, used: list[str]) -> Array:
    """Draws of the noise of each cell's log ratio, shape (draws, n); NaN where a cell has none, or nothing tells."""
    out = np.full((DRAWS, len(cells.N)), np.nan)
    if not used or len(both) < FEWEST:
        return out
    field = _field(cells, both, used)
    numbers = ratios(cells.log_ratio[both], field, 1.0)
    seeds = (0.0, 0.0) if cells.noise is None else (of_ratio(cells.noise.covariance), cells.noise.dof)
    posterior = luck([numbers], *seeds)
    if posterior.dof > 0:
        rng = np.random.default_rng(SEED)
        points, s = posterior.draw(DRAWS, rng)
        own = rng.standard_normal((DRAWS, len(both))) * np.sqrt(numbers.own)
        out[:, both] = s[:, None] * (own + posterior.field(points, field, rng))
    return out


def _field(cells: TunedCells, rows: np.ndarray, variables: list[str]) -> Field:
    x, axes = (np.column_stack([of(k)[rows] for k in variables]) for of in (partial(getattr, cells), cells.levels_of))
    return Field(np.log(x), tuple(variables), axes=axes)


def _lines(
    cells: TunedCells, rows: np.ndarray, variable: str, fixed: str
) -> list[tuple[str, str | None, float, np.ndarray]]:
    """Cells at each level of the other variable, sorted along the variable."""
    x, level = getattr(cells, variable), cells.levels_of(fixed)
    if len(np.unique(cells.levels_of(variable)[rows])) < 2:
        return []  # it moves only with the other one, as D does with N under early stopping
    several = len(np.unique(level[rows])) > 1
    out = []
    for value in np.unique(level[rows]):
        line = rows[level[rows] == value]
        line = line[np.argsort(x[line], kind="stable")]
        if level_of(np.log(x[line])).max() + 1 >= FEWEST:
            out.append((variable, fixed if several else None, float(value), line))
    return out


def _fits(
    cells: TunedCells, index: np.ndarray, variables: list[str], noise: Array, level: float, joint: float
) -> dict[str, dict[str, Interval]]:
    """Exponents in the variables by source; `joint` is the level of the simultaneous intervals of the change."""
    inputs: list[ArrayLike] = [getattr(cells, k)[index] for k in variables]
    shared = cells.levels_of("D")[index] if len(variables) > 1 else None
    by_source = {
        source: exponents(getattr(cells, source)[index], *inputs, level=level, shared=shared) for source in SOURCES
    }
    y, x = cells.log_ratio[index], np.log(np.column_stack(inputs))
    x = x - x.mean(axis=0)
    if len(variables) > 1 and ray_of(Table(np.exp(y), dict(zip(variables, map(np.asarray, inputs), strict=True)))):
        return {source: {k: Interval() for k in variables} for source in (*SOURCES, CHANGE, SIMULTANEOUS)}
    for source, at in ((CHANGE, level), (SIMULTANEOUS, joint)):
        drawn = y + noise[:, index]
        by_source[source] = [interval(float(row @ y), drawn @ row, at, 1.0) for row in -np.linalg.pinv(x)]
    return {source: dict(zip(variables, intervals, strict=True)) for source, intervals in by_source.items()}

"""What tuning changed: exponents of the same cells untuned, selected and tuned, and the change between them.

    L_s = k_s N^-alpha_s D^-beta_s        s = untuned, selected, tuned
    tuned / untuned = k N^-(alpha_tuned - alpha_untuned) D^-(beta_tuned - beta_untuned)

The change is fitted to the ratio of the two losses of each cell, so that what both share (the cell's data, the
misfit of a power law) cancels. An interval of 95 % holds its own change in 95 % of studies; to speak of several
slices at once, read `simultaneous`, which Bonferroni's inequality widens to level 1 - (1 - level) / slices.

Cells of one amount of data may share an error, such as one draw of the images that every width was trained on. The
plane's intervals hold it where the residuals show it; along a slice it is either common to all or each cell's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL, exponents

SOURCES = ("untuned", "selected", "tuned")
"""Losses of a cell: one run at the untuned setting, the best trial (biased low), the mean over fresh repeats."""

CHANGE, SIMULTANEOUS = "change", "simultaneous"
"""tuned - untuned, with an interval for each, and with intervals that hold together."""

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
    levels: Mapping[str, Array] = field(default_factory=dict)
    """By "N" or "D": values of the axis that sets it, shape (n,). Cells of one level form a slice even where N or D
    differs between them, as D does under early stopping. N and D themselves where it is left out."""

    @property
    def both(self) -> np.ndarray:
        """Mask of the cells that have an untuned and a tuned loss."""
        return np.isfinite(self.untuned) & np.isfinite(self.tuned)

    def loss(self, source: str) -> Array:
        """The loss of one of `SOURCES`, or, for `CHANGE`, tuned over untuned."""
        return self.tuned / self.untuned if source in (CHANGE, SIMULTANEOUS) else getattr(self, source)


@dataclass(frozen=True)
class SliceChange:
    """Exponents along one variable while the other stands still."""

    variable: str
    """N or D."""
    fixed: str | None
    """The other variable; None where the grid does not vary it."""
    at: float
    """Where on the fixed variable's axis."""
    index: np.ndarray
    """Positions of the cells."""
    exponents: dict[str, Interval]
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

    Parameters
    ----------
    cells : TunedCells
    level : float
        Of each interval, such as 0.95.

    Returns
    -------
    TuningChange
        Without slices where no line of the grid has three cells with both losses.
    """
    both = np.flatnonzero(cells.both)
    lines = [line for variable, fixed in (("D", "N"), ("N", "D")) for line in _lines(cells, both, variable, fixed)]
    joint = 1 - (1 - level) / max(len(lines), 1)
    slices = [
        SliceChange(
            variable,
            fixed,
            at,
            index,
            {k: v[variable] for k, v in _fits(cells, index, [variable], level, joint).items()},
        )
        for variable, fixed, at, index in lines
    ]
    used = [k for k in ("N", "D") if len(np.unique(getattr(cells, k)[both])) > 1]
    plane = _fits(cells, both, used, level, 1 - (1 - level) / max(len(used), 1)) if used else {}
    return TuningChange(slices, plane, np.flatnonzero(~cells.both), level)


def _lines(
    cells: TunedCells, rows: np.ndarray, variable: str, fixed: str
) -> list[tuple[str, str | None, float, np.ndarray]]:
    """Cells at each level of the other variable, sorted along the variable."""
    x, level = getattr(cells, variable), cells.levels.get(fixed, getattr(cells, fixed))
    if len(np.unique(cells.levels.get(variable, x)[rows])) < 2:
        return []  # it moves only with the other one, as D does with N under early stopping
    several = len(np.unique(level[rows])) > 1
    out = []
    for value in np.unique(level[rows]):
        line = rows[level[rows] == value]
        line = line[np.argsort(x[line], kind="stable")]
        if len(np.unique(x[line])) >= FEWEST:
            out.append((variable, fixed if several else None, float(value), line))
    return out


def _fits(
    cells: TunedCells, index: np.ndarray, variables: list[str], level: float, joint: float
) -> dict[str, dict[str, Interval]]:
    """Exponents in the variables by source; `joint` is the level of the simultaneous intervals of the change."""
    inputs: list[ArrayLike] = [getattr(cells, k)[index] for k in variables]
    levels = {**dict.fromkeys(SOURCES, level), CHANGE: level, SIMULTANEOUS: joint}
    shared = cells.levels.get("D", cells.D)[index] if len(variables) > 1 else None
    return {
        source: dict(
            zip(variables, exponents(cells.loss(source)[index], *inputs, level=at, shared=shared), strict=True)
        )
        for source, at in levels.items()
    }

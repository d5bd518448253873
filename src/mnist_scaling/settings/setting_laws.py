"""How the best learning rate, batch size or dropout moves with N, D, steps or loss: least squares over the cells.

    v = a + b . (ln x - centre)        v: the best ln lr, ln batch size, or dropout itself; x: N and D, say

So lr* ~ N^b_N D^b_D for a key that was searched on a log scale. The best setting of a cell is that of its best trial,
which is luckier than others: what that scatters by about the line is in every interval. Intervals are Student's, and
what is predicted is an interval for a new cell, not for the line:

    v +- t sqrt(x' Cov x + spread^2)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL, plane
from mnist_scaling.study.tables.cell_runs import CellTrials

AGAINST = (("N", "D"), ("steps",), ("loss",))
"""What the best settings are set against, each by itself; a size that all cells share is left out."""

FEWEST_FREE = 2
"""Cells that a line needs beyond its coefficients."""

FEWEST_INSIDE = 0.8
"""Share of the cells whose best value must lie inside the range that was searched."""

EDGE = 1e-6
"""Share of the range within which a value lies at its end."""


@dataclass(frozen=True)
class SettingLaw:
    """One line: the best setting against one or two sizes."""

    against: tuple[str, ...]
    exponents: Mapping[str, Interval]
    """By size: the exponent of a key on a log scale, else the change per unit of ln size."""
    centre: Mapping[str, float]
    """Means of the ln sizes: the constant is the best setting there."""
    constant: float
    covariance: Array
    """Of the constant and the exponents, (1 + p, 1 + p)."""
    spread: float
    """Standard deviation of the cells' best settings about the line."""
    n: int


@dataclass(frozen=True)
class KeyLaws:
    """What is known of the best values of one key, as fits.json has it."""

    scale: str
    """log or linear."""
    range: Mapping[str, float]
    """That was searched, over all cells, in the key's own units: low and high."""
    status: str
    """ok, or why there is no law, as a sentence."""
    cells: int
    """Those whose best value is known."""
    edges: Mapping[str, int] = field(default_factory=dict)
    """Of these, cells whose best value lies at the low or the high end of their range."""
    laws: Sequence[SettingLaw] = ()

    @property
    def log(self) -> bool:
        """Whether the key was searched on a log scale."""
        return self.scale == "log"

    @property
    def at_edge(self) -> int:
        """Cells whose best value lies at an end of their range."""
        return sum(self.edges.values())


def setting_laws(cells: Sequence[CellTrials], keys: Mapping[str, bool], level: float = LEVEL) -> dict[str, KeyLaws]:
    """The laws of every key, by its name; a key without one says why in its status.

    `keys` say of each tuned key whether it was searched on a log scale, in the order of the columns of
    `CellTrials.settings`; `level` is that of each interval, such as 0.95.
    """
    return {name: _of_key(cells, column, name, log, level) for column, (name, log) in enumerate(keys.items())}


def best_values(cells: Sequence[CellTrials], column: int, log: bool) -> tuple[Array, Array]:
    """Best value of a key in each cell, in its own units, and its side: both (cells,), NaN where it is not known.

    The side is -1 or 1 where the value lies at the lower or the upper end of the cell's range, and 0 inside.
    """
    best, low, high = np.array([(c.best(column), c.low[column], c.high[column]) for c in cells]).T
    v, bottom, top = (np.log(a) if log else a for a in (best, low, high))
    near = EDGE * (top - bottom)
    side = np.where(v <= bottom + near, -1.0, np.where(v >= top - near, 1.0, 0.0))
    side[~np.isfinite(v + bottom)] = np.nan
    return best, side


def _of_key(cells: Sequence[CellTrials], column: int, name: str, log: bool, level: float) -> KeyLaws:
    best, side = best_values(cells, column, log)
    known = np.isfinite(side)
    low, high = np.nanmin([c.low[column] for c in cells]), np.nanmax([c.high[column] for c in cells])
    ends = {"low": float(low), "high": float(high)}
    edges = {"low": int((side == -1).sum()), "high": int((side == 1).sum())}
    laws: list[SettingLaw] = []
    outside, every = sum(edges.values()), int(known.sum())
    if every - outside < FEWEST_INSIDE * every:
        why = f"Not measured: {outside} of {every} best values of {name} lie at an end of the range."
    else:
        v = np.where(known, np.log(best) if log else best, np.nan)
        laws = [law for names in AGAINST if (law := _law(cells, v, names, level)) is not None]
        why = "ok" if laws else f"{every} cells are too few, or all of one size."
    return KeyLaws("log" if log else "linear", ends, why, every, edges, laws)


def _law(cells: Sequence[CellTrials], v: Array, names: tuple[str, ...], level: float) -> SettingLaw | None:
    """The line of a key against some sizes; None where the cells don't hold one."""
    sizes = np.log([[cell.sizes.get(name, np.nan) for name in names] for cell in cells])
    kept = np.isfinite(v) & np.isfinite(sizes).all(axis=1)
    varying = [i for i in range(len(names)) if kept.any() and np.ptp(sizes[kept, i]) > 1e-6]
    names, x = tuple(names[i] for i in varying), sizes[kept][:, varying]
    n, p = len(x), 1 + len(names)
    if not names or n < p + FEWEST_FREE or np.linalg.matrix_rank(x - x.mean(axis=0), 1e-6) < p - 1:
        return None
    centre = x.mean(axis=0)
    line = plane(v[kept], *(x - centre).T)
    variance = float((line.residual**2).sum()) / line.free
    covariance = np.asarray(variance * np.linalg.inv(line.design.T @ line.design), float)
    half = float(stdtrit(line.free, 0.5 + level / 2)) * np.sqrt(np.diag(covariance))
    constant, *slopes = map(float, line.coefficients)
    ends = {k: Interval(b, float(b - h), float(b + h)) for k, b, h in zip(names, slopes, half[1:], strict=True)}
    middle = dict(zip(names, map(float, centre), strict=True))
    return SettingLaw(names, ends, middle, constant, covariance, float(np.sqrt(variance)), n)


def prior(laws: Mapping[str, KeyLaws], level: float = LEVEL, **sizes: float) -> dict[str, Interval]:
    """The best value of each key for a new cell: ``prior(laws, N=1e5, D=5e4)["lr"].value``, ``.low`` and ``.high``.

    Parameters
    ----------
    laws : mapping of KeyLaws
        Of `setting_laws`, or ``settings_laws.keys`` of fits.json.
    level : float
    **sizes : float
        N and D of the new cell; for a key without a law against these, steps or loss are used where they are given.

    Returns
    -------
    dict
        Key to value, low and high, in the key's own units. A key without a law against what is given is left out.
        A key on a linear scale, such as dropout, stays within the range that was searched; a learning rate may not.
    """
    best = {}
    for name, one in laws.items():
        law = next((law for law in one.laws if set(law.against) <= set(sizes)), None)
        if law is not None:
            best[name] = predict(law, one, sizes, level)
    return best


def predict(law: SettingLaw, of: KeyLaws, sizes: Mapping[str, float], level: float = LEVEL) -> Interval:
    """The best value of a new cell of these sizes by one of a key's laws, with the interval that it should lie in."""
    x = np.array([1.0, *(np.log(sizes[name]) - law.centre[name] for name in law.against)])
    slopes = np.array([law.constant, *(law.exponents[name].value for name in law.against)])
    deviation = float(np.sqrt(x @ law.covariance @ x + law.spread**2))
    reach = float(stdtrit(law.n - len(x), 0.5 + level / 2)) * deviation
    ends = [float(x @ slopes) + step * reach for step in (0, -1, 1)]
    return Interval(*ends).exp() if of.log else Interval(*np.clip(ends, of.range["low"], of.range["high"]).tolist())


def share_of_range(guess: Interval, of: KeyLaws) -> float:
    """Width of an interval over that of the range that was searched, in logs for a key on a log scale."""
    ends = np.array([guess.low, guess.high, of.range["low"], of.range["high"]])
    low, high, least, most = np.log(ends) if of.log else ends
    return float((high - low) / (most - least))

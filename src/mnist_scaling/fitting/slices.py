"""Which rows a law is fitted to: all, those along one line of a grid, or a ladder on which N and D move together.

ln D = ln k + p ln N        a ladder: on it the exponents of N and of D can't be told apart
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from mnist_scaling.fitting.fronts import hull_rows
from mnist_scaling.fitting.laws.base import Law
from mnist_scaling.fitting.rows import SAME_LEVEL, Table

RESOLVED = 0.25
"""Half of the interval of a slope across the ladder, beyond which N and D count as moving together: it is as wide as an
exponent is large."""

NARROW = 0.1
"""Root mean square distance from a line over that along it, above which rows are near none: of 130 simulated tables
below it, 17 % of the intervals of N*'s exponent missed the truth, and 6 % of 103 above."""

TOGETHER = 0.9
"""Correlation of ln N and ln D below which they don't move together."""

QUIET = 0.003
"""Noise of a log loss that is assumed at least: beside it, no table shows what a whole batch more or less does."""

ALONG = "ray"
"""`Slice.fixed` of the rows of a ladder."""


@dataclass(frozen=True)
class Slice:
    """Rows over which one variable moves while the other stands still."""

    variable: str
    fixed: str | None
    """"D", "N", "frontier" (the lower hull over C), "budget" (the best row at each C), "ray" (N and D move together),
    or None for all rows."""
    value: float | None
    """Of the fixed variable."""
    rows: np.ndarray
    """Positions of the rows; in fits.json, their numbers in the file."""


@dataclass(frozen=True)
class Ladder:
    """A ladder: ln D = ln k + p ln N."""

    power: float
    """p: 1 where the ratio of tokens to parameters is the same for all."""
    log_k: float
    across: float
    """How far the rows are from it: root mean square in log D."""

    @property
    def words(self) -> str:
        """Such as "D = 20 N"."""
        size = "N" if abs(self.power - 1) < 0.01 else f"N^{self.power:.2f}"
        return f"D = {np.exp(self.log_k):.3g} {size}"

    def holds(self, point: Mapping[str, float]) -> bool:
        """Whether a point, given by logs of its inputs, is on the ladder as far as the rows are; or names but one."""
        if not {"N", "D"} <= point.keys():
            return True
        return abs(point["D"] - self.log_k - self.power * point["N"]) <= max(3 * self.across, 2 * SAME_LEVEL)


def near_line(table: Table) -> Ladder | None:
    """The line that the rows lie near, within `NARROW` of its length; None where they span N and D, or one is still.

    A slope across it may be known, but not where the loss is lowest at a compute: that takes how the slope bends, over
    a range that such rows lack. Those of a grid that is narrow in N or in D are near no line: the two don't move
    `TOGETHER`.
    """
    if not table.has(("N", "D")):
        return None
    x = np.column_stack([np.log(table.inputs[k]) for k in ("N", "D")])
    if np.ptp(x, axis=0).min() <= SAME_LEVEL or abs(np.corrcoef(x.T)[0, 1]) < TOGETHER:
        return None
    middle = x.mean(axis=0)
    size, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    across, length = np.sqrt(np.maximum(size, 0.0))
    if across > max(NARROW * length, SAME_LEVEL / 2):
        return None
    power = float(axes[1, 1] / axes[0, 1])
    log_k = float(middle[1] - power * middle[0])
    return Ladder(power, log_k, float(np.sqrt(np.mean((x[:, 1] - log_k - power * x[:, 0]) ** 2))))


def ray_of(table: Table) -> Ladder | None:
    """The ladder that the rows are on; None where N and D can be told apart.

    The smallest eigenvalue of the design's covariance, n v, is what tells them apart: a slope across the ladder has the
    standard error s / sqrt(n v), s the scatter of log loss about a smooth curve along it and a slope across it. Rows
    `near_line` are on one where that exceeds `RESOLVED`, or where sqrt(v) is less than two neighbouring sizes may
    differ by.
    """
    line = near_line(table)
    if line is None:
        return None
    log_n, log_d = (np.log(table.inputs[k]) for k in ("N", "D"))
    stretch = np.hypot(1.0, line.power)
    off, along = (log_d - line.log_k - line.power * log_n) / stretch, (log_n + line.power * log_d) / stretch
    across, along = line.across / stretch, (along - along.mean()) / along.std()
    degree = min(2, len(table) - 2)
    smooth = np.column_stack([np.vander(along, degree + 1), off])
    rest = table.y - smooth @ np.linalg.lstsq(smooth, table.y, rcond=None)[0]
    noise = max(QUIET, float(np.sqrt((rest**2).sum() / max(len(table) - degree - 2, 1))))
    resolved = across > SAME_LEVEL / 2 and ndtri(0.975) * noise / (np.sqrt(len(table)) * across) < RESOLVED
    return None if resolved else line


def is_joint(law: Law) -> bool:
    """Whether a law has more than one input, so that it is fitted to all rows."""
    return len(law.inputs) > 1


def whole(table: Table) -> Slice:
    """All rows: what a joint law is fitted to."""
    return Slice("", None, None, np.arange(len(table)))


def can_hold(table: Table, law: Law) -> bool:
    """Whether a table has the rows and the distinct sizes that a joint law needs."""
    return len(table) > law.size and not _lacking(law, table)


def _lacking(law: Law, table: Table) -> str:
    for name in (k for k in law.inputs if k != "U"):
        distinct = len(table.levels(name))
        if distinct < law.levels:
            return f"not fitted: {distinct} distinct {name} in the table, but {law.levels} are needed"
    few = len(table) <= law.size
    return f"not fitted: {len(table)} cells, but {law.size} parameters need {law.size + 1}" if few else ""


def part_for(law: Law, table: Table) -> Slice:
    """The rows that a law is fitted to.

    A joint law takes all rows; power_N those at the largest D; power_D those at the largest N; power_C the lower hull,
    or the best row at each budget where the table lacks N or D. With no other variable to hold, or on a ladder, all.
    """
    if is_joint(law):
        return whole(table)
    variable, everything = law.inputs[0], np.arange(len(table))
    if table.has(("N", "D")) and ray_of(table) is not None:
        return Slice(variable, ALONG, None, everything)
    if variable == "C":
        if table.has(("N", "D")):
            rows = hull_rows(np.log(table.inputs["C"]), table.y)
            return Slice("C", "frontier", None, rows)
        best = best_of_each_budget(table)
        return Slice("C", "budget", None, best) if len(best) < len(table) else Slice("C", None, None, everything)
    other = "D" if variable == "N" else "N"
    if other not in table.inputs:
        return Slice(variable, None, None, everything)
    value, rows = list(table.by_level(other).items())[-1]
    return Slice(variable, other, value, rows)


def best_of_each_budget(table: Table) -> np.ndarray:
    """Positions of the lowest loss at each C: what a law of compute alone is about, when several runs cost the same."""
    return np.sort(np.array([rows[np.argmin(table.y[rows])] for rows in table.by_level("C").values()], int))


def refusal(law: Law, table: Table, part: Slice) -> str:
    """Why a law can't be fitted to these rows, in words; empty when it can."""
    why = law.refuses(table.loss)
    if not is_joint(law):
        return why or _refuse_line(law, table, part)
    ray = ray_of(table)
    apart = f"not fitted: N and D move together ({ray.words}), so their shares can't be told apart" if ray else ""
    return why or _lacking(law, table) or apart


def _refuse_line(law: Law, table: Table, part: Slice) -> str:
    distinct = len(table.take(part.rows).levels(part.variable))
    places = {"frontier": "on the lower hull", "budget": "at distinct budgets", ALONG: "along the ladder"}
    where = places.get(part.fixed or "", "in the table")
    if part.value is not None:
        where = f"at the largest {part.fixed} ({part.value:.4g})"
    if distinct < law.levels:
        return f"not fitted: {distinct} distinct {part.variable} {where}, but {law.levels} are needed"
    if len(part.rows) <= law.size:
        return f"not fitted: {len(part.rows)} rows {where}, but {law.size} parameters need {law.size + 1}"
    return ""


def starved(law: Law, table: Table, part: Slice) -> bool:
    """Whether it is for want of cells that a law was refused, and not for where a scattered table's rows lie."""
    if is_joint(law):
        return not can_hold(table, law)
    return len(table.levels(part.variable)) < max(law.levels, law.size + 1)


def largest_cell(table: Table) -> Mapping[str, float]:
    """Logs of the inputs of the row with the largest compute, or N D: a cell that exists."""
    row = int(np.argmax(table.log_cost([k for k in ("N", "D") if k in table.inputs])))
    return {k: float(np.log(v[row])) for k, v in table.inputs.items()}

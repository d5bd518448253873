"""Which rows a one-variable law is fitted to: a line of the grid, the frontier, or all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.frontier.fronts import hull_rows
from mnist_scaling.fitting.inputs.rows import Table
from mnist_scaling.fitting.laws.base import Law

FEWEST_POINTS = 3
"""A line through two points has no residual."""


@dataclass(frozen=True)
class Slice:
    """Rows over which one variable moves while the other stands still."""

    variable: str
    fixed: str | None
    """"D", "N", "frontier" (the lower hull over C), "budget" (the best row at each C), or None for all rows."""
    value: float | None
    """Of the fixed variable."""
    index: np.ndarray
    """Positions of the rows."""

    def record(self, table: Table) -> dict[str, object]:
        """As fits.json has it; rows are numbers in the file, from 0."""
        rows = [int(table.rows[i]) for i in self.index]
        return {"variable": self.variable, "fixed": self.fixed, "value": self.value, "rows": rows}


def main_slice(table: Table, variable: str) -> Slice:
    """The slice that power_N, power_D or power_C is fitted to.

    power_N: rows at the largest D; power_D: rows at the largest N; power_C: the lower hull, or the best row at each
    budget where the table lacks N or D. With no other variable to hold, all rows.
    """
    everything = np.arange(len(table))
    if variable == "C":
        if table.has(("N", "D")):
            rows = hull_rows(np.log(table.inputs["C"]), table.y)
            return Slice("C", "frontier", None, rows)
        best = _best_of_each_budget(table)
        return Slice("C", "budget", None, best) if len(best) < len(table) else Slice("C", None, None, everything)
    other = "D" if variable == "N" else "N"
    if other not in table.inputs:
        return Slice(variable, None, None, everything)
    value = float(table.levels(other)[-1])
    return Slice(variable, other, value, np.flatnonzero(table.at_level(other, value)))


def _best_of_each_budget(table: Table) -> np.ndarray:
    """Positions of the lowest loss at each C: what a law of compute alone is about, when several runs cost the same."""
    best = []
    for level in table.levels("C"):
        rows = np.flatnonzero(table.at_level("C", float(level)))
        best.append(rows[np.argmin(table.y[rows])])
    return np.sort(np.array(best, int))


def all_slices(table: Table) -> list[Slice]:
    """L(N) at every level of D and L(D) at every level of N that has at least three points."""
    if not table.has(("N", "D")):
        return []
    found = []
    for variable, fixed in (("N", "D"), ("D", "N")):
        for value in table.levels(fixed):
            rows = np.flatnonzero(table.at_level(fixed, float(value)))
            if len(np.unique(table.inputs[variable][rows])) >= FEWEST_POINTS:
                found.append(Slice(variable, fixed, float(value), rows))
    return found


def refusal(part: Slice, table: Table, law: Law) -> str:
    """Why a law can't be fitted to this slice, in words; empty when it can."""
    distinct = len(np.unique(np.round(np.log(table.inputs[part.variable][part.index]), 9)))
    where = "in the table"
    if part.fixed == "frontier":
        where = "on the lower hull"
    elif part.fixed == "budget":
        where = "at distinct budgets"
    elif part.value is not None:
        where = f"at the largest {part.fixed} ({part.value:.4g})"
    if distinct < law.levels:
        return f"not fitted: {distinct} distinct {part.variable} {where}, but {law.levels} are needed"
    if len(part.index) <= law.size:
        return f"not fitted: {len(part.index)} rows {where}, but {law.size} parameters need {law.size + 1}"
    return ""

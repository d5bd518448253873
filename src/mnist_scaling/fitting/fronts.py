"""The compute-efficient frontier read off the rows: N*(C), D*(C), L*(C) as power laws of C.

*pareto*: rows that no cheaper row beats. *hull*: corners of the lower convex hull of log L over log C. *isoflop* is in
frontier/isoflop.py, *parametric* in frontier/parametric.py. Exponents are slopes of ordinary least squares in logs, so
L* ~ C^loss_exponent has a negative one.

Hoffmann et al. 2022, approach 1, takes the envelope over whole training curves. This takes the ends of runs alone: a
point half-way down a schedule is not the end of a run of half the length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.interval import Interval

METHODS = {"pareto": "Pareto front", "hull": "convex hull", "isoflop": "isoFLOP", "parametric": "parametric"}
"""Names of the methods for readers, in the order of tables and legends."""

EXPONENTS = ("N_exponent", "D_exponent", "loss_exponent")
"""Keys of fits.json: the exponents of N*, D* and L* in C."""

FEWEST_POINTS = 3
"""Points that a slope of the frontier needs: two always lie on a line."""


@dataclass(frozen=True)
class Valley:
    """Where each surface is lowest at each budget."""

    log_n: Array
    log_d: Array
    """Each of shape (surfaces, m); NaN where the lowest point is not inside of what was searched."""
    log_loss: Array
    """The lowest of what was searched, of the same shape: at an end of it, too."""
    exponents: Mapping[str, Array]
    """Of "N", "D" and "loss" in C: lines through a surface's minima, shape (surfaces,); NaN where half have none."""


@dataclass(frozen=True)
class Frontier:
    """One method's frontier."""

    method: str
    intervals: Mapping[str, Interval]
    """By the names of `EXPONENTS`; values alone until they are measured (`methods`), none where there is no slope."""
    points: Sequence[Mapping[str, float]] = ()
    """What the slopes were fitted to: C, N, D, loss of each, and "row" where it is one of the table's."""
    status: str = "ok"
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What only this method has: isoFLOP curves, and how they were formed."""
    flags: tuple[str, ...] = ()
    valley: Valley | None = None
    """Minima of the model's surfaces, of the method that has them."""

    @property
    def formed(self) -> bool:
        """Whether it has an exponent."""
        return any(exponent.known for exponent in self.intervals.values())


def nothing(method: str, status: str) -> Frontier:
    """A frontier that could not be formed, with the reason in words."""
    return Frontier(method, dict.fromkeys(EXPONENTS, Interval()), status=status)


def pareto_rows(cost: Array, y: Array) -> np.ndarray:
    """Positions of the rows that no row of equal or lower cost equals or beats, in order of cost."""
    return _ahead(np.lexsort((y, cost)), y)


def _ahead(order: np.ndarray, y: Array) -> np.ndarray:
    """Those of the rows, which are in order of cost, that are below all before them."""
    ranked = y[order]
    best = np.minimum.accumulate(ranked)
    return order[np.concatenate([[True], ranked[1:] < best[:-1]])]


def hull_rows(cost: Array, y: Array) -> np.ndarray:
    """Positions of the lower convex hull's corners, from the cheapest row down to the lowest loss.

    Andrew's monotone chain over the Pareto rows: only those can be corners of the descending part.
    """
    return _corners(pareto_rows(cost, y), cost, y)


def _corners(rows: np.ndarray, cost: Array, y: Array) -> np.ndarray:
    # Numbers of Python's own: single numbers of an array take several times as long.
    kept: list[tuple[int, float, float]] = []
    for row, x, z in zip(rows.tolist(), cost[rows].tolist(), y[rows].tolist(), strict=True):
        while len(kept) >= 2:
            (_, x_a, z_a), (_, x_b, z_b) = kept[-2:]
            if (x_b - x_a) * (z - z_a) - (z_b - z_a) * (x - x_a) > 0:
                break
            kept.pop()
        kept.append((row, x, z))
    return np.array([row for row, _, _ in kept])


def slope(x: Array, y: Array) -> float:
    """Slope of the least-squares line; NaN with fewer than `FEWEST_POINTS` points or one distinct x."""
    if len(x) < FEWEST_POINTS or np.ptp(x) <= 0:
        return np.nan
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def lines(x: Array, y: Array, fewest: int | None = None) -> Array:
    """Slope of the least-squares line of each row of y (draws, m) in x (m,) through the points that are not NaN.

    NaN where fewer than `fewest` are left, or no more than half of them, shape (draws,).
    """
    known = np.isfinite(y)
    number, fewest = known.sum(axis=1), fewest or max(len(x) // 2 + 1, 2)
    with np.errstate(all="ignore"):
        dx = np.where(known, x - np.where(known, x, 0.0).sum(axis=1, keepdims=True) / number[:, None], 0.0)
        square = np.where(number >= fewest, (dx**2).sum(axis=1), np.nan)
        return np.asarray((dx * np.where(known, y, 0.0)).sum(axis=1) / square)


def observed(table: Table, method: str) -> Frontier:
    """The "pareto" front or the "hull" of a table with C, and with N and D as far as it has them."""
    if "C" not in table.inputs:
        return nothing(method, "needs C: name the column of training FLOPs")
    rows = (pareto_rows if method == "pareto" else hull_rows)(np.log(table.inputs["C"]), table.y)
    values = {k: Interval(v) for k, v in _slopes(_axes(table), rows, table.y).items()}
    few = f"{len(rows)} row{'s' * (len(rows) != 1)} on the frontier, but a slope needs {FEWEST_POINTS}"
    return Frontier(method, values, [table.cell(int(i)) for i in rows], few if len(rows) < FEWEST_POINTS else "ok")


def _axes(table: Table) -> dict[str, Array]:
    """log C, and log N and log D where compute was free to go into either: with one held still, no share is found."""
    logs = table.logs([k for k in ("C", "N", "D") if k in table.inputs])
    free = all(np.ptp(logs[k]) > 1e-9 for k in ("N", "D") if k in logs)
    return {k: x for k, x in logs.items() if k == "C" or free}


def _slopes(axes: dict[str, Array], rows: np.ndarray, y: Array) -> dict[str, float]:
    c = axes["C"][rows]
    values = {"loss_exponent": slope(c, y[rows])}
    for key in ("N", "D"):
        values[f"{key}_exponent"] = slope(c, axes[key][rows]) if key in axes else np.nan
    return {key: values[key] for key in EXPONENTS}


def observed_draws(table: Table, method: str, ys: Array, counts: Array | None) -> dict[str, Array]:
    """Exponents of every draw, shape (draws,): of log losses, shape (draws, n), of rows that were drawn so often."""
    out = {key: np.full(len(ys), np.nan) for key in EXPONENTS}
    if "C" not in table.inputs:
        return out
    cost = np.log(table.inputs["C"])
    axes, order = _axes(table), np.argsort(cost, kind="stable")
    alone = len(order) < 2 or float(np.diff(cost[order]).min()) > 0
    for b, y in enumerate(ys):
        # Where no two rows cost the same, all draws share one order of cost.
        ranked = order if alone else np.lexsort((y, cost))
        if counts is not None:
            ranked = ranked[counts[b][ranked] > 0]
        rows = _ahead(ranked, y)
        if method == "hull":
            rows = _corners(rows, cost, y)
        for key, value in _slopes(axes, rows, y).items():
            out[key][b] = value
    return out

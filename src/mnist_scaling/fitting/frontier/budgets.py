"""Which rows make an isoFLOP curve: equal C, nearly equal C, or interpolated along each size to common C."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.fitting.frontier.fronts import FEWEST_POINTS
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table

SAME_BUDGET = 0.02
"""Rows whose C differ by less than this share are one budget as they are."""

NEAR_BUDGET = 0.04
"""Gap in log C between neighbours that still belong to one budget, once their losses are shifted to it."""


@dataclass(frozen=True)
class Curve:
    """One budget: how its points follow from the table's rows, all linear in log L."""

    log_c: float
    log_n: Array
    """Shape (m,)."""
    log_d: Array
    """Shape (m,); NaN without D."""
    weights: Array
    """Shape (m, n): log L of the points = weights @ log L of the rows."""
    rows: np.ndarray
    """Rows that are points themselves, shape (m,), or empty when interpolated."""


def curves(table: Table) -> tuple[list[Curve], str]:
    """The budgets that the table's design allows, and how they were formed (or why there are none)."""
    if not table.has(("N", "C")):
        return [], "needs N and C"
    exact = _grouped(table, SAME_BUDGET, SAME_BUDGET, 3)
    if _covers(exact, table):
        return exact, "rows of equal C"
    near = _grouped(table, NEAR_BUDGET, 6 * NEAR_BUDGET, 5)
    if _covers(near, table):
        return [_shifted(c, table) for c in near], "rows of nearly equal C, shifted to it along a quadratic surface"
    found = _interpolated(table)
    if len(found) >= FEWEST_POINTS:
        return found, "interpolated along each N to common C"
    if len(exact) >= FEWEST_POINTS:
        return exact, "rows of equal C; rows of other C are left out"
    return [], (
        "fewer than 3 budgets hold 3 model sizes, neither as rows of equal C nor between rows of equal N: "
        "run 3 or more sizes at each of 3 or more budgets"
    )


def _covers(family: list[Curve], table: Table) -> bool:
    return len(family) >= FEWEST_POINTS and sum(len(c.rows) for c in family) >= 0.6 * len(table)


def _log_d(table: Table) -> Array:
    return np.log(table.inputs["D"]) if "D" in table.inputs else np.full(len(table), np.nan)


def _grouped(table: Table, gap: float, widest: float, fewest: int) -> list[Curve]:
    """Clusters of rows along C, split at gaps larger than `gap`, no wider than `widest`, with `fewest` sizes."""
    log_c, log_n, log_d = np.log(table.inputs["C"]), np.log(table.inputs["N"]), _log_d(table)
    order = np.argsort(log_c, kind="stable")
    out = []
    for rows in np.split(order, np.flatnonzero(np.diff(log_c[order]) > gap) + 1):
        if np.ptp(log_c[rows]) > widest or len(np.unique(np.round(log_n[rows], 6))) < fewest:
            continue
        rows = rows[np.argsort(log_n[rows], kind="stable")]
        weights = np.zeros((len(rows), len(table)))
        weights[np.arange(len(rows)), rows] = 1.0
        out.append(Curve(float(np.median(log_c[rows])), log_n[rows], log_d[rows], weights, rows))
    return out


def _shifted(curve: Curve, table: Table) -> Curve:
    """Move each point to the budget along a quadratic surface of log L in log N and log C.

    y(c*) = y_i + [phi(n_i, c*) - phi(n_i, c_i)] pinv(Phi) y: still linear in y, and small because c* is near.
    """
    log_c, log_n = np.log(table.inputs["C"]), np.log(table.inputs["N"])
    middle_n, middle_c = log_n.mean(), log_c.mean()

    def features(n: Array, c: Array) -> Array:
        n, c = n - middle_n, c - middle_c
        return np.column_stack([np.ones_like(n), n, c, n * n, n * c, c * c])

    solve = np.linalg.pinv(features(log_n, log_c))
    budget = np.full(len(curve.rows), curve.log_c)
    move = features(curve.log_n, budget) - features(curve.log_n, log_c[curve.rows])
    log_d = curve.log_d + (move @ solve) @ _log_d(table)
    return Curve(curve.log_c, curve.log_n, log_d, curve.weights + move @ solve, curve.rows)


def _interpolated(table: Table) -> list[Curve]:
    log_c = np.log(table.inputs["C"])
    log_d = _log_d(table)
    sizes = []
    for value, rows in table.by_level("N").items():
        rows = rows[np.argsort(log_c[rows])]
        if len(rows) >= 2 and (np.diff(log_c[rows]) > 1e-6).all():
            sizes.append((float(np.log(value)), rows))
    if len(sizes) < 3:
        return []
    out = []
    for budget in _budgets([log_c[rows] for _, rows in sizes]):
        points, weights, data = [], [], []
        for log_n, rows in sizes:
            share = interpolation_weights(log_c[rows], budget)
            if share is None:
                continue
            line = np.zeros(len(table))
            line[rows] = share
            points.append(log_n)
            weights.append(line)
            data.append(float(share @ log_d[rows]))
        if len(points) >= 3:
            out.append(Curve(budget, np.array(points), np.array(data), np.array(weights), np.empty(0, int)))
    return out


def _budgets(ladders: list[Array]) -> Array:
    """Budgets inside the reach of at least three sizes, about one per step of the sizes' own ladders."""
    lows, highs = np.sort([x[0] for x in ladders]), np.sort([x[-1] for x in ladders])
    low, high = lows[2], highs[-3]
    if high <= low:
        return np.empty(0)
    step = float(np.median(np.concatenate([np.diff(x) for x in ladders])))
    # The ends themselves belong to one row of a ladder: stay a hair inside them.
    return np.linspace(low, high, int(np.clip(round((high - low) / step) + 1, 3, 12)))


def interpolation_weights(x: Array, at: float) -> Array | None:
    """Weights w with w @ y = the polynomial through up to four nearest points, at `at`; None outside ascending x."""
    slack = 1e-9
    if at < x[0] - slack or at > x[-1] + slack:
        return None
    right = int(np.clip(np.searchsorted(x, at), 1, len(x) - 1))
    first = int(np.clip(right - 2, 0, max(len(x) - 4, 0)))
    used = np.arange(first, min(first + 4, len(x)))
    weights = np.zeros(len(x))
    for j in used:
        others = used[used != j]
        weights[j] = np.prod((at - x[others]) / (x[j] - x[others]))
    return weights

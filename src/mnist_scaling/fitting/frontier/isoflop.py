"""IsoFLOP curves: at each budget C, a parabola of L in log N, and its minimum.

Hoffmann et al. 2022, approach 2. Rows that share their C are used as they are. On a grid of N and D no
two rows share it exactly, so each model size's own curve L(C) is interpolated to common budgets, never
beyond its ends, by the polynomial through its (up to four) nearest rows in logs. A minimum counts
only inside the sizes that were tried; one off the middle is biased and says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_scaling.errors import one_of
from mnist_scaling.fitting.fronts import EXPONENTS, FEWEST_POINTS, Frontier, lines, nothing
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.interval import Interval

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
    interpolated = _interpolated(table)
    if len(interpolated) >= FEWEST_POINTS:
        return interpolated, "interpolated along each N to common C"
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


OUTSIDE = 0.5
"""A draw's minimum may lie outside the sizes by this share of their width before the draw is void."""

MIDDLE = 0.25
"""A minimum closer than this share of the width to either end of a curve is off-centre."""

METHODS = ("parabola", "argmin")
"""How a minimum is found; argmin takes the best row as it is."""


def minima(curve: Curve, ys: Array, method: str, counts: Array | None = None) -> dict[str, Array]:
    """Minimum of each draw's parabola at one budget, or its lowest point.

    Parameters
    ----------
    ys, counts : array, shape (draws, n)
        Log losses of the table's rows and, of curves whose points are rows, their weights.

    Returns
    -------
    dict
        log_n, log_d, y of the minimum, its place (0 and 1 are the curve's ends) and valid, each of shape (draws,),
        and coefficients (draws, 3) of the loss in powers of log N - centre.
    """
    points = np.exp(ys @ curve.weights.T)
    centre = curve.log_n.mean()
    u = curve.log_n - centre
    if method == "argmin":
        best = np.argmin(points, axis=1)
        at = u[best]
        y = np.log(points[np.arange(len(points)), best])
        coefficients = np.full((len(points), 3), np.nan)
        convex = np.ones(len(points), bool)
    else:
        coefficients = _parabolas(u, points, None if counts is None else counts[:, curve.rows])
        _, c1, c2 = coefficients.T
        convex = c2 > 0
        with np.errstate(all="ignore"):
            at = np.where(convex, -c1 / (2 * c2), np.nan)
        lowest = np.einsum("bk,bk->b", coefficients, at[:, None] ** np.arange(3))
        convex &= lowest > 0
        y = np.log(np.where(convex, lowest, np.nan))
    span = np.ptp(u)
    place = (at - u.min()) / span
    inside = convex & np.isfinite(place) & (place > 0) & (place < 1)
    line = np.polyfit(u, curve.log_d, min(2, len(u) - 1)) if np.isfinite(curve.log_d).all() else np.array([np.nan])
    valid = convex if method == "argmin" else inside
    return {
        "log_n": at + centre,
        "log_d": np.polyval(line, at),
        "y": y,
        "place": place,
        "valid": valid,
        "coefficients": coefficients,
        "convex": convex,
    }


def _parabolas(u: Array, points: Array, counts: Array | None) -> Array:
    """Least-squares coefficients of each draw, shape (draws, 3); NaN where fewer than three sizes count."""
    powers = u[:, None] ** np.arange(3)
    if counts is None:
        return np.asarray(points @ np.linalg.pinv(powers).T)
    out = np.full((len(points), 3), np.nan)
    gram = np.einsum("mi,bm,mj->bij", powers, counts, powers)
    right = np.einsum("mi,bm,bm->bi", powers, counts, points)
    size = np.unique(np.round(u, 6), return_inverse=True)[1]
    present = [(counts[:, size == k] > 0).any(axis=1) for k in range(size.max() + 1)]
    enough = np.sum(present, axis=0) > 2
    if enough.any():
        out[enough] = np.linalg.solve(gram[enough], right[enough][..., None])[..., 0]
    return out


def isoflop_draws(
    family: list[Curve], ys: Array, method: str, counts: Array | None = None, used: np.ndarray | None = None
) -> dict[str, Array]:
    """Exponents of every draw, shape (draws,) each; `counts` are heeded where every curve's points are rows.

    Budgets that are `used`, those of the table itself, count in every draw. A draw's minimum may then fall a little
    outside the sizes, because leaving such draws out would cut the interval on one side.
    """
    one_of("isoflop", method, METHODS)
    usable = counts if counts is not None and all(len(c.rows) for c in family) else None
    optima = [minima(c, ys, method, usable) for c in family]
    x = np.array([c.log_c for c in family])
    valid = np.stack([m["valid"] for m in optima], axis=1)
    if used is not None:
        place = np.stack([m["place"] for m in optima], axis=1)
        valid = (np.abs(place - 0.5) < 0.5 + OUTSIDE) & used
    names = dict(zip(EXPONENTS, ("log_n", "log_d", "y"), strict=True))
    inside = {key: np.where(valid, np.stack([m[k] for m in optima], axis=1), np.nan) for key, k in names.items()}
    return {key: lines(x, y, FEWEST_POINTS) for key, y in inside.items()}


def isoflop(table: Table, method: str = "parabola") -> Frontier:
    """N*, D*, L* from isoFLOP curves, by the minima of parabolas or by the best rows."""
    family, how = curves(table)
    if not family:
        return nothing("isoflop", how)
    exponents = {k: Interval(float(v[0])) for k, v in isoflop_draws(family, table.y[None], method).items()}
    records, points = [], []
    for curve in family:
        optimum = minima(curve, table.y[None], method)
        record, point = _record(curve, table, optimum)
        records.append(record)
        if record["quality"] in ("ok", "off_centre"):
            points.append(point)
    status, short = "ok", len(family) - len(points)
    if len(points) < FEWEST_POINTS:
        status = (
            f"{len(points)} of {len(family)} budgets have their minimum inside the sizes that were tried, "
            f"but a slope needs {FEWEST_POINTS}: add sizes beyond the edge that the curves slope to"
        )
    elif short:
        status = f"left out: {short} of {len(family)} budgets, without a minimum inside the sizes that were tried"
    return Frontier("isoflop", exponents, points, status, {"curves": records, "how": how, "curve_fit": method})


def _record(curve: Curve, table: Table, optimum: dict[str, Array]) -> tuple[dict[str, object], dict[str, float]]:
    place, valid, convex = float(optimum["place"][0]), bool(optimum["valid"][0]), bool(optimum["convex"][0])
    coefficients = optimum["coefficients"][0]
    side = None
    if not convex:
        quality = "not_convex"
    elif not valid:
        quality, side = "edge", "smallest" if place <= 0 else "largest"
    else:
        quality = "ok" if MIDDLE <= place <= 1 - MIDDLE else "off_centre"
    if not convex:
        y = curve.weights @ table.y
        lowest = int(np.argmin(y))
        if lowest in (0, len(y) - 1):
            quality, side = "edge", "smallest" if lowest == 0 else "largest"
    # A minimum that does not count may lie anywhere; only one inside the sizes is a point.
    logs = {"C": curve.log_c, **{k: optimum[v][0] for k, v in (("N", "log_n"), ("D", "log_d"), ("loss", "y"))}}
    point = {k: float(np.exp(v)) if valid else np.nan for k, v in logs.items()}
    record: dict[str, object] = {
        "C": float(np.exp(curve.log_c)),
        "N": np.exp(curve.log_n).tolist(),
        "D": np.exp(curve.log_d).tolist(),
        "loss": np.exp(curve.weights @ table.y).tolist(),
        "rows": [int(table.rows[i]) for i in curve.rows],
        "centre_log_N": float(curve.log_n.mean()),
        "coefficients": coefficients.tolist(),
        "place": place,
        "quality": quality,
        "side": side,
        "minimum": point if valid else None,
    }
    return record, point

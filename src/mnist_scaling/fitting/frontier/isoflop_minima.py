"""IsoFLOP curves: at each budget C, a parabola of L in log N, and its minimum.

Hoffmann et al. 2022, approach 2. Rows that share their C are used as they are. On a grid of N and D no
two rows share it exactly, so each model size's own curve L(C) is interpolated to common budgets, never
beyond its ends, by the polynomial through its (up to four) nearest rows in logs. A minimum counts
only inside the sizes that were tried; one off the middle is biased and says so.
"""

from __future__ import annotations

import numpy as np

from mnist_scaling.errors import one_of
from mnist_scaling.fitting.frontier.budgets import Curve, curves
from mnist_scaling.fitting.frontier.fronts import EXPONENTS, FEWEST_POINTS, Frontier, nothing
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.interval import Interval

OUTSIDE = 0.5
"""A draw's minimum may lie outside the sizes by this share of their width before the draw is void."""

MIDDLE = 0.25
"""A minimum closer than this share of the width to either end of a curve is off-centre."""

DEGREES = {"parabola": 2, "cubic": 3, "argmin": 0}
"""Degree of the polynomial of each method; argmin takes the best row as it is."""


def minima(curve: Curve, ys: Array, degree: int, counts: Array | None = None) -> dict[str, Array]:
    """Minimum of each draw's polynomial at one budget, of degree 2, 3, or 0 for the lowest point.

    Parameters
    ----------
    ys, counts : array, shape (draws, n)
        Log losses of the table's rows and, of curves whose points are rows, their weights.

    Returns
    -------
    dict
        log_n, log_d, y of the minimum, its place (0 and 1 are the curve's ends) and valid, each of shape (draws,),
        and coefficients (draws, 4) of the loss in powers of log N - centre.
    """
    points = np.exp(ys @ curve.weights.T)
    centre = curve.log_n.mean()
    u = curve.log_n - centre
    if degree == 0:
        best = np.argmin(points, axis=1)
        at = u[best]
        y = np.log(points[np.arange(len(points)), best])
        coefficients = np.full((len(points), 4), np.nan)
        convex = np.ones(len(points), bool)
    else:
        used = min(degree, len(u) - 1)
        coefficients = _polynomials(u, points, used, None if counts is None else counts[:, curve.rows])
        at, convex = _vertex(coefficients)
        lowest = np.einsum("bk,bk->b", coefficients, at[:, None] ** np.arange(4))
        convex &= lowest > 0
        y = np.log(np.where(convex, lowest, np.nan))
    span = np.ptp(u)
    place = (at - u.min()) / span
    inside = convex & np.isfinite(place) & (place > 0) & (place < 1)
    line = np.polyfit(u, curve.log_d, min(2, len(u) - 1)) if np.isfinite(curve.log_d).all() else np.array([np.nan])
    valid = inside if degree else convex
    return {
        "log_n": at + centre,
        "log_d": np.polyval(line, at),
        "y": y,
        "place": place,
        "valid": valid,
        "coefficients": coefficients,
        "convex": convex,
    }


def _polynomials(u: Array, points: Array, degree: int, counts: Array | None) -> Array:
    powers = u[:, None] ** np.arange(degree + 1)
    out = np.zeros((len(points), 4))
    if counts is None:
        out[:, : degree + 1] = points @ np.linalg.pinv(powers).T
        return out
    gram = np.einsum("mi,bm,mj->bij", powers, counts, powers)
    right = np.einsum("mi,bm,bm->bi", powers, counts, points)
    sizes = np.unique(np.round(u, 6), return_inverse=True)[1]
    present = np.zeros((len(points), sizes.max() + 1), bool)
    for size in range(present.shape[1]):
        present[:, size] = (counts[:, sizes == size] > 0).any(axis=1)
    enough = present.sum(axis=1) > degree
    out[~enough] = np.nan
    if enough.any():
        out[enough, : degree + 1] = np.linalg.solve(gram[enough], right[enough][..., None])[..., 0]
    return out


def _vertex(coefficients: Array) -> tuple[Array, np.ndarray]:
    """Where c1 + 2 c2 u + 3 c3 u^2 = 0 with positive curvature; NaN where there is no such u."""
    _, c1, c2, c3 = coefficients.T
    with np.errstate(all="ignore"):
        straight = -c1 / (2 * c2)
        root = np.sqrt(c2**2 - 3 * c3 * c1)
        # The root with positive curvature, in the form that stays exact as c3 goes to 0.
        bent = -c1 / (c2 + root)
        at = np.where(np.abs(c3) > 0, bent, straight)
        convex = np.where(np.abs(c3) > 0, np.isfinite(root) & (root > 0) & np.isfinite(at), c2 > 0)
    return np.where(convex, at, np.nan), convex.astype(bool)


def masked_slopes(x: Array, y: Array, valid: np.ndarray) -> Array:
    """Least-squares slope of each row of y over x where valid, shape (draws,); NaN with too few points."""
    w = valid.astype(float)
    total = w.sum(axis=1)
    y = np.where(valid, y, 0.0)
    with np.errstate(all="ignore"):
        centred = x - (w @ x / total)[:, None]
        found = (w * centred * y).sum(axis=1) / (w * centred**2).sum(axis=1)
    return np.where(total >= FEWEST_POINTS, found, np.nan)


def isoflop_draws(
    family: list[Curve], ys: Array, method: str, counts: Array | None = None, used: np.ndarray | None = None
) -> dict[str, Array]:
    """Exponents of every draw, shape (draws,) each; `counts` are heeded where every curve's points are rows.

    Budgets that are `used`, those of the table itself, count in every draw. A draw's minimum may then fall a little
    outside the sizes, because leaving such draws out would cut the interval on one side.
    """
    one_of("isoflop", method, tuple(DEGREES))
    usable = counts if counts is not None and all(len(c.rows) for c in family) else None
    found = [minima(c, ys, DEGREES[method], usable) for c in family]
    x = np.array([c.log_c for c in family])
    valid = np.stack([m["valid"] for m in found], axis=1)
    if used is not None:
        place = np.stack([m["place"] for m in found], axis=1)
        valid = (np.abs(place - 0.5) < 0.5 + OUTSIDE) & used
    names = dict(zip(EXPONENTS, ("log_n", "log_d", "y"), strict=True))
    return {key: masked_slopes(x, np.stack([m[k] for m in found], axis=1), valid) for key, k in names.items()}


def isoflop(table: Table, method: str = "parabola") -> Frontier:
    """N*, D*, L* from isoFLOP curves: parabola, cubic (of three sizes a budget a parabola, too) or argmin."""
    family, how = curves(table)
    if not family:
        return nothing("isoflop", how)
    exponents = {k: Interval(float(v[0])) for k, v in isoflop_draws(family, table.y[None], method).items()}
    records, points = [], []
    for curve in family:
        found = minima(curve, table.y[None], DEGREES[method])
        record, point = _record(curve, table, found)
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


def _record(curve: Curve, table: Table, found: dict[str, Array]) -> tuple[dict[str, object], dict[str, float]]:
    place, valid, convex = float(found["place"][0]), bool(found["valid"][0]), bool(found["convex"][0])
    coefficients = found["coefficients"][0]
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
    optimum = {"C": curve.log_c, **{k: found[v][0] for k, v in (("N", "log_n"), ("D", "log_d"), ("loss", "y"))}}
    point = {k: float(np.exp(v)) if valid else np.nan for k, v in optimum.items()}
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

"""Leverage points: single cells that decide the law, by Cook's distance r^2 h / (p s^2 (1 - h)^2)."""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.slices import is_joint
from mnist_scaling.planning.checks import NOT_APPLICABLE, PASS, REPEATS, TRIALS, WARNING, Card
from mnist_scaling.planning.studied import Studied

CODE = "leverage"

DECIDES = 1.0
"""Cook's distance from which a row moves the estimates by as much as they are uncertain (Cook 1977)."""

EXACT = 1e-6
"""Residuals below this are rounding."""


def check(studied: Studied) -> Card:
    """Of the law that describes the table."""
    found = studied.result.fitted.get(studied.result.selected or "")
    if found is None or not is_joint(found.law) or found.fit.n <= found.fit.free:
        return Card(
            CODE, NOT_APPLICABLE, "No law of N and D describes this table, or no row is left beside its numbers."
        )
    fit, h = found.fit, np.minimum(found.fit.leverage, 1 - 1e-9)
    variance = max(float((fit.residual**2).sum()) / (fit.n - fit.free), EXACT**2)
    distance = fit.residual**2 * h / (fit.free * variance * (1 - h) ** 2)
    rows = np.flatnonzero(distance > DECIDES)
    if not len(rows):
        return Card(
            CODE, PASS, f"No cell decides {found.law.name} alone (largest Cook's distance {distance.max():.2f})."
        )
    cause = f"{len(rows)} of {fit.n} cells move {found.law.name} by as much as it is uncertain (Cook's distance up to "
    remedy = "Make sure of these cells first: more repeats and trials; `fit … sensitivity=true` leaves each out once."
    cells = tuple(int(studied.table.rows[found.part.index[i]]) for i in rows)
    asks = (REPEATS, TRIALS) if studied.is_study else ()
    return Card(CODE, WARNING, f"{cause}{distance.max():.1f}).", cells, remedy, asks)

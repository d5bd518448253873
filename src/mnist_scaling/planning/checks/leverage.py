"""Leverage points: single cells that decide the law, by Cook's distance r^2 h / (p s^2 (1 - h)^2)."""

from __future__ import annotations

import numpy as np

from mnist_scaling.fitting.fitted import EXACT
from mnist_scaling.planning.checks import NOT_APPLICABLE, PASS, REPEATS, TRIALS, WARNING, Card, joint_law
from mnist_scaling.planning.studied import Studied

DECIDES = 1.0
"""Cook's distance from which a row moves the estimates by as much as they are uncertain (Cook 1977)."""

SPARE = 3
"""Rows beside the law's parameters with fewer of which every row at an end decides."""


def check(studied: Studied) -> Card:
    """Of the law that describes the table."""
    found = joint_law(studied)
    if found is None or found.fit.n < found.fit.free + SPARE:
        return Card(NOT_APPLICABLE, "No law of N and D, with rows to spare, describes this table.")
    fit, h = found.fit, np.minimum(found.fit.leverage, 1 - 1e-9)
    variance = max(float((fit.residual**2).sum()) / (fit.n - fit.free), EXACT**2)
    distance = fit.residual**2 * h / (fit.free * variance * (1 - h) ** 2)
    of = f"{found.law.name} (largest Cook's distance {distance.max():.2f})."
    cells = tuple(map(int, studied.table.rows[found.part.index[distance > DECIDES]]))
    if not cells:
        return Card(PASS, f"No cell decides alone about {of}")
    said = f"{len(cells)} of {fit.n} cells, each alone, would move {of}"
    remedy = "Make sure of these cells first: more repeats and trials; `fit … sensitivity=true` leaves each out once."
    return Card(WARNING, said, cells, remedy, (REPEATS, TRIALS))

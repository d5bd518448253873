"""What can be wrong with the frontier and with predictions: they lean on the end of what was run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mnist_scaling.fitting.diagnostics.found import Flag, cells_of
from mnist_scaling.fitting.frontier import Frontier
from mnist_scaling.fitting.rows import Table
from mnist_scaling.study import flags

FAR = 10.0
"""Factor in compute beyond which a prediction is an extrapolation to be named."""


def grid_edge(table: Table, isoflop: Frontier) -> list[Flag]:
    """Curves at fixed compute whose lowest point is the smallest or the largest size tried."""
    curves = isoflop.extra.get("curves", [])
    edges = [c for c in curves if c["quality"] == "edge"]
    if not edges:
        return []
    sides = sorted({c["side"] for c in edges})
    index: set[int] = set()
    for c in edges:
        n = c["N"][0] if c["side"] == "smallest" else c["N"][-1]
        near = np.flatnonzero(table.at_level("N", n))
        index.add(int(near[np.argmin(np.abs(np.log(table.inputs["C"][near] / c["C"])))]))
    usable = len(curves) - len(edges)
    text = (
        f"At {len(edges)} of {len(curves)} compute budgets the best model is the {' or '.join(sides)} one tried, "
        "so its optimum is a bound."
    )
    wanted = {"smallest": "smaller", "largest": "larger"}
    fix = (
        f"Add {' and '.join(wanted[side] for side in sides)} models at these budgets, "
        "or read exponents from the fitted law."
    )
    severity = flags.WARNING if usable < 3 or len(edges) > usable else flags.INFO
    return [Flag(flags.GRID_EDGE, text, cells_of(table, sorted(index)), severity=severity, remedy=fix)]


def far_extrapolation(reach: float, cells: Sequence[dict[str, Any]], what: str) -> list[Flag]:
    """A prediction more than ten times beyond the largest compute that was fitted."""
    if not reach > FAR:
        return []
    text = f"{what} reaches {reach:.3g} times beyond the largest compute that was fitted."
    return [Flag(flags.FAR_EXTRAPOLATION, text, list(cells))]

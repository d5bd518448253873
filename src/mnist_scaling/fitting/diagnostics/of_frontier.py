"""What can be wrong with the frontier and with predictions: they lean on the end of what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_scaling.fitting.diagnostics.found import Flag, cells_of
from mnist_scaling.fitting.frontier.fronts import Frontier
from mnist_scaling.fitting.inputs.rows import Table
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
    wanted = [word for side, word in (("largest", "larger"), ("smallest", "smaller")) if side in sides]
    blocked = [c for c in edges if c["side"] == "smallest" and not _has_data_for_smaller(table, c)]
    if len(blocked) == sum(c["side"] == "smallest" for c in edges):
        wanted = [word for word in wanted if word == "larger"]
    steps = [f"Add {' and '.join(wanted)} models at these budgets"] if wanted else []
    if blocked:
        steps.append(
            f"{'at' if steps else 'At'} {len(blocked)} of them a smaller model would have to see more than the "
            f"{table.inputs['D'].max():.6g} examples that are the most here, so leave these budgets out"
        )
    fix = f"{'; '.join(steps)}, or read exponents from the fitted law."
    severity = flags.WARNING if usable < 3 or len(edges) > usable else flags.INFO
    return [Flag(flags.GRID_EDGE, text, cells_of(table, sorted(index)), severity=severity, remedy=fix)]


def _has_data_for_smaller(table: Table, curve: Mapping[str, Any]) -> bool:
    """Whether one more step below the smallest size of an isoFLOP curve needs no more data than the table has.

    At fixed C, a model that is smaller by a factor sees about as many times more examples.
    """
    if "D" not in table.inputs:
        return True  # nothing is known of what it has
    n, d = curve["N"], curve["D"]
    return len(n) < 2 or d[0] * n[1] / n[0] <= table.inputs["D"].max() * 1.02


def far_extrapolation(reach: float, cells: Sequence[dict[str, Any]], what: str) -> list[Flag]:
    """A prediction more than ten times beyond the largest compute that was fitted."""
    if not reach > FAR:
        return []
    text = f"{what} reaches {reach:.3g} times beyond the largest compute that was fitted."
    return [Flag(flags.FAR_EXTRAPOLATION, text, list(cells))]

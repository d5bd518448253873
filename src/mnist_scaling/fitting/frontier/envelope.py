"""A study's learning curves for the Pareto method: smoothed, log-spaced, and only where a mid-run loss means something.

Hoffmann et al. 2022, approach 1, takes the envelope over whole training curves. A point half-way down a
schedule is not the end of a run of half the length, so only points at a constant rate count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mnist_scaling.fitting.inputs.rows import Table, make_table
from mnist_scaling.fitting.laws.base import Array

CONSTANT = "constant"
"""Phase of a point whose learning rate neither rises nor falls."""

SPACING = np.log(2) / 4
"""Distance of the smoothed points in log C: four for each doubling."""

WIDTH = np.log(2)
"""Half-width of the smoothing window in log C; it is wider where it would hold fewer than 3 different C."""


def attach(table: Table, points: Mapping[str, Any]) -> tuple[Table, str]:
    """A table whose frontier is taken of its rows' learning curves, or the table as it was and why.

    Parameters
    ----------
    table : Table
        With N and C.
    points : mapping of str to sequence, each of length k
        "row" (number of the row in the file), "N", "D", "C", "loss", and "phase".

    Returns
    -------
    table : Table
    why : str
        Empty when the curves are used.
    """
    row, phase = np.asarray(points["row"], int), np.asarray(points["phase"], str)
    loss = np.asarray(points["loss"], float)
    usable = (phase == CONSTANT) & np.isfinite(loss) & (loss > 0)
    if not usable.any():
        named = ", ".join(sorted(set(phase) - {"warmup"})) or "warming up"
        return table, (
            f"The learning curves are not used: the learning rate was not constant at any of their points ({named}), "
            "and a run read on its way down is not a shorter run. Train with optim.schedule=constant, or with "
            "regime=early_stopping."
        )
    per_row = [np.flatnonzero(usable & (row == number)) for number in table.rows]
    without = sum(len(np.unique(np.asarray(points["C"])[k])) < 3 for k in per_row)
    if without:
        return table, (
            f"The learning curves are not used: {without} of {len(table)} cells have fewer than 3 points at a constant "
            "rate, and an envelope of some curves beside single ends of others favours the curves. Set curve.points."
        )
    parts: dict[str, list[Array]] = {"C": [], "N": [], "D": [], "loss": []}
    for k in per_row:
        log_c, log_l = (np.log(np.asarray(points[name], float)[k]) for name in ("C", "loss"))
        at = grid(log_c)
        parts["C"].append(np.exp(at))
        parts["loss"].append(np.exp(smooth(log_c, log_l, at)))
        parts["N"].append(np.full(len(at), float(points["N"][k[0]])))
        parts["D"].append(np.exp(at) * float(points["D"][k[0]]) / float(points["C"][k[0]]))
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    inputs = {name: joined[name] for name in ("N", "D", "C") if name in table.inputs}
    run_of = np.repeat(np.arange(len(table)), [len(a) for a in parts["C"]])
    # A point bears the number of the row whose curve it is on: it is that model.
    curves = replace(make_table(joined["loss"], inputs), rows=table.rows[run_of])
    return replace(table, curves=curves, run_of=run_of), ""


def grid(log_c: Array) -> Array:
    """Evenly spaced points in log C over the curve's own range, about `SPACING` apart, both ends included."""
    low, high = log_c.min(), log_c.max()
    return np.linspace(low, high, max(2, round((high - low) / SPACING) + 1))


def smooth(x: Array, y: Array, at: Array) -> Array:
    """Local straight lines with tricube weights (Cleveland 1979, without his reweighting), shape (m,).

    Exact where y is straight in x, so a power law keeps its exponent.

    Parameters
    ----------
    x, y : array, shape (k,)
        Logs; several runs of one cell may be pooled.
    at : array, shape (m,)
    """
    distinct = np.unique(x)
    out = np.empty(len(at))
    for i, centre in enumerate(at):
        far = np.sort(np.abs(distinct - centre))
        width = max(WIDTH, 1.001 * far[min(2, len(far) - 1)])
        w = np.clip(1 - np.abs((x - centre) / width) ** 3, 0, None) ** 3
        mean_x, mean_y = np.average(x, weights=w), np.average(y, weights=w)
        spread = (w * (x - mean_x) ** 2).sum()
        line = (w * (x - mean_x) * (y - mean_y)).sum() / spread if spread > 0 else 0.0
        out[i] = mean_y + line * (centre - mean_x)
    return out

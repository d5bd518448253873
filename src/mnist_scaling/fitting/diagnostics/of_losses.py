"""What can be wrong with the column of losses: chance, a bug's floor, another unit, no variation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mnist_scaling.fitting.diagnostics.found import Flag, cells_of
from mnist_scaling.fitting.inputs.rows import MEANINGS, Table
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.study import flags

CHANCE_SHARE = 0.95
"""A loss above this share of ln(classes) is a plateau at chance."""


def chance_rows(table: Table, classes: int | None) -> np.ndarray:
    """Mask of the rows whose loss is above 95 % of ln(classes)."""
    if not classes:
        return np.zeros(len(table), bool)
    return table.loss > CHANCE_SHARE * np.log(classes)


def chance_level(table: Table, classes: int | None, masked: list[dict[str, Any]]) -> list[Flag]:
    """Cells that learned nothing: they say where learning starts, not how it scales."""
    index = np.flatnonzero(chance_rows(table, classes))
    cells = masked + cells_of(table, index)
    if not cells:
        return []
    limit = CHANCE_SHARE * np.log(classes or 1)
    what = "were left out of the fit" if masked else "are part of the fit"
    fix = "Train them longer if they are to count." if masked else ""
    text = (
        f"{len(cells)} cell{'s' * (len(cells) != 1)} with a loss above 95 % of ln({classes}) = {limit:.3f}, which is "
        f"chance, {what}."
    )
    severity = flags.INFO if masked else flags.WARNING
    return [Flag(flags.CHANCE_LEVEL, text, cells, severity=severity, remedy=fix)]


def double_softmax_floor(table: Table, classes: int | None, floors: Mapping[str, Interval]) -> list[Flag]:
    """Losses that level off at ln(e + k - 1) - 1, the least that softmax applied twice can reach."""
    if not classes:
        return []
    wall = float(np.log(np.e + classes - 1) - 1)
    lowest = float(table.loss.min())
    near = wall - 1e-3 <= lowest <= wall * 1.1
    fitted = [k for k, e in floors.items() if abs(e.value / wall - 1) < 0.02]
    if lowest < wall - 1e-3 or not (fitted or near):
        return []
    text = (
        f"The losses level off at {wall:.4f} = ln(e + {classes - 1}) - 1 (lowest: {lowest:.4f}), "
        "the floor of a softmax applied twice."
    )
    index = np.flatnonzero(table.loss <= wall * 1.1)
    return [Flag(flags.DOUBLE_SOFTMAX_FLOOR, text, cells_of(table, index))]


def unit_suspect(table: Table, classes: int | None) -> list[Flag]:
    """Losses that look like bits, percent or an accuracy instead of nats."""
    top, out = float(table.loss.max()), []
    guess = ""
    if classes and top > 1.2 * np.log(classes):
        guess = "bits" if top <= 1.05 * np.log2(classes) else "percent" if top <= 100 else "something else than nats"
    elif not classes and top > 15:
        guess = "percent" if top <= 100 else "something else than nats"
    if guess:
        limit = f"ln({classes}) = {np.log(classes):.3f}" if classes else "what a cross-entropy in nats reaches"
        text = f"The largest loss, {top:.4g}, is above {limit}: the column may be in {guess}."
        out.append(Flag(flags.UNIT_SUSPECT, text, cells_of(table, [int(table.loss.argmax())])))
    key = next((k for k in ("C", "D", "N") if k in table.inputs), None)
    if key and len(table) >= 5 and np.ptp(table.loss) > 0 and np.ptp(table.inputs[key]) > 0:
        rank = rank_correlation(table.inputs[key], table.loss)
        if rank > 0.5:
            text = (
                f"The loss grows with {key} ({MEANINGS[key]}; rank correlation {rank:.2f}): the column may be an "
                "accuracy."
            )
            out.append(Flag(flags.UNIT_SUSPECT, text, remedy="Fit a loss or an error rate."))
    return out


def constant_loss(table: Table) -> list[Flag]:
    """A loss that never varies has no exponent."""
    if np.ptp(table.y) > 1e-9:
        return []
    text = f"Every loss is {table.loss[0]:.6g}, so no law has anything to fit."
    return [Flag(flags.CONSTANT_LOSS, text)]


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rank correlation; equal values share the mean of their ranks."""

    def ranks(values: Array) -> Array:
        _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[index]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])

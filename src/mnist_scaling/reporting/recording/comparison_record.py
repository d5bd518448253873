"""The record of a comparison, from a `Comparison`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mnist_scaling.fitting.comparing.comparison import Comparison
from mnist_scaling.fitting.comparing.exponents import ExponentDifference
from mnist_scaling.fitting.comparing.multiplier import Multiplier, multiplier_at
from mnist_scaling.fitting.comparing.pairing import Difference
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.rows import Table
from mnist_scaling.reporting.documents.comparison_json import (
    SCHEMA,
    DifferenceRecord,
    ExponentRecord,
    MultiplierRecord,
    NoiseRecord,
    Pair,
    SharedRecord,
    SharedVariant,
)  # fmt: skip
from mnist_scaling.reporting.documents.fits_json import FlagRecord
from mnist_scaling.reporting.words.conclusion import sentence, what

BUDGETS = 13
"""Points of the curve of the multiplier over compute."""

NO_SLOPE = {
    "alpha": "N does not vary in the cells of both arms, or moves only with D.",
    "beta": "D does not vary in the cells of both arms, or moves only with N.",
}


def comparison_record(found: Comparison, sources: Sequence[Mapping[str, Any]], flags: Sequence[Flag] = ()) -> Pair:
    """One pair of arms.

    Parameters
    ----------
    found : Comparison
    sources : sequence of mapping
        Of a and of b: {"study": name} or {"table": path}, and whatever else says where the arm is from.
    flags : sequence of Flag
        Raised by whoever read the tables.
    """
    cells, best = found.cells, found.preferred
    arms = [
        {"name": arm.name, **source, "cells": len(table)}
        for arm, source, table in zip((found.a, found.b), sources, (cells.a, cells.b), strict=True)
    ]
    slopes = {k: DifferenceRecord(why=why) for k, why in NO_SLOPE.items()}
    pair = Pair(
        SCHEMA,
        arms,
        paired=cells.paired,
        by_seed=cells.seeds is not None,
        cells=len(cells.a) if cells.paired else len(cells.a) + len(cells.b),
        slopes=slopes | {k: _difference(v) for k, v in found.slopes.items()},
        offset=found.offset,
        exponents=[_exponent(e) for e in found.exponents],
        multiplier=[_multiplier(m) for m in found.multipliers],
        verdict={"alpha": "not settled", "beta": "not settled"} | found.verdict,
        margin=found.options.margin,
        shared=SharedRecord(None if best is None else SharedVariant(best.law, best.variant), found.shared),
        flags=[FlagRecord(**f.record()) for f in (*flags, *found.flags)],
        noise=_noise(found),
        settings={"draws": found.options.draws, "level": found.options.level, "seed": found.options.seed},
        points=_points(found),
        curve=_curve(found),
        frontiers=_frontiers(found),
    )
    return replace(pair, what=what(pair), sentence=sentence(pair))


def of_pairs(pairs: Sequence[Pair]) -> Pair:
    """The whole of comparison.json: the first pair, and all of them where there are several."""
    return replace(pairs[0], pairs=pairs if len(pairs) > 1 else ())


def _difference(found: Difference) -> DifferenceRecord:
    return DifferenceRecord(found.a, found.b, found.difference)


def _exponent(e: ExponentDifference) -> ExponentRecord:
    source = {"method" if e.is_method else "law": e.source}
    return ExponentRecord(
        **source, parameter=e.parameter, at=e.at, a=e.found.a, b=e.found.b, difference=e.found.difference
    )


def _noise(found: Comparison) -> NoiseRecord:
    c = found.surfaces.covariance
    sizes = np.sqrt(np.diag(c))
    product = sizes[0] * sizes[1]
    ratio = float(np.sqrt(max(c[0, 0] + c[1, 1] - 2 * c[0, 1], 0.0)))
    correlation = c[0, 1] / product if product > 0 else np.nan
    return NoiseRecord(float(sizes[0]), float(sizes[1]), ratio, float(correlation), found.surfaces.dof)


def _points(found: Comparison) -> list[dict[str, Any]]:
    """The cells that were compared: of both arms where they are paired, else of either."""
    cells = found.cells
    if cells.paired:
        return [
            {**_sizes(cells.a, i), "loss_a": cells.a.loss[i], "loss_b": cells.b.loss[i]} for i in range(len(cells.a))
        ]
    rows = [{**_sizes(cells.a, i), "loss_a": cells.a.loss[i], "loss_b": None} for i in range(len(cells.a))]
    return rows + [{**_sizes(cells.b, i), "loss_a": None, "loss_b": cells.b.loss[i]} for i in range(len(cells.b))]


def _sizes(table: Table, i: int) -> dict[str, float]:
    return {k: float(v[i]) for k, v in table.inputs.items()}


def _curve(found: Comparison) -> list[MultiplierRecord]:
    """The multiplier at budgets between the first and the last, each with an interval of its own."""
    if found.frontiers is None or not found.multipliers:
        return []
    low, high = (np.log(m.C) for m in (found.multipliers[0], found.multipliers[-1]))
    level, freedom = found.options.level, found.surfaces.dof
    return [_multiplier(multiplier_at(found.frontiers, at, level, freedom)) for at in np.linspace(low, high, BUDGETS)]


def _multiplier(m: Multiplier) -> MultiplierRecord:
    return MultiplierRecord(m.C, m.value.value, m.value.low, m.value.high, m.loss)


def _frontiers(found: Comparison) -> dict[str, list[dict[str, float]]]:
    """L*(C) of each arm's surface."""
    if found.frontiers is None:
        return {}
    pairs = zip("ab", found.frontiers.log_c, found.frontiers.y, strict=True)
    return {
        arm: [{"C": float(c), "loss": float(y)} for c, y in zip(np.exp(log_c), np.exp(ys), strict=True)]
        for arm, log_c, ys in pairs
    }

"""comparison.json from `Comparison`s: plain lists and numbers, strict JSON (a missing number is null)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_scaling.fitting.comparing.comparison import Comparison
from mnist_scaling.fitting.comparing.conclusion import sentence, what
from mnist_scaling.fitting.comparing.exponents import ExponentDifference
from mnist_scaling.fitting.comparing.multiplier import Multiplier, multiplier_at
from mnist_scaling.fitting.comparing.slopes import Difference
from mnist_scaling.fitting.diagnostics.found import Flag
from mnist_scaling.fitting.inputs.rows import Table
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.fits_json import strict

SCHEMA = 1

BUDGETS = 13
"""Points of the curve of the multiplier over compute."""

NO_SLOPE = {
    "alpha": "N does not vary in the cells of both arms, or moves only with D.",
    "beta": "D does not vary in the cells of both arms, or moves only with N.",
}


def comparison_record(
    found: Comparison, sources: Sequence[Mapping[str, Any]], flags: Sequence[Flag] = ()
) -> dict[str, Any]:
    """One pair of arms; docs/comparing.md says what each key is.

    Parameters
    ----------
    found : Comparison
    sources : sequence of mapping
        Of a and of b: {"study": name} or {"table": path}, and whatever else says where the arm is from.
    flags : sequence of Flag
        Raised by whoever read the tables.
    """
    cells = found.cells
    arms = [
        {"name": arm.name, **source, "cells": len(table)}
        for arm, source, table in zip((found.a, found.b), sources, (cells.a, cells.b), strict=True)
    ]
    slopes: dict[str, Any] = {
        k: {"a": nothing(), "b": nothing(), "difference": nothing(), "why": w} for k, w in NO_SLOPE.items()
    }
    slopes |= {k: _difference(v) for k, v in found.slopes.items()}
    best = found.preferred
    out: dict[str, Any] = {
        "schema": SCHEMA,
        "arms": arms,
        "paired": cells.paired,
        "by_seed": cells.seeds is not None,
        "cells": len(cells.a) if cells.paired else len(cells.a) + len(cells.b),
        "slopes": slopes,
        "offset": found.offset,
        "exponents": [_exponent(e) for e in found.exponents],
        "multiplier": [_multiplier(m) for m in found.multipliers],
        "verdict": {"alpha": "not settled", "beta": "not settled"} | found.verdict,
        "margin": found.options.margin,
        "shared": {
            "preferred": None if best is None else {"law": best.law, "variant": best.variant},
            "fits": [vars(f) for f in found.shared],
        },
        "flags": [f.record() for f in (*flags, *found.flags)],
        "noise": _noise(found),
        "settings": {"draws": found.options.draws, "level": found.options.level, "seed": found.options.seed},
        "points": _points(found),
        "curve": _curve(found),
        "frontiers": _frontiers(found),
    }
    out = strict(out)
    out["what"], out["sentence"] = what(out), sentence(out)
    return out


def of_pairs(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole of comparison.json: the first pair, and all of them under "pairs" where there are several."""
    return dict(records[0]) | ({"pairs": list(records)} if len(records) > 1 else {})


def nothing() -> dict[str, None]:
    """An interval of which nothing is known."""
    return {"value": None, "low": None, "high": None}


def _difference(found: Difference) -> dict[str, Interval]:
    return {"a": found.a, "b": found.b, "difference": found.difference}


def _exponent(e: ExponentDifference) -> dict[str, Any]:
    head = {"method" if e.is_method else "law": e.source, "parameter": e.parameter}
    return head | ({"at": e.at} if e.at else {}) | _difference(e.found)


def _noise(found: Comparison) -> dict[str, Any]:
    """Standard deviations of a cell's log loss, of its log ratio, and their correlation."""
    c = found.surfaces.covariance
    sizes = np.sqrt(np.diag(c))
    product = sizes[0] * sizes[1]
    return {
        "a": sizes[0],
        "b": sizes[1],
        "ratio": np.sqrt(max(c[0, 0] + c[1, 1] - 2 * c[0, 1], 0.0)),
        "correlation": c[0, 1] / product if product > 0 else np.nan,
        "freedom": found.surfaces.freedom,
    }


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


def _curve(found: Comparison) -> list[dict[str, Any]]:
    """The multiplier at budgets between the first and the last, each with an interval of its own."""
    if found.frontiers is None or not found.multipliers:
        return []
    low, high = (np.log(m.C) for m in (found.multipliers[0], found.multipliers[-1]))
    level, freedom = found.options.level, found.surfaces.freedom
    return [_multiplier(multiplier_at(found.frontiers, at, level, freedom)) for at in np.linspace(low, high, BUDGETS)]


def _multiplier(m: Multiplier) -> dict[str, Any]:
    return {"C": m.C, **m.value.record(), "loss": m.loss}


def _frontiers(found: Comparison) -> dict[str, list[dict[str, float]]]:
    """L*(C) of each arm's surface."""
    if found.frontiers is None:
        return {}
    pairs = zip("ab", found.frontiers.log_c, found.frontiers.y, strict=True)
    return {
        arm: [{"C": float(c), "loss": float(y)} for c, y in zip(np.exp(log_c), np.exp(ys), strict=True)]
        for arm, log_c, ys in pairs
    }

"""What can be wrong with a table or a fit: one function a flag, each with its cells and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from mnist_scaling.fitting.estimate import Fit
from mnist_scaling.fitting.frontier import Frontier
from mnist_scaling.fitting.interval import Interval
from mnist_scaling.fitting.objective import robust_scale
from mnist_scaling.fitting.table import MEANINGS, Table

CHANCE_SHARE = 0.95
"""A loss above this share of ln(classes) is a plateau at chance."""

FAMILY_ERROR = 0.01
"""Chance that a table without the fault raises a flag that rests on a test of noise."""

SMALLEST_NOISE = 0.003
"""Relative noise assumed at least, so that rounding in a table without noise raises nothing."""

FEWEST_SETTLED = 0.7
"""Share of converged draws below which a law's parameters are called undetermined."""

FAR = 10.0
"""Factor in compute beyond which a prediction is an extrapolation to be named."""

REMEDIES = {
    "search_edge": "Widen the search space on the side of the selected value, and tune these cells again.",
    "undertrained": "Give these cells more trials or steps, or leave them out of the fit.",
    "repeated_data": "An image seen again is worth less than a fresh one: compare with where='epochs <= 1'.",
}

BY_DESIGN = ("repeated_data",)
"""Flags of cells that are as they were meant to be: worth knowing, no fault."""


@dataclass(frozen=True)
class Flag:
    """One soft problem."""

    code: str
    severity: str
    """info, warning or error."""
    message: str
    """What was seen, and one sentence with the remedy."""
    cells: list[dict[str, Any]] = field(default_factory=list)
    laws: tuple[str, ...] = ()
    """Laws that it concerns, when it concerns laws."""

    def record(self) -> dict[str, Any]:
        """As fits.json has it."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "cells": self.cells,
            "laws": list(self.laws),
        }


def _cells(table: Table, index: Iterable[int]) -> list[dict[str, Any]]:
    return [table.cell(int(i)) for i in index]


def not_converged(fits: Mapping[str, Fit], settled: Mapping[str, float] | None = None) -> list[Flag]:
    """The optimiser stopped before the optimum, no second start found the same one, or draws wander along a ridge.

    Parameters
    ----------
    settled : mapping, optional
        Law -> share of the bootstrap's draws that converged.
    """
    out = []
    bad = [k for k, f in fits.items() if not f.converged or (f.polished > 3 and f.agreeing < 2)]
    if bad:
        names = ", ".join(bad)
        text = f"The optimiser did not settle for {names}. Don't use their numbers; fit a law with fewer parameters."
        out.append(Flag("not_converged", "error", text, laws=tuple(bad)))
    loose = [k for k, share in (settled or {}).items() if share < FEWEST_SETTLED and k not in bad]
    if loose:
        text = (
            f"Many draws of the bootstrap found no optimum for {', '.join(loose)}: parameters trade off without end. "
            "Use a law with fewer parameters."
        )
        out.append(Flag("not_converged", "warning", text, laws=tuple(loose)))
    return out


def parameter_at_bound(fits: Mapping[str, Fit]) -> list[Flag]:
    """A parameter stopped at a bound of its law: the number is the bound, not an estimate."""
    hits = {k: f.at_bound for k, f in fits.items() if f.at_bound}
    if not hits:
        return []
    what = "; ".join(f"{k}: {', '.join(names)}" for k, names in hits.items())
    floors = all(set(names) == {"E"} for names in hits.values())
    fix = "Use the law without a floor." if floors else "Use a law without these terms, or add cells that show them."
    return [Flag("parameter_at_bound", "warning", f"Parameters ended at their bound ({what}). {fix}", laws=tuple(hits))]


def floor_not_identified(floors: Mapping[str, tuple[Interval, bool]]) -> list[Flag]:
    """The data do not reject E = 0, by profile likelihood.

    Parameters
    ----------
    floors : mapping
        Law -> (profile interval of E, whether E = 0 is rejected).
    """
    bad = {k: v[0] for k, v in floors.items() if not v[1]}
    if not bad:
        return []
    what = "; ".join(f"{k}: {f'E up to {v.high:.3g}' if np.isfinite(v.high) else 'any E'}" for k, v in bad.items())
    text = (
        f"The data are compatible with no floor at all ({what}), so exponents of these laws rest on an assumption. "
        "Use the law without a floor, or add cells where the loss flattens."
    )
    return [Flag("floor_not_identified", "warning", text, laws=tuple(bad))]


def forms_disagree(disagree: bool, reason: str) -> list[Flag]:
    """Laws that fit equally well say different things."""
    if not disagree:
        return []
    text = f"The laws disagree: {reason}. Quote a range over laws, or add cells at larger compute."
    return [Flag("forms_disagree", "warning", text)]


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
        f"so its optimum is a bound. Add {'smaller' if sides == ['smallest'] else 'larger'} models"
        f"{' and smaller ones' if len(sides) > 1 else ''} at these budgets, or read exponents from the fitted law."
    )
    return [
        Flag(
            "grid_edge", "warning" if usable < 3 or len(edges) > usable else "info", text, _cells(table, sorted(index))
        )
    ]


def carried(table: Table) -> list[Flag]:
    """Flags that the cells themselves bring: search_edge, undertrained and what else the tuner wrote."""
    out = []
    for code in sorted({c for row in table.flags for c in row}):
        index = [i for i, row in enumerate(table.flags) if code in row]
        count = f"{len(index)} cell{'s' * (len(index) != 1)}"
        fix = REMEDIES.get(code, "Look at these cells, or leave them out and compare with sensitivity=true.")
        severity = "info" if code in BY_DESIGN else "warning"
        out.append(Flag(code, severity, f"The tuner marked {count} as {code}. {fix}", _cells(table, index)))
    return out


def non_monotone(table: Table, noise: float) -> list[Flag]:
    """More parameters, or more data, and yet a higher loss than noise explains.

    Parameters
    ----------
    noise : float
        `usual_noise`; NaN where unknown.
    """
    pairs = list(_neighbours(table))
    if not pairs or not np.isfinite(noise):
        return []
    limit = stats.norm.isf(FAMILY_ERROR / len(pairs)) * np.sqrt(2) * max(noise, SMALLEST_NOISE)
    bad = [(a, b, k) for a, b, k in pairs if table.y[b] - table.y[a] > limit]
    if not bad:
        return []
    worst = max(bad, key=lambda p: table.y[p[1]] - table.y[p[0]])
    rise = 100 * np.expm1(table.y[worst[1]] - table.y[worst[0]])
    text = (
        f"The loss rises with {' and '.join(sorted({k for *_, k in bad}))} at {len(bad)} "
        f"step{'s' * (len(bad) != 1)} of the grid, by {rise:.0f} % at worst, which is beyond noise. "
        "Tune and repeat these cells again before fitting."
    )
    return [Flag("non_monotone", "warning", text, _cells(table, dict.fromkeys(b for _, b, _ in bad)))]


def _neighbours(table: Table) -> Iterable[tuple[int, int, str]]:
    """Pairs of rows one step apart in N at equal D, or in D at equal N."""
    if not table.has(("N", "D")):
        for key in ("N", "D"):
            if key in table.inputs and "C" not in table.inputs:
                order = np.argsort(table.inputs[key], kind="stable")
                yield from ((int(a), int(b), key) for a, b in pairwise(order))
        return
    for variable, fixed in (("N", "D"), ("D", "N")):
        level = np.round(np.log(table.inputs[fixed]), 6)
        for value in np.unique(level):
            rows = np.flatnonzero(level == value)
            rows = rows[np.argsort(table.inputs[variable][rows], kind="stable")]
            steps = pairwise(rows)
            yield from (
                (int(a), int(b), variable) for a, b in steps if table.inputs[variable][b] > table.inputs[variable][a]
            )


def usual_noise(table: Table, fit: Fit | None) -> float:
    """Standard deviation of log loss that the repeats give, else the residuals' robust scale; NaN without either.

    Both forget an outlier, unlike the noise that widens the intervals.
    """
    if table.se is not None and (np.isfinite(table.se) & (table.se > 0)).sum() >= 4:
        relative = table.se[table.se > 0] / table.loss[table.se > 0]
        return float(np.sqrt(np.nanmean(np.minimum(relative, 3 * np.nanmedian(relative)) ** 2)))
    return robust_scale(fit.residual, fit.law.size) if fit is not None else np.nan


def seed_outlier(table: Table, fit: Fit | None) -> list[Flag]:
    """Rows whose repeats scatter far more than the others', or that lie far off the best law."""
    wide = _wide_repeats(table)
    far = _far_residuals(fit, usual_noise(table, fit)) if fit is not None else np.empty(0, int)
    index = sorted({*map(int, wide), *map(int, far)})
    if not index:
        return []
    text = (
        f"{len(index)} cell{'s' * (len(index) != 1)} stand{'s' * (len(index) == 1)} out: {len(wide)} by the scatter of "
        f"their repeats, {len(far)} by distance from the best law. Repeat them with fresh seeds, and compare exponents "
        "with sensitivity=true."
    )
    return [Flag("seed_outlier", "warning", text, _cells(table, index))]


def _wide_repeats(table: Table) -> np.ndarray:
    if table.se is None:
        return np.empty(0, int)
    known = np.flatnonzero(np.isfinite(table.se) & (table.se > 0))
    if len(known) < 4:
        return np.empty(0, int)
    variance = (table.se[known] / table.loss[known]) ** 2
    repeats = np.full(len(table), 3.0) if table.repeats is None else table.repeats
    freedom = np.maximum(np.nan_to_num(repeats[known], nan=2.0) - 1, 1)
    others = (variance.sum() - variance) / (len(known) - 1)
    limit = stats.f.isf(FAMILY_ERROR / len(known), freedom, freedom.sum() - freedom)
    return known[variance > limit * np.maximum(others, SMALLEST_NOISE**2 / 9)]


def _far_residuals(fit: Fit, noise: float) -> np.ndarray:
    lost = fit.n - fit.law.size
    if lost < 5:
        return np.empty(0, int)
    scale = max(robust_scale(fit.residual, fit.law.size), noise)
    size = np.abs(fit.residual) / np.sqrt(1 - np.minimum(fit.leverage, 0.95))
    # A median of n residuals is as uncertain as a root mean square of 0.37 n.
    limit = stats.t.isf(FAMILY_ERROR / 2 / fit.n, max(0.37 * lost, 2.0))
    return np.flatnonzero(size > limit * max(scale, SMALLEST_NOISE))


def chance_rows(table: Table, classes: int | None) -> np.ndarray:
    """Mask of the rows whose loss is above 95 % of ln(classes)."""
    if not classes:
        return np.zeros(len(table), bool)
    return table.loss > CHANCE_SHARE * np.log(classes)


def chance_level(table: Table, classes: int | None, masked: list[dict[str, Any]]) -> list[Flag]:
    """Cells that learned nothing: they say where learning starts, not how it scales."""
    index = np.flatnonzero(chance_rows(table, classes))
    cells = masked + _cells(table, index)
    if not cells:
        return []
    limit = CHANCE_SHARE * np.log(classes or 1)
    what = "were left out of the fit" if masked else "are part of the fit"
    fix = "Train them longer if they are to count." if masked else "Leave them out with mask_chance=true."
    text = (
        f"{len(cells)} cell{'s' * (len(cells) != 1)} with a loss above 95 % of ln({classes}) = {limit:.3f}, which is "
        f"chance, {what}. {fix}"
    )
    return [Flag("chance_level", "info" if masked else "warning", text, cells)]


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
        "the floor of a softmax applied twice. Give the cross-entropy logits, not probabilities, and train again."
    )
    index = np.flatnonzero(table.loss <= wall * 1.1)
    return [Flag("double_softmax_floor", "error", text, _cells(table, index))]


def too_few_cells(table: Table, starved: Sequence[str]) -> list[Flag]:
    """Laws that could not be fitted for want of rows or of distinct sizes."""
    if not starved:
        return []
    text = (
        f"The table's {len(table)} rows are too few for {', '.join(starved)}. Add cells (4 sizes x 5 amounts of data "
        "is the least that serves a joint law), or ask for simpler laws."
    )
    return [Flag("too_few_cells", "warning", text, laws=tuple(starved))]


def far_extrapolation(reach: float, cells: Sequence[dict[str, Any]], what: str) -> list[Flag]:
    """A prediction more than ten times beyond the largest compute that was fitted."""
    if not reach > FAR:
        return []
    text = (
        f"{what} reaches {reach:.3g} times beyond the largest compute that was fitted. "
        "Add cells in between, and don't read its error as that of an interpolation."
    )
    return [Flag("far_extrapolation", "warning", text, list(cells))]


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
        text = (
            f"The largest loss, {top:.4g}, is above {limit}: the column may be in {guess}. "
            "Convert it to nats per example."
        )
        out.append(Flag("unit_suspect", "warning", text, _cells(table, [int(table.loss.argmax())])))
    key = next((k for k in ("C", "D", "N") if k in table.inputs), None)
    if key and len(table) >= 5 and np.ptp(table.loss) > 0 and np.ptp(table.inputs[key]) > 0:
        rank = float(stats.spearmanr(table.inputs[key], table.loss).statistic)
        if rank > 0.5:
            text = (
                f"The loss grows with {key} ({MEANINGS[key]}; rank correlation {rank:.2f}): the column may be an "
                "accuracy. Fit a loss or an error rate."
            )
            out.append(Flag("unit_suspect", "warning", text))
    return out


def duplicate_rows(table: Table) -> list[Flag]:
    """Rows that agree in every input: repeats entered as rows count as independent cells."""
    keys = np.stack([np.log(v) for k, v in sorted(table.inputs.items())], axis=1)
    _, inverse, counts = np.unique(np.round(keys, 9), axis=0, return_inverse=True, return_counts=True)
    twice = np.flatnonzero(counts[np.asarray(inverse).ravel()] > 1)
    if not len(twice):
        return []
    same = len(np.unique(np.column_stack([keys[twice], table.loss[twice]]).round(9), axis=0)) < len(twice)
    text = (
        f"{len(twice)} rows share their inputs with another row{', some their loss too' if same else ''}; "
        "each counts as a cell of its own. Average repeats into one row with a standard error, "
        "drop copies, or keep one kind of run with where=…."
    )
    return [Flag("duplicate_rows", "warning" if same else "info", text, _cells(table, twice))]


def constant_loss(table: Table) -> list[Flag]:
    """A loss that never varies has no exponent."""
    if np.ptp(table.y) > 1e-9:
        return []
    text = f"Every loss is {table.loss[0]:.6g}, so no law has anything to fit. Check which column holds the loss."
    return [Flag("constant_loss", "error", text)]

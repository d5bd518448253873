"""comparison.json: what `compare` writes and the pages read. docs/comparing.md says what each key is.

Numbers that are not known are NaN here and null in the file. The order of the fields is that of the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mnist_scaling.fitting.comparing.comparison import Comparison, ExponentDifference, margin_of, verdict
from mnist_scaling.fitting.comparing.multiplier import Multiplier, multiplier_at
from mnist_scaling.fitting.comparing.pairing import Difference
from mnist_scaling.fitting.comparing.settle import Settling
from mnist_scaling.fitting.comparing.target import TargetLosses
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.uncertainty.interval import OMITTED, UNKNOWN, Interval
from mnist_scaling.reporting.documents.fits_json import AnswerRecord
from mnist_scaling.reporting.documents.json_form import read
from mnist_scaling.study import layout
from mnist_scaling.study.files import read_json

SCHEMA = 1

BUDGETS = 13
"""Points of the curve of the multiplier over compute."""

NO_SLOPE = {
    "alpha": "N does not vary in the cells of both arms, or moves only with D.",
    "beta": "D does not vary in the cells of both arms, or moves only with N.",
}


@dataclass(frozen=True)
class LuckRecord:
    """What tuning left to luck in the cells of an arm, averaged over what is possible; NaN where none was tuned."""

    sd: float = math.nan
    """Standard deviation in log loss."""
    correlation: float = math.nan
    """Between neighbouring cells."""
    twin: str | None = None
    """The study that is an arm tuned again."""


@dataclass(frozen=True)
class Pair:
    """Two arms that were compared: the whole of comparison.json, or one of its pairs."""

    schema: int = SCHEMA
    arms: Sequence[Mapping[str, Any]] = ()
    """Of a and of b: name, cells, and where the arm is from."""
    paired: bool = False
    by_seed: bool = False
    cells: int = 0
    slopes: Mapping[str, Difference] = field(default_factory=dict)
    offset: Interval = UNKNOWN
    largest: Interval = UNKNOWN
    """ln(loss of b / loss of a), as measured, in the cell of the largest compute; not known where none is paired."""
    exponents: Sequence[ExponentDifference] = ()
    multiplier: Sequence[Multiplier] = ()
    p_better: Sequence[Mapping[str, float]] = ()
    """C, a budget of the multiplier, and value: the probability that b is better than a there."""
    verdict: Mapping[str, str] = field(default_factory=dict)
    margin: float = math.nan
    tuning_luck: LuckRecord = field(default_factory=LuckRecord)
    settling: Settling | None = field(default=None, metadata=OMITTED)
    """What would settle which arm is better."""
    target: TargetLosses | None = field(default=None, metadata=OMITTED)
    """The losses at a compute that somebody asked for."""
    flags: Sequence[Flag] = ()
    noise: Mapping[str, float] = field(default_factory=dict)
    """Standard deviations of a cell's log loss in each arm (a, b) and of its log ratio, the arms' correlation, and
    degrees of freedom ("freedom")."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    points: Sequence[Mapping[str, Any]] = ()
    """The cells that were compared: of both arms where they are paired, else of either."""
    curve: Sequence[Multiplier] = ()
    frontiers: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    """L*(C) of each arm's surface."""
    what: str = ""
    sentence: str = ""
    answer: AnswerRecord = field(default_factory=AnswerRecord)
    """As in fits.json; `numbers` has alpha, beta (gamma), offset, N_exponent, …, and multiplier_0 and _1."""
    pairs: Sequence[Pair] = field(default=(), metadata=OMITTED)
    """All pairs, where there are several; the first is also the file's own."""
    config: Mapping[str, Any] = field(default_factory=dict, metadata=OMITTED)
    command: str = field(default="", metadata=OMITTED)

    @property
    def names(self) -> tuple[str, str]:
        """Names of a and b."""
        a, b = (str(arm.get("name", "")) for arm in self.arms)
        return a, b


def read_comparison(folder: Path) -> Pair | None:
    """comparison.json of a folder; None where there is none."""
    record = read_json(folder / layout.COMPARISON)
    return None if record is None else read(Pair, record)


def comparison_record(comparison: Comparison, sources: Sequence[Mapping[str, Any]], flags: Sequence[Flag] = ()) -> Pair:
    """One pair of arms; `sources` say where a and b are from, such as {"study": name}, `flags` are the readers'."""
    cells = comparison.cells
    arms = [
        {"name": arm.name, **source, "cells": len(table)}
        for arm, source, table in zip((comparison.a, comparison.b), sources, (cells.a, cells.b), strict=True)
    ]
    return Pair(
        SCHEMA,
        arms,
        paired=cells.paired,
        by_seed=cells.seeds is not None and cells.seeds.shared,
        cells=len(cells.a) if cells.paired else len(cells.a) + len(cells.b),
        slopes={k: Difference(why=why) for k, why in NO_SLOPE.items()} | comparison.slopes,
        offset=comparison.offset,
        largest=comparison.largest,
        exponents=[
            replace(one, verdict=verdict(one.difference, margin_of(one.a.value, comparison.options.margin)))
            for one in comparison.exponents
        ],
        multiplier=comparison.multipliers,
        p_better=[{"C": m.C, "value": m.p_better} for m in comparison.multipliers],
        verdict={"alpha": "not settled", "beta": "not settled"} | comparison.verdict,
        margin=comparison.options.margin,
        tuning_luck=_luck(comparison),
        target=comparison.target,
        flags=[*flags, *comparison.flags],
        noise=_noise(comparison),
        settings={key: getattr(comparison.options, key) for key in ("draws", "level", "seed")},
        points=_points(comparison),
        curve=_curve(comparison),
        frontiers=_frontiers(comparison),
    )


def _luck(comparison: Comparison) -> LuckRecord:
    luck = comparison.surfaces.noise.luck
    if not (comparison.cells.tuned and luck.dof > 0):
        return LuckRecord()
    return LuckRecord(luck.sd, luck.neighbours, comparison.twin)


def _noise(comparison: Comparison) -> dict[str, float]:
    c = comparison.surfaces.noise.covariance
    sizes = np.sqrt(np.diag(c))
    product = sizes[0] * sizes[1]
    ratio = float(np.sqrt(max(c[0, 0] + c[1, 1] - 2 * c[0, 1], 0.0)))
    correlation = c[0, 1] / product if product > 0 else np.nan
    known = {"a": float(sizes[0]), "b": float(sizes[1]), "ratio": ratio, "correlation": float(correlation)}
    return known | {"freedom": comparison.surfaces.noise.luck.dof}


def _points(comparison: Comparison) -> list[dict[str, Any]]:
    """The cells that were compared: of both arms where they are paired, else of either."""
    a, b = comparison.cells.a, comparison.cells.b
    of_a, of_b = [None] * len(a), [None] * len(b)
    parts = [(a, a.loss, b.loss)] if comparison.cells.paired else [(a, a.loss, of_a), (b, of_b, b.loss)]
    return [
        {**{k: float(v[i]) for k, v in table.inputs.items()}, "loss_a": losses[0], "loss_b": losses[1]}
        for table, *both in parts
        for i, losses in enumerate(zip(*both, strict=True))
    ]


def _curve(comparison: Comparison) -> list[Multiplier]:
    """The multiplier at budgets between the first and the last, each with an interval of its own."""
    if comparison.frontiers is None or not comparison.multipliers:
        return []
    low, high = (np.log(m.C) for m in (comparison.multipliers[0], comparison.multipliers[-1]))
    return [multiplier_at(comparison.frontiers, at, comparison.options.level) for at in np.linspace(low, high, BUDGETS)]


def _frontiers(comparison: Comparison) -> dict[str, list[dict[str, float]]]:
    """L*(C) of each arm's surface."""
    if comparison.frontiers is None:
        return {}
    pairs = zip("ab", np.exp(comparison.frontiers.log_c), np.exp(comparison.frontiers.y), strict=True)
    return {arm: [{"C": c, "loss": y} for c, y in zip(cs, ys, strict=True)] for arm, cs, ys in pairs}

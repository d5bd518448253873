"""Data of a comparison's figures, made from comparison.json. Nothing here draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.reporting.documents.comparison_json import Pair
from mnist_scaling.reporting.prepare import Missing
from mnist_scaling.reporting.text import spaced

MOST_ROWS = 30
"""Differences of exponents that the figure holds; the table has them all."""

SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "γ", "N_exponent": "N* in C", "D_exponent": "D* in C",
           "loss_exponent": "L* in C"}  # fmt: skip
"""What the figure calls exponents; other parameters, such as floors, stand in the table alone."""


@dataclass(frozen=True)
class Ratios:
    """log(L_b / L_a) of each paired cell over N and over D, with the fitted plane."""

    points: pd.DataFrame
    """Columns N, D where they vary, ratio (L_b / L_a), fitted (that of the plane)."""
    variables: tuple[str, ...]


@dataclass(frozen=True)
class Curves:
    """Loss over compute of both arms."""

    points: pd.DataFrame
    """Columns arm (a or b), C, loss."""
    lines: pd.DataFrame
    """The same columns: L*(C)."""
    names: tuple[str, str]


@dataclass(frozen=True)
class Multiples:
    """The compute multiplier over compute."""

    line: pd.DataFrame
    """Columns C, value, low, high."""


@dataclass(frozen=True)
class Differences:
    """Differences of exponents with their intervals, and the margin of equivalence."""

    rows: pd.DataFrame
    """Columns label, value, low, high."""
    margin: float
    note: str


def ratios(pair: Pair) -> Ratios | Missing:
    """Ratio of the losses of each cell."""
    if not pair.paired:
        return Missing("The arms share too few cells, so no cell has a ratio of losses.")
    points = pd.DataFrame(pair.points)
    variables = tuple(v for v in ("N", "D", "C") if v in points and points[v].nunique() > 1)[:2]
    points["ratio"] = points["loss_b"] / points["loss_a"]
    design = np.column_stack([np.ones(len(points)), *(np.log(points[v]) for v in variables)])
    points["fitted"] = np.exp(design @ np.linalg.lstsq(design, np.log(points["ratio"]), rcond=None)[0])
    return Ratios(points, variables)


def curves(pair: Pair) -> Curves | Missing:
    """Loss against compute."""
    rows = [
        {"arm": arm, "C": p["C"], "loss": p[f"loss_{arm}"]}
        for p in pair.points
        for arm in "ab"
        if p.get("C") and p[f"loss_{arm}"] is not None
    ]
    if not rows:
        return Missing("The tables have no C, so nothing is said of compute.")
    lines = [{"arm": arm, **point} for arm, points in pair.frontiers.items() for point in points]
    return Curves(pd.DataFrame(rows), pd.DataFrame(lines, columns=["arm", "C", "loss"]), pair.names)


def multiples(pair: Pair) -> Multiples | Missing:
    """The multiplier between the smallest and the largest compute."""
    line = pd.DataFrame([vars(point) for point in pair.curve], columns=["C", "value", "low", "high"]).astype(float)
    if not line["value"].notna().any():
        return Missing("No loss is reached by both arms inside the compute that they cover, or the tables have no C.")
    return Multiples(line[line["value"].notna()])


def differences(pair: Pair) -> Differences | Missing:
    """Every difference that has an interval, the paired slopes first, then from narrow to wide."""
    rows = [
        (f"{SYMBOLS[k]}, cell by cell" if pair.paired else f"{SYMBOLS[k]}, shared range", found.difference)
        for k, found in pair.slopes.items()
    ]
    head = len([1 for _, d in rows if d.bounded])
    for e in pair.exponents:
        name = _called(e.parameter)
        if name is None:
            continue
        at = f", {e.at}" if e.at else ""
        rows.append((f"{name}, {spaced(e.law or e.method)}{at}", e.difference))
    known = [(label, d) for label, d in rows if d.bounded]
    if not known:
        return Missing("No difference of exponents has an interval.")
    known[head:] = sorted(known[head:], key=lambda row: row[1].high - row[1].low)
    shown = [{"label": label, "value": i.value, "low": i.low, "high": i.high} for label, i in known[:MOST_ROWS]]
    more = len(known) - len(shown)
    note = f"{more} more, with wider intervals, stand in the table." if more else ""
    return Differences(pd.DataFrame(shown), pair.margin, note)


def _called(parameter: str) -> str | None:
    """An exponent as the figure writes it, such as "α of N" for alpha_N; None for a parameter that is no exponent."""
    head, _, size = parameter.partition("_")
    known = SYMBOLS.get(parameter) or SYMBOLS.get(head)
    return known if known is None or parameter in SYMBOLS else f"{known} of {size}"

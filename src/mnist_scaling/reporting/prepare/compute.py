"""Loss against compute, the frontier N*(C) and D*(C), and the isoFLOP curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.fitting.frontier.fronts import METHODS
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.fits_json import OK
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.prepare import Missing
from mnist_scaling.reporting.prepare.losses import levels, selected_law
from mnist_scaling.reporting.text import number
from mnist_scaling.study.columns import label


@dataclass(frozen=True)
class Compute:
    """Every cell over its training FLOPs, and the cheapest way to each loss."""

    cells: pd.DataFrame
    """Columns C, loss, se, level (of the size axis, NaN without one), label, group (a line); sorted by level and C."""
    size: str | None
    """The axis that sets N."""
    frontier: pd.DataFrame
    """Columns C, loss: the hull's corners, or the Pareto front's where there is no hull."""
    method: str
    exponent: Interval
    """Of the loss in C; negative."""
    note: str
    names: tuple[str, str] = ("", "")
    """Of the loss, and of the axis that sets N."""
    selected: pd.DataFrame | None = None
    """Columns x, loss: the selected law, where it is one of compute alone."""


def compute(study: Study) -> Compute | Missing:
    """Loss against training FLOPs with the frontier of fits.json."""
    rows = study.cells[study.cells["loss"].notna() & study.cells["C"].notna()]
    if len(rows) < 2 or rows["C"].nunique() < 2:
        return Missing(f"Fewer than two cells with different compute have a {study.call('loss')}.")
    size, parts = study.roles.size, []
    for place, level in enumerate(levels(rows, size)):
        cells = level.rows[["C", "loss", "se"]].astype(float)
        apart = [level.rows[a] for a in study.roles.others]
        group = level.rows.groupby(apart, dropna=False).ngroup() if apart else 0
        alone = np.arange(len(cells)) if level.scattered else group  # no line joins scattered cells
        parts.append(cells.assign(level=level.value, label=level.label, group=place * len(rows) + alone))
    cells = pd.concat(parts)
    found = study.fits.frontier
    method = next((m for m in ("hull", "pareto") if m in found and found[m].points), "")
    frontier = pd.DataFrame(found[method].points if method else [], columns=["C", "loss"]).astype(float)
    exponent = found[method].loss_exponent if method else Interval()
    note = f"It stands on {len(frontier)} of {len(cells)} cells." if len(frontier) else "No frontier could be formed."
    law = selected_law(study, "C", (cells["C"].min(), cells["C"].max()), np.nan)
    names = (f"{study.call('loss')}{study.unit}", label(size) if size and study.is_study else study.call("N"))
    ordered = cells.sort_values(["level", "C"])
    return Compute(ordered, size, frontier.sort_values("C"), method, exponent, note, names, law)


@dataclass(frozen=True)
class Optimum:
    """One method's N*(C) and D*(C)."""

    method: str
    label: str
    points: pd.DataFrame
    """Columns C, N, D; sorted by C."""
    exponents: dict[str, Interval]
    """By N and D."""


@dataclass(frozen=True)
class Optima:
    """All methods side by side, and the box of what was run."""

    optima: list[Optimum]
    ranges: dict[str, tuple[float, float]]
    """Smallest and largest C, N and D of the grid: beyond them lies extrapolation."""
    note: str


def frontier(study: Study) -> Optima | Missing:
    """The compute-efficient frontier by every method that has points."""
    optima, absent = [], []
    for method, found in study.fits.frontier.items():
        points = pd.DataFrame(found.points, columns=["C", "N", "D"]).astype(float).dropna().sort_values("C")
        exponents = {"N": found.N_exponent, "D": found.D_exponent}
        if len(points) and any(e.known for e in exponents.values()):
            optima.append(Optimum(method, METHODS.get(method, method), points, exponents))
        else:
            absent.append(f"{METHODS.get(method, method)}: {found.status}.")
    if study.roles.size is None or study.roles.data is None:
        what = "grid holds one of them still" if study.is_study else "table has one of them still, or not at all"
        return Missing(f"A frontier needs model size and data size to vary; this {what}.")
    if not optima:
        return Missing("No method found a frontier. " + " ".join(absent))
    ranges = {k: (float(study.cells[k].min()), float(study.cells[k].max())) for k in ("C", "N", "D")}
    if not np.isfinite(ranges["C"]).all():
        ends = [(o.points["C"].min(), o.points["C"].max()) for o in optima]
        ranges["C"] = (min(low for low, _ in ends), max(high for _, high in ends))
    return Optima(optima, ranges, " ".join(absent))


@dataclass(frozen=True)
class IsoFlopCurve:
    """Loss over N at one budget."""

    budget: float
    points: pd.DataFrame
    """Columns N, loss."""
    curve: pd.DataFrame
    """Columns N, loss: the fitted polynomial; empty without one."""
    minimum: tuple[float, float] | None
    """N* and loss, where the minimum lies inside the sizes that were tried."""
    quality: str
    """ok, off_centre, edge or not_convex."""


@dataclass(frozen=True)
class IsoFlops:
    """All budgets."""

    curves: list[IsoFlopCurve]
    note: str
    loss: str = "loss"
    """What the loss is called."""


def isoflops(study: Study) -> IsoFlops | Missing:
    """The isoFLOP curves of fits.json."""
    found = study.fits.frontier.get("isoflop")
    records = found.extra.get("curves") if found else None
    if found is None or not records:
        return Missing(f"No isoFLOP curve: {found.status if found else 'fits.json has none'}.")
    curves = [_isoflop(r) for r in sorted(records, key=lambda r: r["C"])]
    kinds = pd.Series([c.quality for c in curves]).value_counts()
    words = {
        "ok": "minimum inside",
        "off_centre": "off-centre (biased)",
        "edge": "at the grid's edge",
        "not_convex": "no minimum",
    }
    shares = ", ".join(f"{words.get(str(k), k)} {v}" for k, v in kinds.items())
    how = found.extra.get("how", "")
    status = "" if found.status == OK else f" {found.status}."
    note = f"Points: {how}. Of {len(curves)} budgets: {shares}.{status}"
    return IsoFlops(curves, note, f"{study.call('loss')}{study.unit}")


def _isoflop(record: dict[str, Any]) -> IsoFlopCurve:
    points = pd.DataFrame({"N": record["N"], "loss": record["loss"]}).astype(float).sort_values("N")
    log_n = np.linspace(np.log(points["N"].min()), np.log(points["N"].max()), 60)
    coefficients = record.get("coefficients") or [None]
    curve = pd.DataFrame({"N": [], "loss": []}, dtype=float)
    if all(c is not None for c in coefficients):
        loss = np.polynomial.polynomial.polyval(log_n - record["centre_log_N"], coefficients)
        curve = pd.DataFrame({"N": np.exp(log_n), "loss": loss})
    least = record.get("minimum")
    minimum = (float(least["N"]), float(least["loss"])) if least else None
    return IsoFlopCurve(float(record["C"]), points, curve, minimum, str(record.get("quality", "")))


def exponent_label(symbol: str, exponent: Interval) -> str:
    """N* ∝ C^0.39 for a legend; mathtext."""
    return f"{symbol}* $\\propto C^{{{number(exponent.value, 2)}}}$" if exponent.known else f"no slope of {symbol}*"

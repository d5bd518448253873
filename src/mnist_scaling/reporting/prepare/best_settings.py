"""Best setting of every cell against its size, with the fitted law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.documents.tuning_records import OK, PredictedSettings, SettingsRecord, known_settings_laws
from mnist_scaling.reporting.prepare import Missing
from mnist_scaling.reporting.text import estimate, listing, short, three_digits
from mnist_scaling.settings.setting_laws import KeyLaws, predict
from mnist_scaling.study.columns import label

SIZES = ("N", "D")
USELESS = 0.5
"""A prediction that spans more than this share of the range is said to be of little use."""

_POINTS = 50


@dataclass(frozen=True)
class Panel:
    """One key against one size; the other size is the colour."""

    key: str
    """In words."""
    log: bool
    variable: str
    other: str | None
    """The size that gives the colour; None where all cells share it."""
    points: pd.DataFrame
    """One row per cell whose best setting is known: x, level, value, low, high, side (-1 or 1: beyond the range)."""
    lines: pd.DataFrame
    """The law: level, x, value, low, high; the interval is that of a single cell."""
    ends: tuple[float, float]
    """Ends of the range that was searched."""
    target: pd.DataFrame
    """The cell that is predicted, as a row of `points`, or none."""


@dataclass(frozen=True)
class BestSettings:
    """The panels of each key that has a law, one row per key."""

    rows: list[list[Panel]]
    note: str


def best_settings(study: Study) -> BestSettings | Missing:
    """Best settings and their laws, from `settings_laws` of fits.json."""
    found = study.fits.settings_laws
    if found is None or found.status != OK:
        return Missing(found.status if found else "fits.json has no laws of the best settings: run `fit` again.")
    laws = known_settings_laws(found)
    rows = [panels for one in laws if (panels := _panels(study, found, one))]
    without = [f"{label(one.key.name)} ({_within(one.status)})" for one in laws if not one.laws]
    if not rows:
        return Missing(f"No tuned setting has a law against size: {listing(without)}.")
    note = [predicted_settings(found.predicted), f"There is no law for {listing(without)}." if without else ""]
    return BestSettings(rows, " ".join(filter(None, note)))


def _within(sentence: str) -> str:
    """A sentence as it stands in parentheses."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _panels(study: Study, found: SettingsRecord, one: KeyLaws) -> list[Panel]:
    """A key against each size that its law holds; none where its only laws are against steps or loss."""
    law = next((law for law in one.laws if set(law.against) <= set(SIZES)), None)
    if law is None:
        return []
    cells = pd.DataFrame([{"row": c["row"], **c["best"][one.key.name]} for c in found.cells if c["used"]]).set_index(
        "row"
    )
    cells = cells.join(study.cells[list(SIZES)]).astype(float).dropna(subset=["value", *SIZES])
    known = found.predicted
    guess = known.settings.get(one.key.name) if known else None
    target = pd.DataFrame([{**known.at, **guess.record(), "side": 0.0}] if known and guess else [])
    panels = []
    for variable in law.against:
        other = next((size for size in law.against if size != variable), None)
        levels = _levels(cells[other]) if other else [np.nan]
        ends = [*cells[variable], *(target[variable] if len(target) else [])]
        grid = np.geomspace(min(ends), max(ends), _POINTS)
        lines = []
        for level in levels:
            for x in grid:
                at = predict(law, one, {variable: x, **({other: level} if other else {})}, found.level or np.nan)
                lines.append({"level": level, "x": x, **at.record()})
        panels.append(
            Panel(
                label(one.key.name), one.key.log, variable, other, _points(cells, variable, other),
                pd.DataFrame(lines), (one.low, one.high), _points(target, variable, other),
            )
        )  # fmt: skip
    return panels


def _points(cells: pd.DataFrame, variable: str, other: str | None) -> pd.DataFrame:
    if cells.empty:
        return cells
    level = cells[other] if other else pd.Series(np.nan, cells.index)
    return cells.assign(x=cells[variable], level=level)[["x", "level", "value", "low", "high", "side"]]


def _levels(values: pd.Series) -> list[float]:
    """Smallest, middle and largest level."""
    distinct = sorted(set(values))
    return sorted({distinct[0], distinct[len(distinct) // 2], distinct[-1]})


def predicted_settings(predicted: PredictedSettings | None) -> str:
    """The best settings of the cell that `fit` predicted; empty where it predicted none."""
    if predicted is None or not predicted.settings:
        return ""
    at = " and ".join(f"{size} = {short(value)}" for size, value in predicted.at.items())
    parts = []
    for name, guess in predicted.settings.items():
        wide = f" ({100 * guess.share_of_range:.0f} % of the range, so of little use)"
        parts.append(
            f"{label(name)} {estimate(guess, three_digits, ' ')}{wide if guess.share_of_range > USELESS else ''}"
        )
    return f"For a new cell with {at} the laws predict {listing(parts)}."

"""Loss against N and against D: one line for each level of the other, with the law fitted to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.fitting.interval import Interval
from mnist_scaling.reporting.loading import Study, axis_value
from mnist_scaling.reporting.prepare import Missing
from mnist_scaling.study.columns import label

MOST_PANELS = 6
COLUMN = {"N": "n_params", "D": "n_seen"}


@dataclass(frozen=True)
class Law:
    """loss = scale * x^-exponent as fits.json has it, and the x that it was fitted on."""

    scale: float
    exponent: Interval
    x: tuple[float, float]
    centre: float

    def curve(self, points: int = 60) -> pd.DataFrame:
        """Columns x, loss, low, high: the band turns the line about its middle by the exponent's interval."""
        x = np.geomspace(*self.x, points)
        middle = self.scale * self.centre**-self.exponent.value
        ends = [middle * (x / self.centre) ** -e for e in (self.exponent.low, self.exponent.high)]
        loss = middle * (x / self.centre) ** -self.exponent.value
        return pd.DataFrame({"x": x, "loss": loss, "low": np.minimum(*ends), "high": np.maximum(*ends)})


@dataclass(frozen=True)
class Line:
    """The cells that share the level of the other variable."""

    label: str
    level: float
    """Of the other axis, for the colour."""
    fixed: float
    """N or D that the line holds still."""
    points: pd.DataFrame
    """Columns x, loss, se; sorted by x."""
    law: Law | None


@dataclass(frozen=True)
class Losses:
    """All lines of one figure."""

    variable: str
    """N or D: what x is."""
    axis: str
    """Column of the axis that sets x."""
    other: str | None
    """Column of the axis that tells the lines apart."""
    panels: dict[str, list[Line]]
    """By title; one panel unless the grid has further axes."""
    note: str


def losses(study: Study, variable: str) -> Losses | Missing:
    """Lines of test loss against `variable`, N or D."""
    roles = study.roles
    axis, other = (roles.size, roles.data) if variable == "N" else (roles.data, roles.size)
    if axis is None:
        return Missing(
            f"The study has one {'model size' if variable == 'N' else 'data size'}, so there is no line to draw."
        )
    measured = study.cells[study.cells["test_loss"].notna()]
    panels = {}
    for title, rows in split(measured, roles.others):
        groups = [(np.nan, rows)] if other is None else list(rows.groupby(other, sort=True))
        lines = [_line(study, variable, other, level, group) for level, group in groups]
        if any(len(line.points) > 1 for line in lines):
            panels[title] = sorted(lines, key=lambda line: line.fixed)
    if not panels:
        return Missing("Fewer than two cells have a test loss on any one line.")
    return Losses(variable, axis, other, dict(list(panels.items())[:MOST_PANELS]), _note(study, panels))


def split(cells: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """One part for each combination of further axes, with its title; all rows where there are none."""
    if not by:
        yield "", cells
        return
    for key, rows in cells.groupby(list(by), sort=True, dropna=False):
        yield ", ".join(f"{label(a)} {axis_value(v, a)}" for a, v in zip(by, key, strict=True)), rows


def _line(study: Study, variable: str, other: str | None, level: Any, rows: pd.DataFrame) -> Line:
    rows = rows.sort_values(COLUMN[variable])
    fixed = float(rows[COLUMN["D" if variable == "N" else "N"]].median())
    name = "" if other is None else axis_value(level, other)
    points = pd.DataFrame({"x": rows[COLUMN[variable]], "loss": rows["test_loss"], "se": rows["test_loss_se"]})
    return Line(name, float(level), fixed, points.astype(float).reset_index(drop=True), _law(study, variable, rows))


def _law(study: Study, variable: str, rows: pd.DataFrame) -> Law | None:
    """The fitted slice that used exactly these cells."""
    found = [s for s in study.fits.get("slices", []) if s["variable"] == variable and set(s["rows"]) == set(rows.index)]
    if not found or "params" not in found[0]:
        return None
    scale, exponent = found[0]["params"].values()
    exponent = Interval.of(exponent)
    if scale["value"] is None or not exponent.known:
        return None
    x = rows[COLUMN[variable]].to_numpy(float)
    return Law(float(scale["value"]), exponent, (x.min(), x.max()), float(np.exp(np.log(x).mean())))


def _note(study: Study, panels: dict[str, list[Line]]) -> str:
    notes = []
    lost = int(study.cells["test_loss"].isna().sum())
    if lost:
        notes.append(f"{lost} of {len(study.cells)} cells have no test loss and are absent.")
    if not any(line.points["se"].notna().any() for lines in panels.values() for line in lines):
        notes.append("No cell has two repeats, so there are no error bars: how much a seed moves a point is not known.")
    if len(panels) > MOST_PANELS:
        notes.append(f"{MOST_PANELS} of {len(panels)} combinations of the further axes are drawn.")
    return " ".join(notes)

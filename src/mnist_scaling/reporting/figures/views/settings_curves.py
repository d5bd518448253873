"""Loss against each tuned setting in a small, a middle and a large cell: trials, selected value, range, fitted bowl.

ln L(v) = ln L(selected) + h/2 [(v - best)^2 - (selected - best)^2]      v: the setting, or its log; h: `curvature`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.documents.tuning_records import KeyRecord
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.scatter import points, runs_of, spread
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.study.columns import TRIAL, label

MOST_CELLS = 3

FAR = 3.0
"""Trials whose loss is more than so many times the best lie beyond the figure."""


@dataclass(frozen=True)
class SettingCurve:
    """One setting in one cell."""

    trials: pd.DataFrame
    """Columns x, loss; index: the cell."""
    selected: tuple[float, float]
    """Value, and loss of its repeats."""
    bowl: pd.DataFrame
    """Columns x, loss; empty where the loss has no minimum in the setting."""
    key: KeyRecord
    name: str
    cell: str


def settings_curves(study: Study) -> list[list[SettingCurve]] | Missing:
    """One row for each tuned number, one column for each cell."""
    record = study.fits.settings_laws
    if record is None or not record.keys:
        return Missing("No tuned number is known with its range: run `fit` again.")
    best: dict[Any, Any] = {one["row"]: one["best"] for one in record.cells if one["used"]}
    cells = study.cells.dropna(subset=["repeat_val_loss"]).sort_values("C")
    known = cells[cells.index.isin(best)]
    runs = runs_of(study, spread(known if len(known) >= MOST_CELLS else cells, MOST_CELLS), TRIAL)
    if runs.empty:
        return Missing("No cell has finished trials.")
    return [
        [
            SettingCurve(
                own[[name, "val_loss"]].astype(float).set_axis(["x", "loss"], axis=1),
                at := (float(cells.loc[row, name]), float(cells.loc[row, "repeat_val_loss"])),
                _bowl(key, best.get(row, {}).get(name, {}).get("value"), at), key, name, study.label(cells.loc[row]),
            )
            for row, own in runs.groupby(level=0, sort=False)
        ]
        for name, key in record.keys.items()
    ]  # fmt: skip


def _bowl(key: KeyRecord, vertex: float | None, selected: tuple[float, float]) -> pd.DataFrame:
    if vertex is None or not np.isfinite(vertex) or key.status != "ok":
        return pd.DataFrame({"x": [], "loss": []})
    log, numbers = key.scale == "log", np.array([key.range.low, key.range.high, vertex, selected[0]])
    low, high, best, at = np.log(numbers) if log else numbers
    v = np.linspace(low, high, 60)
    above = key.curvature.value / 2 * ((v - best) ** 2 - (at - best) ** 2)
    return pd.DataFrame({"x": np.exp(v) if log else v, "loss": selected[1] * np.exp(above)})


def draw_settings_curves(data: list[list[SettingCurve]]) -> Figure:
    """Trials as points, the selected value as a star at its repeats' loss, the ends of the range dashed."""
    figure = style.new_figure(height=0.4 + 1.9 * len(data))
    grid = figure.subplots(len(data), len(data[0]), squeeze=False, sharey="col", sharex="row")
    for line, row in zip(grid, data, strict=True):
        for axes, one in zip(line, row, strict=True):
            _panel(axes, one)
    for axes, column in zip(grid[0], zip(*data, strict=True), strict=True):
        one = column[0]
        axes.set_title(style.plain(one.cell), fontsize=8)
        best = min(one.trials["loss"].min(), one.selected[1], *(c.bowl["loss"].min() for c in column if len(c.bowl)))
        style.log_axis(axes.yaxis, best, min(one.trials["loss"].max(), FAR * best), most=5)
    for axes in grid[:, 0]:
        axes.set_ylabel("validation loss")
    star: dict[str, Any] = {"linestyle": "none", "marker": "*", "markersize": 10, "color": style.UNTUNED}
    told = [
        Line2D([], [], label="selected, at the loss of its repeats", **star),
        Line2D([], [], color=style.INK, label="fitted bowl"),
        Line2D([], [], color=style.MUTED, linestyle="--", label="ends of the range"),
    ]
    style.key(figure, "", {"trials": style.TUNED}, told)
    return figure


def _panel(axes: Axes, one: SettingCurve) -> None:
    points(axes, one.trials, "x", "loss", color=style.TUNED, alpha=0.7)
    axes.plot(one.bowl["x"], one.bowl["loss"], color=style.INK)
    axes.plot(*one.selected, "*", color=style.UNTUNED, markersize=10, zorder=5)
    for end in (one.key.range.low, one.key.range.high):
        axes.axvline(end, color=style.MUTED, linewidth=0.8, linestyle="--", zorder=1)
    if one.key.scale == "log":
        style.log_axis(axes.xaxis, one.key.range.low, one.key.range.high, most=4)
    axes.set_xlabel(label(one.name))

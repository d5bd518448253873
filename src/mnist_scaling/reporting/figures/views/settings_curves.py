"""Loss against each tuned setting in a small, a middle and a large cell: trials, selected value, range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.documents.tuning_records import KeyRecord
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.scatter import points, runs_of, spread
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.study.columns import label
from mnist_scaling.study.vocabulary import TRIAL

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
    key: KeyRecord
    name: str
    cell: str


def settings_curves(study: Study) -> list[list[SettingCurve]] | Missing:
    """One row for each tuned number, one column for each cell."""
    record = study.fits.settings_laws
    if record is None or not record.keys:
        return Missing("No tuned number is known with its range: run `fit` again.")
    cells = study.cells.dropna(subset=["repeat_val_loss"]).sort_values("C")
    runs = runs_of(study, spread(cells, MOST_CELLS), TRIAL)
    if runs.empty:
        return Missing("No cell has finished trials.")
    return [
        [
            SettingCurve(
                own[[name, "val_loss"]].astype(float).set_axis(["x", "loss"], axis=1),
                (float(cells.loc[row, name]), float(cells.loc[row, "repeat_val_loss"])),
                key, name, study.label(cells.loc[row]),
            )
            for row, own in runs.groupby(level=0, sort=False)
        ]
        for name, key in record.keys.items()
    ]  # fmt: skip


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
        best = min(one.trials["loss"].min(), one.selected[1])
        style.log_axis(axes.yaxis, best, min(one.trials["loss"].max(), FAR * best), most=5)
    for axes in grid[:, 0]:
        axes.set_ylabel("validation loss")
    star: dict[str, Any] = {"linestyle": "none", "marker": "*", "markersize": 10, "color": style.UNTUNED}
    told = [
        Line2D([], [], label="selected, at the loss of its repeats", **star),
        Line2D([], [], color=style.MUTED, linestyle="--", label="ends of the range"),
    ]
    style.key(figure, "", {"trials": style.TUNED}, told)
    return figure


def _panel(axes: Axes, one: SettingCurve) -> None:
    points(axes, one.trials, "x", "loss", color=style.TUNED, alpha=0.7)
    axes.plot(*one.selected, "*", color=style.UNTUNED, markersize=10, zorder=5)
    for end in (one.key.range.low, one.key.range.high):
        axes.axvline(end, color=style.MUTED, linewidth=0.8, linestyle="--", zorder=1)
    if one.key.scale == "log":
        style.log_axis(axes.xaxis, one.key.range.low, one.key.range.high, most=4)
    axes.set_xlabel(label(one.name))

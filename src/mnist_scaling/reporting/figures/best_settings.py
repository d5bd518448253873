"""Best setting of every cell against its size, with the fitted law; and loss against each setting, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.documents.tuning_records import OK, SettingsRecord
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.style import coloured_points, extremes, points, spread
from mnist_scaling.reporting.text import Missing, listing
from mnist_scaling.settings.setting_laws import KeyLaws, predict
from mnist_scaling.study.columns import TRIAL, label

SIZES = ("N", "D", "loss")
"""What best settings are drawn against."""

COLUMNS, ENDS = ["x", "level", "value", "side"], ("low", "high")
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
    """One row per cell whose best setting is known: x, level, value, side (-1 or 1: at an end of the range)."""
    lines: pd.DataFrame
    """The law: level, x, value, low, high; the interval is that of a single cell."""
    ends: tuple[float, float]
    """Ends of the range that was searched."""
    target: pd.DataFrame
    """The cell that is predicted, as a row of `points` with low and high, or none."""


@dataclass(frozen=True)
class BestSettings:
    """The panels of each key that has a law, one row per key."""

    rows: list[list[Panel]]
    note: str


def best_settings(study: Study) -> BestSettings | Missing:
    """Best settings and their laws, from `settings_laws` of fits.json."""
    record = study.fits.settings_laws
    if record is None or record.status != OK:
        why = study.fits.why or "Laws of the best settings are fitted by `fit`: run it."
        return Missing(record.status if record else why)
    rows = [panels for key, one in record.keys.items() if (panels := _panels(study, record, key, one))]
    without = [f"{label(key)} ({_within(one.status)})" for key, one in record.keys.items() if not one.laws]
    if not rows:
        return Missing(f"No tuned setting has a law against size: {listing(without)}.")
    note = [record.predicted.sentence] if record.predicted and record.predicted.settings else []
    note += [f"There is no law for {listing(without)}."] if without else []
    return BestSettings(rows, " ".join(note))


def _within(sentence: str) -> str:
    """A sentence as it stands in parentheses."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _panels(study: Study, record: SettingsRecord, key: str, one: KeyLaws) -> list[Panel]:
    """A key against each size that its law holds, and against loss; none where it has neither law."""
    # Of laws against sizes the first holds the most of them.
    laws = [law for law in one.laws if set(law.against) <= {"N", "D"}][:1]
    laws += [law for law in one.laws if law.against == ("loss",)]
    if not laws:
        return []
    cells = pd.DataFrame([{"row": c["row"], **c["best"][key]} for c in record.cells]).set_index("row")
    cells = cells.join(study.cells[[*SIZES]]).astype(float).dropna(subset=["value"])
    known = record.predicted
    guess = known.settings.get(key) if known else None
    target = pd.DataFrame([{**known.at, **guess.record(), "side": 0.0}] if known and guess else [])
    panels = []
    for law in laws:
        rows = cells.dropna(subset=list(law.against))
        aim = target if set(law.against) <= set(target) else target.iloc[:0]
        for variable in law.against:
            other = next((size for size in law.against if size != variable), None)
            reach = [*rows[variable], *(aim[variable] if len(aim) else [])]
            lines = []
            for level in _levels(rows[other]) if other else [np.nan]:
                for x in np.geomspace(min(reach), max(reach), _POINTS):
                    sizes = {variable: x, **({other: level} if other else {})}
                    lines.append({"level": level, "x": x, **predict(law, one, sizes, record.level or np.nan).record()})
            panels.append(
                Panel(
                    label(key), one.log, variable, other, _points(rows, variable, other),
                    pd.DataFrame(lines), (one.range["low"], one.range["high"]), _points(aim, variable, other, *ENDS),
                )
            )  # fmt: skip
    return panels


def _points(cells: pd.DataFrame, variable: str, other: str | None, *more: str) -> pd.DataFrame:
    columns = [*COLUMNS, *more]
    if cells.empty:
        return pd.DataFrame(columns=columns, dtype=float)
    level = cells[other] if other else pd.Series(np.nan, cells.index)
    return cells.assign(x=cells[variable], level=level)[columns]


def _levels(values: pd.Series) -> list[float]:
    """Smallest, middle and largest level."""
    distinct = sorted(set(values))
    return sorted({distinct[0], distinct[len(distinct) // 2], distinct[-1]})


PALETTES = {"N": style.SIZE_PALETTE, "D": style.DATA_PALETTE}
ARROWS = {-1.0: "v", 0.0: "o", 1.0: "^"}
"""Of a best value at the lower end of the range, inside it and at the upper end."""


def draw_best_settings(data: BestSettings) -> Figure:
    """One row per key: its best value against N, coloured by D, against D, coloured by N, and against loss."""
    columns = max(len(row) for row in data.rows)
    figure = style.new_figure(height=0.35 + 2.7 * len(data.rows))
    grid = figure.subplots(len(data.rows), columns, squeeze=False, sharey="row")
    named: dict[str, str] = {}
    for line, row in zip(grid, data.rows, strict=True):
        for axes, panel in zip(line, row, strict=False):
            named |= _panel(axes, panel, most=5 if columns < 3 else 4)
        _range(line[0], row)
        for axes in line[len(row) :]:
            axes.set_axis_off()
        line[0].set_ylabel(f"best {row[0].key}")
    every = [panel for row in data.rows for panel in row]
    extra = []
    if any((panel.points["side"] != 0).any() for panel in every):
        extra.append(Line2D([], [], color=style.INK, marker="v", linestyle="none", label="at an end of the range"))
    if any(len(panel.target) for panel in every):
        extra.append(Line2D([], [], color=style.UNTUNED, marker="D", linestyle="none", label="predicted"))
    style.key(figure, "", named, extra)
    return figure


def _panel(axes: Axes, panel: Panel, most: int) -> dict[str, str]:
    """One key against one size; the colours of its smallest and its largest level, in words."""
    colours = style.ordered_colours(panel.points["level"].dropna(), PALETTES.get(panel.other or "", style.SIZE_PALETTE))
    levels = list(panel.lines["level"].unique())
    for level in levels:
        curve = panel.lines if np.isnan(level) else panel.lines[panel.lines["level"] == level]
        colour = colours.get(level, style.TUNED)
        if level == levels[len(levels) // 2] or np.isnan(level):
            axes.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(curve["x"], curve["value"], color=colour)
    for side, marker in ARROWS.items():
        rows = panel.points[panel.points["side"] == side]
        look: dict[str, Any] = {"markersize": 6} if side else {}
        coloured_points(axes, rows, "x", "value", colours, fmt=marker, alpha=0.85, **look)
    points(axes, panel.target, "x", "value", ENDS, cells=False, fmt="D", color=style.UNTUNED)
    for end in panel.ends:
        axes.axhline(end, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    x = np.unique([*panel.points["x"], *panel.target["x"]])
    if panel.variable in style.SIZES:
        style.level_axis(axes.xaxis, x, most=most)
    else:
        style.log_axis(axes.xaxis, x[0], x[-1], most=most)
    axes.set_xlabel(style.SIZES.get(panel.variable, panel.variable))
    return extremes(colours, panel.other) if panel.other else {}


def _range(axes: Axes, row: list[Panel]) -> None:
    """Room for every best value and for the predicted one with its interval, on the axis that a row shares."""
    low, high = row[0].ends
    if not row[0].log:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        return
    parts = [(one.points["value"], one.lines["value"], *one.target[[*ENDS]].to_numpy()) for one in row]
    values = np.concatenate([values for part in parts for values in part])
    style.log_axis(axes.yaxis, values.min() / 1.6, values.max() * 1.6)


MOST_CELLS = 3

SHOWN = 3.0
"""Trials whose loss is more than so many times the best lie beyond the figure."""


@dataclass(frozen=True)
class SettingCurve:
    """One setting in one cell."""

    trials: pd.DataFrame
    """Columns x, loss; index: the cell."""
    selected: tuple[float, float]
    """Value, and loss of its repeats."""
    key: KeyLaws
    name: str
    cell: str


def settings_curves(study: Study) -> list[list[SettingCurve]] | Missing:
    """One row for each tuned number, one column for each cell."""
    record = study.fits.settings_laws
    if record is None or not record.keys:
        return Missing("No tuned number is known with its range: run `fit` again.")
    cells = study.cells.dropna(subset=["repeat_val_loss"]).sort_values("C")
    runs = study.runs(spread(cells, MOST_CELLS), TRIAL)
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
            _curve_panel(axes, one)
    for axes, column in zip(grid[0], zip(*data, strict=True), strict=True):
        one = column[0]
        axes.set_title(style.plain(one.cell), fontsize=8)
        best = min(one.trials["loss"].min(), one.selected[1])
        style.log_axis(axes.yaxis, best, max(min(one.trials["loss"].max(), SHOWN * best), one.selected[1]), most=5)
    for axes in grid[:, 0]:
        axes.set_ylabel("validation loss")
    star: dict[str, Any] = {"linestyle": "none", "marker": "*", "markersize": 10, "color": style.UNTUNED}
    told = [
        Line2D([], [], label="selected, at the loss of its repeats", **star),
        Line2D([], [], color=style.MUTED, linestyle="--", label="ends of the range"),
    ]
    style.key(figure, "", {"trials": style.TUNED}, told)
    return figure


def _curve_panel(axes: Axes, one: SettingCurve) -> None:
    points(axes, one.trials, "x", "loss", color=style.TUNED, alpha=0.7)
    axes.plot(*one.selected, "*", color=style.UNTUNED, markersize=10, zorder=5)
    for end in one.key.range.values():
        axes.axvline(end, color=style.MUTED, linewidth=0.8, linestyle="--", zorder=1)
    if one.key.log:
        style.log_axis(axes.xaxis, one.key.range["low"], one.key.range["high"], most=4)
    axes.set_xlabel(label(one.name))

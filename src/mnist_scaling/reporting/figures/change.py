"""What tuning changed, as fits.json has it: exponents of the same cells untuned and tuned, and their losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_scaling.fitting.laws.power import SYMBOLS
from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.documents.tuning_records import OK, TuningRecord
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.text import Missing
from mnist_scaling.settings.tuning_change import SOURCES, SliceChange
from mnist_scaling.study import layout
from mnist_scaling.study.columns import label


@dataclass(frozen=True)
class Change:
    """What tuning changed."""

    record: TuningRecord
    cells: pd.DataFrame
    """Rows of cells.csv that have both an untuned and a tuned loss: columns N, D, `SOURCES`, tuned_se."""
    other: Mapping[str, str | None]
    """Of N and of D, the axis whose levels its slices are listed by."""
    note: str

    @property
    def slices(self) -> dict[str, list[SliceChange]]:
        """By variable."""
        variables = dict.fromkeys(part.variable for part in self.record.slices)
        return {name: [part for part in self.record.slices if part.variable == name] for name in variables}

    def level(self, part: SliceChange) -> str:
        """The level that a slice is at, such as ``data fraction 1/4``; empty where there is one slice only."""
        other = self.other[part.variable]
        return f"{label(other)} {axis_value(part.at, other)}" if other and part.fixed else ""


def change(study: Study) -> Change | Missing:
    """Untuned against tuned, on the cells that have both."""
    record = study.fits.tuning_change
    if record is None:
        named = layout.name_argument(study.folder)
        return Missing(study.fits.why or f"Both grids are compared by `python -m mnist_scaling.fit {named}`: run it.")
    if record.status != OK:
        return Missing(record.status)
    table = pd.DataFrame(record.cells, columns=["row", "N", "D", *SOURCES, "tuned_se"]).set_index("row").astype(float)
    lost = len(record.left_out or ())
    note = f"{lost} of {len(table)} cells lack one of the two and are left out." if lost else ""
    if study.call("loss") == "test loss":
        off = 100 * float((table["tuned"] / study.cells["loss"]).mean() - 1)
        side = "below" if off < -0.5 else "above"
        note += (
            f" Validation loss is of other examples: here {abs(off):.0f} % {side} test loss in the mean of the cells."
        )
    other = {"N": study.roles.data, "D": study.roles.size}
    return Change(record, table.dropna(subset=["untuned", "tuned"]), other, note.strip())


def describe(setting: Mapping[str, Any]) -> str:
    """A setting in words: lr 0.003, batch size 32, dropout 0."""
    return ", ".join(f"{label(k)} {axis_value(v)}" for k, v in sorted(setting.items(), reverse=True))


NAMES = {"N": "model size", "D": "data"}
LOOKS: dict[str, dict[str, Any]] = {
    "untuned": {"color": style.UNTUNED, "marker": "o", "mfc": "white", "linestyle": (0, (4, 1.5))},
    "tuned": {"color": style.TUNED, "marker": "o", "linestyle": "-"},
}
"""Hollow and dashed against filled and solid: told apart in black and white as well."""


def draw_change(data: Change) -> Figure:
    """Top: loss of the smallest and the largest level, untuned and tuned. Bottom: every slope."""
    count = len(data.slices)
    figure = style.new_figure(style.TEXT_WIDTH if count > 1 else 4.5, 5.4)
    grid = figure.subplots(2, count, squeeze=False, height_ratios=[1.35, 1])
    for top, bottom, parts in zip(grid[0], grid[1], data.slices.values(), strict=True):
        _curves(top, data, parts)
        _slopes(bottom, data, parts)
    for letter, axes in zip("abcd", grid.flat, strict=False):
        axes.set_title(f"{letter}   {axes.get_title(loc='left')}", loc="left")
    if count > 1:
        low = min(a.get_ylim()[0] for a in grid[0])
        high = max(a.get_ylim()[1] for a in grid[0])
        for axes in grid[0]:
            style.log_axis(axes.yaxis, low, high, pad=0)
        grid[0, 1].get_legend().remove()  # loss falls less with size, so that it would cover points
    return figure


def _curves(axes: Axes, data: Change, parts: Sequence[SliceChange]) -> None:
    variable, ends = parts[0].variable, [*parts[:1], *parts[1:][-1:]]
    lines = [data.cells.loc[list(part.rows)] for part in ends]
    for part, rows in zip(ends, lines, strict=True):
        for source, look in LOOKS.items():
            error = rows["tuned_se"].fillna(0) if source == "tuned" else None
            drawn = axes.errorbar(rows[variable], rows[source], error, capsize=2, elinewidth=1, **look)
            style.identify(drawn, rows.index)
        beside: dict[str, Any] = {"xytext": (6, -2), "textcoords": "offset points", "fontsize": 8, "va": "center"}
        axes.annotate(data.level(part), rows[[variable, "tuned"]].iloc[-1], **beside)
    for source, look in LOOKS.items():
        axes.plot([], [], label=source, **look)
    every = pd.concat(lines)
    style.level_axis(axes.xaxis, every[variable], most=5)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.22 if any(map(data.level, ends)) else high)
    losses = every[[*LOOKS]].to_numpy()
    style.log_axis(axes.yaxis, losses.min(), losses.max())
    axes.set(xlabel=style.SIZES[variable], ylabel="validation loss")
    axes.legend(loc="lower left")
    axes.set_title(f"Loss against {NAMES[variable]}", loc="left")


def _slopes(axes: Axes, data: Change, parts: Sequence[SliceChange]) -> None:
    """Exponents at every level of the other axis, untuned beside tuned."""
    places, variable = np.arange(len(parts)), parts[0].variable
    other = data.other[variable]
    for shift, (source, look) in zip((-0.12, 0.12), LOOKS.items(), strict=True):
        exponents = [part.exponents[source] for part in parts]
        value, low, high = (np.array([getattr(i, end) for i in exponents]) for end in ("value", "low", "high"))
        arms = np.nan_to_num(np.array([value - low, high - value]))
        axes.errorbar(places + shift, value, arms, capsize=2.5, elinewidth=1, **(look | {"linestyle": "none"}))
        axes.plot(places + shift, value, color=look["color"], linestyle=look["linestyle"], linewidth=0.8, zorder=1)
    axes.set_xticks(places, [axis_value(part.at, other) if other else "" for part in parts])
    axes.set_xlim(-0.5, len(places) - 0.5)
    symbol = f"\\{SYMBOLS[variable][1]}"
    axes.set_ylabel(f"exponent ${symbol}$, $L\\propto {variable}^{{-{symbol}}}$")
    axes.set_title(f"Exponent of {NAMES[variable]}{f', by {label(other)}' if other else ''}", loc="left")
    axes.set_xlabel(label(other) if other else "")

"""Drawing of the best settings against size; nothing here computes."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.prepare.best_settings import BestSettings, Panel
from mnist_scaling.reporting.text import short

TITLES = {"N": "parameters N", "D": "training examples seen D"}
PALETTES = {"N": style.SIZE_PALETTE, "D": style.DATA_PALETTE}
ARROWS = {-1.0: "v", 1.0: "^"}


def draw_best_settings(data: BestSettings) -> Figure:
    """One row per key: its best value against N, coloured by D, and against D, coloured by N."""
    columns = max(len(row) for row in data.rows)
    figure = style.new_figure(height=0.35 + 2.9 * len(data.rows))
    grid = figure.subplots(len(data.rows), columns, squeeze=False, sharey="row")
    for line, row in zip(grid, data.rows, strict=True):
        for axes, panel in zip(line, row, strict=False):
            _panel(axes, panel)
        for axes in line[len(row) :]:
            axes.set_axis_off()
        line[0].set_ylabel(f"best {row[0].key}")
    every = [panel for row in data.rows for panel in row]
    extra = [Line2D([], [], color=style.INK, label="law, with the interval for a single cell")]
    if any((panel.points["side"] != 0).any() for panel in every):
        extra.append(Line2D([], [], color=style.INK, marker="v", linestyle="none", label="beyond the range"))
    if any(len(panel.target) for panel in every):
        extra.append(Line2D([], [], color=style.UNTUNED, marker="D", linestyle="none", label="predicted"))
    style.key(figure, "", {}, extra)
    return figure


def _panel(axes: Axes, panel: Panel) -> None:
    colours = style.ordered_colours(panel.points["level"].dropna(), PALETTES.get(panel.other or "", style.SIZE_PALETTE))
    levels = list(panel.lines["level"].unique())
    for level in levels:
        curve = panel.lines if np.isnan(level) else panel.lines[panel.lines["level"] == level]
        colour = colours.get(level, style.TUNED)
        if level == levels[len(levels) // 2] or np.isnan(level):
            axes.fill_between(curve["x"], curve["low"], curve["high"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(curve["x"], curve["value"], color=colour)
    for _, row in panel.points.iterrows():
        colour, x = colours.get(row["level"], style.TUNED), row["x"] * _aside(panel, row["level"])
        if row["side"]:
            axes.plot(x, row["value"], ARROWS[row["side"]], color=colour, markersize=6)
        else:
            arms = np.nan_to_num([[row["value"] - row["low"]], [row["high"] - row["value"]]])
            axes.errorbar(
                x, row["value"], arms, fmt="o", color=colour, elinewidth=0.6, alpha=0.85,
                markeredgecolor="white", markeredgewidth=0.5,
            )  # fmt: skip
    for _, row in panel.target.iterrows():
        arms = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
        axes.errorbar(row["x"], row["value"], arms, fmt="D", color=style.UNTUNED, capsize=2.5)
    values = np.concatenate([panel.points["value"], panel.lines["value"], *panel.target[["low", "high"]].to_numpy()])
    for end in panel.ends:
        axes.axhline(end, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    if panel.log:
        style.log_axis(axes.yaxis, values.min() / 1.6, values.max() * 1.6)
    else:
        low, high = panel.ends
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    style.level_axis(axes.xaxis, np.unique([*panel.points["x"], *panel.target["x"]]))
    axes.set_xlabel(TITLES[panel.variable])
    if panel.other:
        name = "data" if panel.other == "D" else "model"
        shown = [Line2D([], [], color=colours[level], label=f"{panel.other} = {short(level)}") for level in levels]
        axes.legend(handles=shown, loc="best", title=f"{name} size")


def _aside(panel: Panel, level: float) -> float:
    """Cells of one size stand beside each other, so that their intervals don't hide one another."""
    levels = sorted(set(panel.points["level"].dropna()))
    if level not in levels or len(levels) < 2:
        return 1.0
    step = 0.03 * np.log(panel.points["x"].max() / panel.points["x"].min()) / (len(levels) - 1)
    return float(np.exp(step * (levels.index(level) - (len(levels) - 1) / 2)))

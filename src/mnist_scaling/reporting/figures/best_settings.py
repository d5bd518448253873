"""Best setting of every cell against its size, with the fitted law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.documents.tuning_records import OK, SettingsRecord, known_settings_laws
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import listing, short
from mnist_scaling.settings.optimal_settings import KeyLaws
from mnist_scaling.settings.setting_laws import predict
from mnist_scaling.study.columns import label

SIZES = ("N", "D")
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
    note = [found.predicted.sentence] if found.predicted and found.predicted.settings else []
    note += [f"There is no law for {listing(without)}."] if without else []
    return BestSettings(rows, " ".join(note))


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
    axes.set_xlabel(style.SIZES[panel.variable])
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

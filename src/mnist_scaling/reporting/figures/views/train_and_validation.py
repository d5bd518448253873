"""Training against validation loss: is dropout right, and have runs come to the end of what they can learn?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.planning.checks import FAR
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.scatter import by_level, coloured_points, extremes, panels, spread
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.study import layout
from mnist_scaling.study.columns import label
from mnist_scaling.study.tables.csv_table import read_study_table

MOST_CURVES = 6
"""Cells whose curves are drawn, from the smallest to the largest compute."""


@dataclass(frozen=True)
class TrainingGap:
    """Final losses of every cell, and the learning curves of some."""

    cells: pd.DataFrame
    """Columns train, validation, ratio, level (D), label, dropout (NaN where it was not tuned)."""
    curves: dict[str, pd.DataFrame]
    """By cell in words: rows of curves.csv."""
    dropout: str
    """What the key is called; empty where none is."""
    note: str


def training_gap(study: Study) -> TrainingGap | Missing:
    """Losses of the repeats, and curves.csv where the study keeps one."""
    cells = study.cells
    kept = cells[(cells["train_loss"] > 0) & (cells["repeat_val_loss"] > 0)]
    if kept.empty:
        return Missing("No cell has both a training and a validation loss.")
    key = next((k for k in study.tuned if k.endswith("dropout") and kept[k].nunique() > 1), "")
    table = pd.DataFrame({"train": kept["train_loss"], "validation": kept["repeat_val_loss"], **by_level(kept, "D")})
    table["ratio"] = table["validation"] / table["train"]
    table["dropout"] = kept[key].astype(float) if key else np.nan
    far = int((table["ratio"] > FAR).sum())
    note = f"In {far} of {len(table)} cells the validation loss is more than {FAR:g} times the training loss."
    path, curves = study.folder / layout.CURVES, {}
    if path.is_file():
        every = read_study_table(path).sort_values("n_seen")
        rows = spread(cells[cells.index.isin(every["cell"])].sort_values("C"), MOST_CURVES)
        curves = {study.label(row): every[every["cell"] == row.name] for _, row in rows.iterrows()}
    else:
        note += " There are no learning curves: runs with `curve.points=30` keep them."
    return TrainingGap(table, curves, label(key) if key else "", note)


def draw_training_gap(data: TrainingGap) -> Figure:
    """Top: final losses on one another, and their ratio by dropout. Below: curves of single runs."""
    below = 2.1 * -(-len(data.curves) // 3)
    figure = style.new_figure(height=3.2 + below)
    parts: Any = figure.subfigures(2, 1, height_ratios=[3.2, below]) if below else [figure]
    left, *right = panels(parts[0], 2 if data.dropout else 1, 2)
    colours = style.ordered_colours(data.cells["level"].dropna(), style.DATA_PALETTE)
    train, ratio = data.cells["train"], data.cells["ratio"]
    coloured_points(left, data.cells, "train", "validation", colours)
    for factor, look in ((1, "-"), (FAR, ":")):
        ends = np.array([train.min(), train.max()])
        left.plot(ends, factor * ends, look, color=style.MUTED, linewidth=0.9)
        for axes in right if factor <= max(ratio.max(), 1) else []:
            axes.axhline(factor, color=style.MUTED, linewidth=0.9, linestyle=look)
    style.log_axis(left.xaxis, train.min(), train.max(), most=5)
    style.log_axis(left.yaxis, data.cells["validation"].min(), data.cells["validation"].max())
    left.set(xlabel="training loss", ylabel="validation loss")
    for axes in right:
        coloured_points(axes, data.cells, "dropout", "ratio", colours)
        if ratio.max() > 3:
            style.log_axis(axes.yaxis, min(ratio.min(), 1), ratio.max())
        axes.set(xlabel=f"selected {data.dropout}", ylabel="validation / training loss")
    lines = [Line2D([], [], color=style.MUTED, label="equal")]
    lines += [Line2D([], [], color=style.MUTED, linestyle=":", label=f"{FAR:g} times")]
    if below:
        lines += [
            Line2D([], [], color=style.TUNED, label="validation"),
            Line2D([], [], color=style.UNTUNED, linestyle="--", label="training"),
        ]
        for axes, (title, curve) in zip(panels(parts[1], len(data.curves), 3), data.curves.items(), strict=True):
            _curve(axes, title, curve)
    style.key(figure, "", extremes(colours, "D"), lines)
    return figure


def _curve(axes: Axes, title: str, rows: pd.DataFrame) -> None:
    for _, run in rows.groupby("seed"):
        # A run with branches decays from several places on its way: points, which no line joins.
        branch = (run["phase"] == "decay") & (run["n_seen"] <= run.loc[run["phase"] != "decay", "n_seen"].max())
        for column, colour, look in (("val_loss", style.TUNED, "-"), ("train_loss", style.UNTUNED, "--")):
            axes.plot("n_seen", column, look, data=run[~branch], color=colour, linewidth=1)
            axes.plot("n_seen", column, ".", data=run[branch], color=colour, markersize=5)
    losses = rows[["val_loss", "train_loss"]].to_numpy(float)
    style.log_axis(axes.xaxis, rows["n_seen"].min(), rows["n_seen"].max(), most=4)
    style.log_axis(axes.yaxis, np.nanmin(losses), np.nanmax(losses), most=5)
    axes.set_title(style.plain(title), fontsize=8, fontweight="normal")
    axes.set_xlabel("examples seen")

"""How tuning went: the winner's curse, what it cost, and whether runs learnt by heart or stopped too early."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from mnist_scaling.planning.checks import FAR
from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.style import View, by_level, coloured_points, extremes, panels, spread
from mnist_scaling.reporting.text import Missing, number, power_of_ten
from mnist_scaling.study import layout
from mnist_scaling.study.columns import COMPLETE, CONTROL, PRUNED, REPEAT, TRANSFER, label
from mnist_scaling.study.tables.csv_table import read_study_table


def curse(study: Study) -> View | Missing:
    """Validation loss of repeats over that of the selected trial: above 1 where selection was lucky.

    Points have columns selected, ratio, se (NaN without), level, label; `names` the median of ratio - 1, and the size.
    """
    cells = study.cells.dropna(subset=["val_loss", "repeat_val_loss"])
    if cells.empty:
        return Missing("No cell has both a selected trial and repeats with a validation loss.")
    size = study.roles.size
    ratio = cells["repeat_val_loss"] / cells["val_loss"]
    error = cells["repeat_val_loss_se"].astype(float) / cells["val_loss"]
    table = pd.DataFrame({"selected": cells["val_loss"], "ratio": ratio, "se": error, **by_level(cells, size)})
    median, above = float(ratio.median() - 1), int((ratio > 1).sum())
    note = f"Median {number(100 * median, 2)} %; the repeats are worse in {above} of {len(table)} cells." + (
        "" if error.notna().any() else " With one repeat per cell there is no standard error."
    )
    return View(table, note=note, names=(median, label(size) if size else None))


def draw_curse(data: View) -> Figure:
    """Repeats over selected trial: above the line the trial was lucky."""
    figure = style.new_figure(height=2.9)
    axes, (median, size) = figure.subplots(), data.names
    rows = data.points.assign(above=100 * (data.points["ratio"] - 1), se=100 * data.points["se"])
    colours = style.ordered_colours(rows["level"].dropna(), style.SIZE_PALETTE)
    axes.axhline(0, color=style.INK, linewidth=0.9)
    middle = axes.axhline(100 * median, color=style.MUTED, linewidth=1, linestyle=(0, (4, 2)), label="median")
    coloured_points(axes, rows, "selected", "above", colours, "se")
    style.log_axis(axes.xaxis, rows["selected"].min(), rows["selected"].max())
    axes.set(xlabel="validation loss of the selected trial", ylabel="repeats are worse by (%)")
    style.level_key(figure, rows, size, colours, [middle])
    return figure


KINDS = ("untuned control", "carried over", "tuner's trials", "pruned", "diverged or failed", "repeats")
"""In the order of the bars."""


def spending(study: Study) -> View | Missing:
    """Training FLOPs by kind of run, for each model size: index the size, columns `KINDS`."""
    trials = study.trials
    spent = trials["flops_spent"].fillna(trials["flops"])
    if not spent.sum() > 0:
        return Missing("trials.csv holds no run with its FLOPs.")
    selected = trials.index.isin(study.runs(study.cells, REPEAT).get("run", []))
    words = {
        "repeats": selected, "pruned": trials["state"] == PRUNED,
        "diverged or failed": trials["state"] != COMPLETE,
        "untuned control": (trials["origin"] == CONTROL) | (trials["stage"] == REPEAT),
        "carried over": trials["origin"] == TRANSFER,
    }  # fmt: skip
    kind = np.select([*words.values()], [*words], "tuner's trials")
    size = study.roles.size
    level = trials[size] if size else pd.Series("all cells", trials.index)
    table = spent.groupby([level, pd.Series(kind, trials.index)]).sum().unstack(fill_value=0)
    shares = table.sum() / spent.sum()
    told = ", ".join(f"{kind} {100 * shares[kind]:.0f} %" for kind in KINDS if kind in shares)
    names = (
        label(size) if size else "",
        [f"{axis_value(v, size or '')}: {power_of_ten(table.loc[v].sum())}" for v in table.index],
    )
    note = f"Together {power_of_ten(float(spent.sum()))} FLOPs: {told}."
    return View(table.reindex(columns=[k for k in KINDS if k in table]), note=note, names=names)


def draw_spending(data: View) -> Figure:
    """One bar for each model size, its FLOPs beside its name, shared out among the kinds."""
    figure = style.new_figure(height=0.9 + 0.27 * len(data.points))
    axes = figure.subplots()
    shares = data.points.div(data.points.sum(axis=1), axis=0)
    colours = dict(zip(KINDS, style.KINDS, strict=True))
    starts = shares.cumsum(axis=1) - shares
    for kind in shares:
        axes.barh(np.arange(len(shares)), shares[kind], 0.75, starts[kind], color=colours[kind], edgecolor="white")
    axes.set_yticks(range(len(shares)), data.names[1])
    axes.set(xlim=(0, 1), ylabel=data.names[0], xlabel="share of the FLOPs spent")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.grid(visible=False, axis="y")
    style.key(figure, "", {kind: colours[kind] for kind in shares})
    return figure


MOST_CURVES = 6
"""Cells whose curves are drawn, from the smallest to the largest compute."""


def training_gap(study: Study) -> View | Missing:
    """Losses of the repeats, and curves.csv where the study keeps one.

    Points have columns train, validation, ratio, level (D), label, dropout (NaN where it was not tuned); lines are rows
    of curves.csv with the name of their cell as title. `names` is what dropout is called, empty where none is.
    """
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
    path, curves = study.folder / layout.CURVES, pd.DataFrame({"title": []})
    if path.is_file():
        every = read_study_table(path).sort_values("n_seen")
        rows = spread(cells[cells.index.isin(every["cell"])].sort_values("C"), MOST_CURVES)
        curves = pd.concat(
            [every[every["cell"] == row.name].assign(title=study.label(row)) for _, row in rows.iterrows()]
        )
    else:
        note += " There are no learning curves: runs with `curve.points=30` keep them."
    return View(table, curves, note, label(key) if key else "")


def draw_training_gap(data: View) -> Figure:
    """Top: final losses on one another, and their ratio by dropout. Below: curves of single runs."""
    curves = data.lines.groupby("title", sort=False)
    below = 2.1 * -(-len(curves) // 3)
    figure = style.new_figure(height=3.2 + below)
    parts: Any = figure.subfigures(2, 1, height_ratios=[3.2, below]) if below else [figure]
    left, *right = panels(parts[0], 2 if data.names else 1, 2)
    colours = style.ordered_colours(data.points["level"].dropna(), style.DATA_PALETTE)
    train, ratio = data.points["train"], data.points["ratio"]
    coloured_points(left, data.points, "train", "validation", colours)
    for factor, look in ((1, "-"), (FAR, ":")):
        ends = np.array([train.min(), train.max()])
        left.plot(ends, factor * ends, look, color=style.MUTED, linewidth=0.9)
        for axes in right if factor <= max(ratio.max(), 1) else []:
            axes.axhline(factor, color=style.MUTED, linewidth=0.9, linestyle=look)
    style.log_axis(left.xaxis, train.min(), train.max(), most=5)
    style.log_axis(left.yaxis, data.points["validation"].min(), data.points["validation"].max())
    left.set(xlabel="training loss", ylabel="validation loss")
    for axes in right:
        coloured_points(axes, data.points, "dropout", "ratio", colours)
        if ratio.max() > 3:
            style.log_axis(axes.yaxis, min(ratio.min(), 1), ratio.max())
        axes.set(xlabel=f"selected {data.names}", ylabel="validation / training loss")
    lines = [Line2D([], [], color=style.MUTED, label="equal")]
    lines += [Line2D([], [], color=style.MUTED, linestyle=":", label=f"{FAR:g} times")]
    if below:
        lines += [
            Line2D([], [], color=style.TUNED, label="validation"),
            Line2D([], [], color=style.UNTUNED, linestyle="--", label="training"),
        ]
        for axes, (title, curve) in zip(panels(parts[1], len(curves), 3), curves, strict=True):
            _curve(axes, str(title), curve)
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

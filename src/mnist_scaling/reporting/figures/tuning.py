"""How tuning went: winner's curse, history, what it selected over the grid, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.change import losses
from mnist_scaling.reporting.figures.scatter import View, by_level, coloured_points, on_grid, panels, runs_of
from mnist_scaling.reporting.figures.style import draw_map
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import count, number, power_of_ten
from mnist_scaling.study.columns import COMPLETE, CONTROL, PRUNED, REPEAT, TRANSFER, TRIAL, label


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


def history(study: Study) -> View | Missing:
    """How fast each cell's best came down.

    Points have columns cell, trial (from 1), ratio (best so far / final best; NaN before the first loss), level, label;
    lines, the medians, trial and ratio.
    """
    trials = study.trials[study.trials["stage"] == TRIAL]
    if trials.empty or trials["val_loss"].notna().sum() == 0:
        return Missing("trials.csv holds no trial with a validation loss.")
    size, parts = study.roles.size, []
    groups = trials.groupby(list(study.axes), dropna=False) if study.axes else [((), trials)]
    for cell, (_, rows) in enumerate(groups):
        rows = rows.sort_values("number")
        best = rows["val_loss"].where(rows["state"] == COMPLETE).astype(float).cummin().ffill()
        columns = {"cell": cell, "trial": np.arange(1, len(rows) + 1), "ratio": best / best.iloc[-1]}
        parts.append(pd.DataFrame(columns, rows.index).assign(**by_level(rows, size)))
    lines = pd.concat(parts, ignore_index=True)
    most = int(lines["trial"].max())
    if most < 2:
        return Missing("Every cell has a single trial, so there is no history.")
    median = lines.groupby("trial", as_index=False)["ratio"].median()
    late = lines.groupby("cell")["ratio"].apply(lambda r: bool(len(r) > 1 and (r.iloc[-2] > 1 or not r.iloc[-2] > 0)))
    note = f"In {int(late.sum())} of {len(late)} cells the last trial of {count(most)} still found something better."
    return View(lines, median, note, label(size) if size else None)


@dataclass(frozen=True)
class Grid:
    """One number for each cell."""

    title: str
    values: pd.DataFrame
    """Rows are the size axis from largest to smallest, columns the data axis; NaN where no cell is."""
    edges: pd.DataFrame
    """Same shape: whether the selected value lies at the edge of its search range."""
    logarithmic: bool
    percent: bool = False


@dataclass(frozen=True)
class Grids:
    """Tuned hyperparameters, and what tuning gained, over the grid."""

    grids: list[Grid]
    rows: str | None
    columns: str | None
    note: str


def hyperparameters(study: Study) -> Grids | Missing:
    """The selected value of every numeric tuned key across the grid."""
    roles = study.roles
    if roles.others:
        return Missing("The grid has further axes: the selected values stand in the table of cells.")
    numeric = [k for k in study.tuned if pd.api.types.is_numeric_dtype(study.cells[k]) and study.cells[k].notna().any()]
    if not numeric:
        return Missing("No numeric setting was tuned.")
    grids = [_hyperparameter(study, key) for key in sorted(numeric, key=lambda k: k != "lr")]
    both = losses(study).reindex(study.cells.index)
    gain = 1 - both["tuned"] / both["untuned"]
    if gain.notna().any():
        values = _pivot(study, 100 * gain)
        grids.append(Grid("loss saved by tuning (%)", values, values.isna() & False, False, percent=True))
    at_edge = int((study.cells["edges"] != "").sum())
    edges = f"{at_edge} of {len(study.cells)} cells have a selected value at the edge of its range." if at_edge else ""
    return Grids(grids, roles.size, roles.data, " ".join(filter(None, [edges, _carried_over(study)])))


def _carried_over(study: Study) -> str:
    """How many selected settings were tuned in the cell itself: a carried-over one says nothing of its own cell."""
    keys = [*study.axes, *study.tuned]
    settings = study.cells[study.cells["val_loss"].notna()]
    tried = study.trials[(study.trials["stage"] == TRIAL) & (study.trials["origin"] == TRANSFER)]
    if settings.empty or tried.empty:
        return ""
    carried = settings[keys].merge(tried[keys].drop_duplicates(), on=keys)
    distinct = len(settings[list(study.tuned)].drop_duplicates())
    return (
        f"{len(carried)} of {len(settings)} selected settings were carried over from another cell, and {distinct} "
        "settings are distinct: equal values beside one another need not be a trend."
    )


def _hyperparameter(study: Study, key: str) -> Grid:
    values = study.cells[key].astype(float)
    edge = study.cells["edges"].map(lambda text: key in text.split(";"))
    positive = bool((values.dropna() > 0).all()) and values.max() > 3 * values.min()
    return Grid(label(key), _pivot(study, values), _pivot(study, edge.astype(float)).fillna(0) > 0, positive)


def _pivot(study: Study, values: pd.Series) -> pd.DataFrame:
    return on_grid(study, values, study.roles.size, study.roles.data)


def draw_hyperparameters(data: Grids) -> Figure:
    """A map of the grid for each tuned setting; a frame marks the edge of a search range."""
    count, rows = len(data.grids), len(data.grids[0].values)
    figure = style.new_figure(height=-(-count // 2) * (0.95 + 0.3 * rows))
    for i, axes in enumerate(panels(figure, count, 2)):
        _map(axes, data.grids[i], data, left=i % 2 == 0, bottom=i >= count - 2)
    return figure


def _map(axes: Axes, grid: Grid, data: Grids, left: bool, bottom: bool) -> None:
    values = grid.values.astype(float)
    known = values.to_numpy()[np.isfinite(values.to_numpy())]
    norm = LogNorm(known.min(), known.max()) if grid.logarithmic else Normalize(known.min(), known.max())
    palette = "light:#3a8f5c" if grid.percent else "light:#1f6f9f"
    labels = (partial(axis_value, axis=data.rows or ""), partial(axis_value, axis=data.columns or ""))
    draw_map(axes, values, palette, norm, _cell, labels)
    for y, x in zip(*np.nonzero(grid.edges.to_numpy(bool)), strict=True):
        axes.plot([x + 0.08, x + 0.92], [y + 0.9, y + 0.9], color=style.UNTUNED, linewidth=1.6, solid_capstyle="butt")
    axes.set_title(grid.title)
    axes.set_xlabel(label(data.columns) if bottom and data.columns else "")
    axes.set_ylabel(label(data.rows) if left and data.rows else "")


def _cell(value: float) -> str:
    return "" if not np.isfinite(value) else (f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}").replace("-", "−")


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


def draw_history(data: View) -> Figure:
    """A thin line for each cell, a thick one for their median."""
    figure = style.new_figure(height=2.9)
    axes = figure.subplots()
    colours = style.ordered_colours(data.points["level"].dropna(), style.SIZE_PALETTE)
    for _, rows in data.points.groupby("cell"):
        colour = colours.get(rows["level"].iloc[0], style.TUNED)
        axes.step(rows["trial"], 100 * (rows["ratio"] - 1), where="post", linewidth=0.8, alpha=0.75, color=colour)
    thick: dict[str, Any] = {"color": style.INK, "linewidth": 2, "label": "median"}
    middle = axes.step(data.lines["trial"], 100 * (data.lines["ratio"] - 1), where="post", **thick)
    # Linear up to 1 %, logarithmic beyond: a first trial at ten times the best must not flatten what follows.
    axes.set_yscale("symlog", linthresh=1, linscale=0.7)
    highest = 100 * float(np.nanmax(data.points["ratio"]) - 1)
    ticks = [t for t in (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 1e4) if t <= max(1.5 * highest, 1)]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.15, max(1.2 * highest, 1))
    axes.set(xlabel="trials of the cell", ylabel="best so far above final best (%)")
    trials = data.lines["trial"].to_numpy()
    axes.set_xticks(trials if len(trials) <= 12 else trials[:: int(np.ceil(len(trials) / 8))])
    style.level_key(figure, data.points, data.names, colours, middle)
    return figure


KINDS = ("untuned control", "carried over", "tuner's trials", "pruned", "diverged or failed", "repeats")
"""In the order of the bars."""


def spending(study: Study) -> View | Missing:
    """Training FLOPs by kind of run, for each model size: index the size, columns `KINDS`."""
    trials = study.trials
    spent = trials["flops_spent"].fillna(trials["flops"])
    if not spent.sum() > 0:
        return Missing("trials.csv holds no run with its FLOPs.")
    selected = trials.index.isin(runs_of(study, study.cells, REPEAT).get("run", []))
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

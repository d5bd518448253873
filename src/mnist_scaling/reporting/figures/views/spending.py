"""Where the FLOPs went: untuned controls, settings carried over, other trials, pruned and failed ones, repeats."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.scatter import View, runs_of
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import power_of_ten
from mnist_scaling.study.columns import label
from mnist_scaling.study.vocabulary import COMPLETE, CONTROL, PRUNED, REPEAT, TRANSFER

KINDS = ("untuned control", "carried over", "tuner's trials", "pruned", "diverged or failed", "repeats")
"""In the order of the bars."""


def spending(study: Study) -> View | Missing:
    """Training FLOPs by kind of run, for each model size: index the size, columns `KINDS`."""
    trials = study.trials
    spent = trials["flops_spent"].fillna(trials["flops"])
    if not spent.sum() > 0:
        return Missing("trials.csv holds no run with its FLOPs.")
    selected = trials.index.isin(runs_of(study, study.cells, REPEAT).get("run", []))
    kind = np.select(
        [selected, trials["state"] == PRUNED, trials["state"] != COMPLETE,
         (trials["origin"] == CONTROL) | (trials["stage"] == REPEAT), trials["origin"] == TRANSFER],
        ["repeats", "pruned", "diverged or failed", "untuned control", "carried over"], "tuner's trials",
    )  # fmt: skip
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

"""Predicted against measured: the cells that the law was fitted to, and those of largest compute that it never saw."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.fitting.estimation.estimate import Settings, fit_law
from mnist_scaling.fitting.laws import ALL
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.compute import flop_axis
from mnist_scaling.reporting.figures.scatter import View, points, runs_of
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import number, plural, spaced
from mnist_scaling.study.vocabulary import REPEAT


def hold_out(study: Study) -> View | Missing:
    """The selected law, fitted again without the rows of its hold-out, and what it says of all.

    Points have columns C, loss, predicted, off (%), held; lines are the runs behind the held-out ones: predicted, loss.
    """
    name = study.fits.selected or ""
    record = study.fits.laws.get(name)
    if record is None or name not in ALL or not record.holdout.rows or not record.residuals:
        return Missing("No law was selected, or no row could be spared for a hold-out.")
    rows = study.cells.loc[[one.row for one in record.residuals]]
    held = rows.index.isin(record.holdout.rows)
    logs = np.log(rows[[*record.inputs]].astype(float))
    fit = fit_law(
        ALL[name], {k: logs.loc[~held, k].to_numpy() for k in logs}, np.log(rows["loss"].to_numpy(float)[~held]),
        Settings(delta=float((record.fit or {}).get("delta", "nan"))),
    )  # fmt: skip
    predicted = ALL[name].predict(fit.values, **{k: rows[k].to_numpy(float) for k in record.inputs})
    table = rows[["C", "loss", "se"]].assign(predicted=predicted, held=held)
    table["off"] = 100 * (table["loss"] / predicted - 1)
    note = (
        f"The law {spaced(name)}, fitted to the {plural(int((~held).sum()), 'cell')} of least compute, misses the "
        f"{int(held.sum())} held-out ones, of up to {number(record.holdout.reach, 2)} times the compute, by "
        f"{np.sqrt((np.log(table['loss'] / predicted)[held] ** 2).mean()):.1%} (root mean square)."
    )
    runs, loss = runs_of(study, study.cells.loc[rows.index[held]], REPEAT), study.names["loss"]
    seeds = runs[[loss]].set_axis(["loss"], axis=1).join(table["predicted"]) if loss in runs else table.iloc[:0]
    return View(table, seeds, note.replace("%", " %"), f"{study.call('loss')}{study.unit}")


LOOKS = {
    False: {"color": style.TUNED, "label": "fitted"},
    True: {"color": style.UNTUNED, "label": "held out", "mfc": "white"},
}
"""Filled points are fitted, hollow ones are not: told apart in black and white as well."""


def draw_hold_out(data: View) -> Figure:
    """Left: measured over predicted loss, on the diagonal where the law is right. Right: by how much it is off."""
    figure = style.new_figure(height=3.3)
    left, right = figure.subplots(1, 2)
    ends = data.points[["loss", "predicted"]].to_numpy()
    left.plot([ends.min(), ends.max()], [ends.min(), ends.max()], color=style.MUTED, linewidth=0.9)
    right.axhline(0, color=style.MUTED, linewidth=0.9)
    left.plot(data.lines["predicted"], data.lines["loss"], "_", color=style.UNTUNED, markersize=7)
    for held, look in LOOKS.items():
        rim = {"markeredgecolor": look["color"], "markeredgewidth": 1}
        rows = data.points[data.points["held"] == held]
        points(left, rows, "predicted", "loss", "se", **look, **rim)
        points(right, rows.dropna(subset=["C"]), "C", "off", **look, **rim)
    for axis in (left.xaxis, left.yaxis):
        style.log_axis(axis, ends.min(), ends.max(), most=5)
    left.set(xlabel=f"predicted {style.plain(data.names)}", ylabel="measured")
    _compute_axis(right, data.points)
    seeds = Line2D([], [], marker="_", linestyle="none", color=style.UNTUNED, label="its single runs")
    style.key(figure, "", {}, [*left.get_legend_handles_labels()[0], *([seeds] if len(data.lines) else [])])
    return figure


def _compute_axis(axes: Axes, rows: pd.DataFrame) -> None:
    if rows["C"].notna().any():
        flop_axis(axes, rows["C"].min(), rows["C"].max())
    else:
        axes.set_visible(False)
    axes.set_ylabel("measured is above predicted by (%)")

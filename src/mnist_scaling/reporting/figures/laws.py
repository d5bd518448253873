"""What a law is worth: what it says of cells that were held out, and of compute beyond them, beside what came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.fitting.estimation.estimate import Settings, fit_law
from mnist_scaling.fitting.laws import ALL
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.planning.predictions import read_predictions
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.compute import Compute, compute, flop_axis
from mnist_scaling.reporting.figures.style import View, points
from mnist_scaling.reporting.text import Missing, estimate, number, percent, plural, spaced, three_digits
from mnist_scaling.study.columns import REPEAT


def hold_out(study: Study) -> View | Missing:
    """The selected law, fitted again without the rows of its hold-out, and what it says of all.

    Points have columns C, loss, predicted, off (%), held; lines are the runs behind the held-out ones: predicted, loss.
    """
    name = study.fits.selected or ""
    record = study.fits.laws.get(name)
    if record is None or name not in ALL or not record.holdout.rows or not record.residuals:
        return Missing("No law was selected, or no row could be spared for a hold-out.")
    rows = study.cells.loc[[one["row"] for one in record.residuals]]
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
        f"{100 * record.holdout.rmse_log:.1f} % (root mean square)."
    )
    runs, loss = study.runs(study.cells.loc[rows.index[held]], REPEAT), study.names["loss"]
    seeds = runs[[loss]].set_axis(["loss"], axis=1).join(table["predicted"]) if loss in runs else table.iloc[:0]
    return View(table, seeds, note, f"{study.call('loss')}{study.unit}")


LOOKS: dict[bool, dict[str, Any]] = {
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
        rim: dict[str, Any] = {"mec": look["color"], "mew": 1}
        rows = data.points[data.points["held"] == held]
        points(left, rows, "predicted", "loss", "se", **look, **rim)
        points(right, rows.dropna(subset=["C"]), "C", "off", **look, **rim)
    for axis in (left.xaxis, left.yaxis):
        style.log_axis(axis, ends.min(), ends.max(), most=5)
    left.set(xlabel=f"predicted {style.plain(data.names)}", ylabel="measured")
    if data.points["C"].notna().any():
        flop_axis(right, data.points["C"].min(), data.points["C"].max())
        right.set_ylabel("measured is above predicted by (%)")
    else:
        right.set_visible(False)
    seeds = Line2D([], [], marker="_", linestyle="none", color=style.UNTUNED, label="its single runs")
    style.key(figure, "", {}, [*left.get_legend_handles_labels()[0], *([seeds] if len(data.lines) else [])])
    return figure


REGISTERED = {"flops": "C", "predicted_loss": "loss", "low": "low", "high": "high", "measured_loss": "measured",
              "reach": "reach"}  # fmt: skip
"""Columns of predictions.csv, and what they are called here."""

MOST_NAMED = 3
"""Predictions that the caption puts into words; `plan` has them all."""


@dataclass(frozen=True)
class Forecast:
    """What was measured, and what lies beyond it."""

    base: Compute
    ahead: pd.DataFrame
    """Columns C, value, low, high, from 2 to 30 times the largest compute."""
    floor: Interval
    registered: pd.DataFrame
    """Columns C, loss, low, high, reach; measured, NaN where nothing has come."""
    note: str


def forecast(study: Study) -> Forecast | Missing:
    """The headline's losses ahead and the rows of predictions.csv that are of the fitted loss."""
    base, head = compute(study), study.fits.headline
    if isinstance(base, Missing):
        return base
    rows = [row for row in read_predictions(study.folder) if row["loss_column"] == study.names["loss"]]
    registered = pd.DataFrame(rows, columns=list(REGISTERED)).rename(columns=REGISTERED)
    registered = registered.apply(pd.to_numeric, errors="coerce").dropna(subset=["C", "loss"])
    ahead = pd.DataFrame([vars(one) for one in head.loss], columns=["C", "value", "low", "high"]).astype(float)
    if ahead.empty and registered.empty:
        return Missing(head.no_loss or "No loss is predicted beyond the largest compute.")
    return Forecast(base, ahead, head.floor, registered, _note(registered))


def _note(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "Nothing was registered: `plan` with target.KEY=VALUE registers a prediction before its run."
    came = rows.dropna(subset=["measured"])
    said = [
        f"predicted {estimate(Interval(row.loss, row.low, row.high), three_digits)} at {number(row.reach, 2)} times "
        f"the compute, measured {three_digits(row.measured)}: {percent(np.log(row.measured / row.loss))}"
        for row in came.itertuples()
    ]
    more = [f"and {len(said) - MOST_NAMED} more"] if len(said) > MOST_NAMED else []
    head = f"Of {plural(len(rows), 'registered prediction')} {len(came)} came"
    return f"{head}: {'; '.join([*said[:MOST_NAMED], *more])}." if said else f"{head}."


def draw_forecast(data: Forecast) -> Figure:
    """Measured cells and their frontier to the left, the forecast with its interval to the right, the floor below."""
    figure = style.new_figure(height=3.5)
    axes = figure.subplots()
    cells, ahead, rows = data.base.cells, data.ahead, data.registered
    points(axes, cells, "C", "loss", "se", color=style.MUTED, alpha=0.6, markersize=3.5)
    handles = axes.plot("C", "loss", data=data.base.frontier, color=style.INK, linewidth=1, label="best measured")
    if len(ahead):
        axes.fill_between("C", "low", "high", data=ahead, color=style.TUNED, alpha=0.2, linewidth=0)
        handles += axes.plot("C", "value", data=ahead, color=style.TUNED, label="forecast with its interval")
    if len(rows):
        points(axes, rows, "C", "loss", ("low", "high"), cells=False, fmt="D", color=style.UNTUNED, capsize=3)
        handles.append(Line2D([], [], marker="D", linestyle="none", color=style.UNTUNED, label="registered beforehand"))
        star: dict[str, Any] = {"color": style.INK, "markersize": 9, "mec": "white", "mew": 0.5, "zorder": 5}
        if rows["measured"].notna().any():
            handles += axes.plot(rows["C"], rows["measured"], "*", label="what came", **star)
    parts = [(cells, "loss"), (ahead, "low"), (ahead, "high"), (rows, "low"), (rows, "measured")]
    every = np.concatenate([table[["C", column]].dropna().to_numpy(float) for table, column in parts])
    low = every[:, 1].min()
    if data.floor.value > 0:
        low = min(low, max(data.floor.value, low / 3))  # a floor near 0 must not flatten the rest
        axes.axhspan(max(data.floor.low, low / 2), data.floor.high, color=style.GRID, alpha=0.6, linewidth=0, zorder=0)
        line: dict[str, Any] = {"color": style.MUTED, "linestyle": ":", "label": "floor with its interval"}
        handles.append(axes.axhline(data.floor.value, **line))
    flop_axis(axes, every[:, 0].min(), every[:, 0].max())
    style.log_axis(axes.yaxis, low, every[:, 1].max())
    axes.set_ylabel(style.plain(data.base.names[0]))
    style.key(figure, "", {}, handles)
    return figure

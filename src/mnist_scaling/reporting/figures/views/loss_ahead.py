"""The loss ahead, against compute: the model's forecast, its floor, and what was registered beforehand and came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.planning.predictions import read_predictions
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.compute import Compute, compute, flop_axis
from mnist_scaling.reporting.figures.scatter import points
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import estimate, number, percent, plural, three_digits

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
        return "Nothing was registered: `plan` with target.…=… registers a prediction before its run."
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
    handles = axes.plot(
        data.base.frontier["C"], data.base.frontier["loss"], color=style.INK, linewidth=1, label="best measured"
    )
    if len(ahead):
        axes.fill_between(ahead["C"], ahead["low"], ahead["high"], color=style.TUNED, alpha=0.2, linewidth=0)
        handles += axes.plot(ahead["C"], ahead["value"], color=style.TUNED, label="forecast with its interval")
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
        handles.append(
            axes.axhline(data.floor.value, color=style.MUTED, linestyle=":", label="floor with its interval")
        )
    flop_axis(axes, every[:, 0].min(), every[:, 0].max())
    style.log_axis(axes.yaxis, low, every[:, 1].max())
    axes.set_ylabel(style.plain(data.base.names[0]))
    style.key(figure, "", {}, handles)
    return figure

"""Exponents by every law and method, the joint laws' residuals over the grid, and the selected law's hold-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mnist_scaling.fitting.estimation.estimate import Settings, fit_law
from mnist_scaling.fitting.laws import ALL
from mnist_scaling.reporting.documents.fits_json import LawRecord
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.compute import flop_axis
from mnist_scaling.reporting.figures.scatter import View, forest, on_grid, panels, points, runs_of
from mnist_scaling.reporting.figures.style import draw_map
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import number, plural, short, spaced
from mnist_scaling.study.columns import REPEAT

MOST_LAWS = 6

MOST_LEVELS = 20
"""Rows or columns of a map of residuals that can still be read."""


def fitted(study: Study) -> dict[str, LawRecord]:
    """Laws with numbers, by name; those that were refused are left out."""
    return {k: law for k, law in study.fits.laws.items() if law.fitted}


def exponents(study: Study) -> dict[str, pd.DataFrame] | Missing:
    """-d log L / d log N and D by law at the largest cell, and d log L / d log C by frontier method.

    By title: columns label, value, low, high, kind (one-variable law, joint law, frontier).
    """
    groups = {}
    for variable in ("N", "D"):
        rows = [
            {"label": spaced(name), **vars(slope), "kind": "joint law" if law.is_joint else "one-variable law"}
            for name, law in fitted(study).items()
            if (slope := law.slopes.get(variable)) and slope.known
        ]
        if rows:
            title = f"$-\\partial\\ln L/\\partial\\ln {variable}$ at the largest cell"
            groups[title] = pd.DataFrame(rows).sort_values("kind", ascending=False, kind="stable")
    methods = [
        {"label": name, **vars(-found.loss_exponent), "kind": "frontier"}
        for name, found in study.fits.frontier.items()
        if found.loss_exponent.known
    ]
    if methods:
        groups["$-\\mathrm{d}\\ln L/\\mathrm{d}\\ln C$ on the frontier"] = pd.DataFrame(methods)
    return groups or Missing("No law and no frontier method gave an exponent.")


@dataclass(frozen=True)
class Residuals:
    """ln(measured / fitted) of joint laws over the grid."""

    laws: dict[str, pd.DataFrame]
    """By name: rows are N from largest to smallest, columns D from smallest to largest, NaN where no cell is."""
    rmse: dict[str, float]
    noise: float
    """Typical standard error of a cell's log loss, from the repeats; NaN where there is none."""
    note: str


def residuals(study: Study) -> Residuals | Missing:
    """Where each joint law misses, best by AICc first."""
    joint = {k: law for k, law in fitted(study).items() if law.is_joint and law.residuals}
    if not joint:
        return Missing(
            "No joint law in N and D was fitted: it needs a grid in which both vary, with more cells than parameters."
        )
    sizes = study.cells[["N", "D"]]
    if sizes.nunique().max() > MOST_LEVELS or sizes.duplicated().any():
        return Missing(
            f"The cells form no grid of at most {MOST_LEVELS} levels with one cell at each N and D: see the residuals "
            "in fits.json."
        )
    # A floor that ended at zero leaves the law without one: the same map twice.
    twice = [k for k, law in joint.items() if k.endswith("_floor") and _without_floor(law) and k[:-6] in joint]
    joint = {k: law for k, law in joint.items() if k not in twice}
    ordered = sorted(joint, key=lambda k: float(np.nan_to_num(joint[k].aicc, nan=np.inf)))
    laws = {name: _grid(study, joint[name]) for name in ordered[:MOST_LAWS]}
    relative = study.cells["se"] / study.cells["loss"]
    rmse = {name: joint[name].rmse_log for name in laws}
    noise = float((relative**2).mean() ** 0.5)
    note = f"Repeats say that seeds move a cell's mean by about {100 * noise:.1f} %." if noise == noise else ""
    return Residuals(laws, rmse, noise, note)


def _without_floor(law: LawRecord) -> bool:
    return "E" in law.params and law.params["E"].value == 0


def _grid(study: Study, law: LawRecord) -> pd.DataFrame:
    return on_grid(study, pd.Series({one.row: one.residual for one in law.residuals or ()}), "N", "D")


COLOURS = {"one-variable law": style.KINDS[0], "joint law": style.KINDS[1], "frontier": style.KINDS[2]}


def draw_exponents(groups: dict[str, pd.DataFrame]) -> Figure:
    """A row for each law: point and 95 % interval; agreement is overlap."""
    rows = max(len(table) for table in groups.values())
    figure = style.new_figure(height=1.0 + 0.24 * rows)
    for axes, (title, table) in zip(panels(figure, len(groups), len(groups)), groups.items(), strict=True):
        colours, limits = table["kind"].map(COLOURS), _limits(table)
        forest(axes, table, list(colours))
        # Say where an arm goes on beyond the axes.
        for end, marker, beyond in ((0, "<", table["low"] < limits[0]), (1, ">", table["high"] > limits[1])):
            for y in np.flatnonzero(beyond):
                axes.plot(limits[end], y, marker, color=colours.iloc[y], markersize=5, clip_on=False)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_title(title, fontsize=8.5, fontweight="normal", loc="right" if len(groups) > 1 else "left")
        axes.set_xlim(*limits)
        axes.xaxis.set_major_locator(MaxNLocator(4 if len(groups) < 3 else 3, steps=[1, 2, 2.5, 5, 10], prune="both"))
    return figure


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """The points and their arms, but no arm that would squeeze all others."""
    low, high = table["value"].min(), table["value"].max()
    reach = max(3 * (high - low), 0.8 * abs(high), 0.02)
    ends = table[["value", "low", "high"]].to_numpy(float)
    left, right = max(np.nanmin(ends), low - reach), min(np.nanmax(ends), high + reach)
    margin = 0.07 * max(right - left, 0.02)
    return left - margin, right + margin


def draw_residuals(data: Residuals) -> Figure:
    """A map of the grid for each law; red where the cell is worse than the law says."""
    count = len(data.laws)
    columns = 2 if count in (2, 4) else min(count, 3)
    rows = max(len(table) for table in data.laws.values())
    figure = style.new_figure(height=-(-count // columns) * (0.95 + 0.27 * rows))
    most = 100 * max(float(np.nanmax(np.abs(table.to_numpy()))) for table in data.laws.values())
    for i, (axes, (name, table)) in enumerate(zip(panels(figure, count, columns), data.laws.items(), strict=True)):
        draw_map(axes, 100 * table, "vlag", Normalize(-most, most), _percent, (short, short))
        axes.set_title(f"{spaced(name)}, {100 * data.rmse[name]:.1f} %", fontsize=8)
        axes.set(
            xlabel="examples seen D" if i >= count - columns else "", ylabel="parameters N" if i % columns == 0 else ""
        )
    return figure


def _percent(value: float) -> str:
    return f"{round(value):+d}".replace("-", "−") if round(value) else "0"


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
        f"{100 * record.holdout.rmse_log:.1f} % (root mean square)."
    )
    runs, loss = runs_of(study, study.cells.loc[rows.index[held]], REPEAT), study.names["loss"]
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

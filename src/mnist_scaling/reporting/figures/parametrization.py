"""Coordinate check, and loss against learning rate at every width."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.prepare.parametrization import Coordinates, Sensitivity

NAMES = {"standard": "standard", "mup": "µP"}
"""As people write them."""


def draw_coordinates(data: Coordinates) -> Figure:
    """One row per parametrization, one column per layer: scale over width, one line per step."""
    points = data.points
    rows, layers = list(dict.fromkeys(points["parametrization"])), list(dict.fromkeys(points["layer"]))
    figure = style.new_figure(height=0.3 + 2.1 * len(rows))
    grid = figure.subplots(len(rows), len(layers), squeeze=False, sharex=True, sharey="col")
    steps = sorted(points["step"].unique())
    colours = style.ordered_colours([s for s in steps if s > 0], style.DATA_PALETTE)
    for place, name in enumerate(rows):
        for column, layer in enumerate(layers):
            axes = grid[place, column]
            part = points[(points["parametrization"] == name) & (points["layer"] == layer)]
            for step, line in part.groupby("step"):
                look = {"color": colours[step]} if step > 0 else {"color": style.MUTED, "linestyle": (0, (3, 2))}
                axes.plot(line["width"], line["value"], marker="o", markersize=3, **look)
            last = data.slopes[(data.slopes["parametrization"] == name) & (data.slopes["layer"] == layer)].iloc[-1]
            slope = f"{last['slope']:+.2f}".replace("-", "−")
            axes.set_title(f"{layer}: slope {slope}")
            _both_axes(axes, points[points["layer"] == layer], "width", "value")
        grid[place, 0].set_ylabel(f"{NAMES.get(name, name)}: mean |change|")
    for axes in grid[-1]:
        axes.set_xlabel("width")
    start = Line2D([], [], color=style.MUTED, linestyle=(0, (3, 2)), label="at initialisation: mean |x|")
    style.key(figure, "after step", {str(s): c for s, c in colours.items()}, [start])
    return figure


def draw_sensitivity(data: Sensitivity) -> Figure:
    """Loss over rate for each parametrization, one line per width; then the best rate over width."""
    names = list(dict.fromkeys(data.points["parametrization"]))
    colours = style.ordered_colours(data.points["width"], style.SIZE_PALETTE)
    figure = style.new_figure(height=2.9)
    *panels, last = figure.subplots(1, len(names) + 1, width_ratios=[1.0] * len(names) + [1.1])
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(NAMES.get(name, name))
        part = data.points[data.points["parametrization"] == name]
        for width, line in part.groupby("width"):
            axes.errorbar(
                line["lr"], line["loss"], line["se"].fillna(0), color=colours[width], marker="o", markersize=3
            )
        best = data.optima[data.optima["parametrization"] == name]
        for row in best.itertuples():
            axes.plot(
                row.lr, row.loss, marker="*", markersize=9, color=colours[row.width],
                markeredgecolor=style.INK, markeredgewidth=0.5, fillstyle="none" if row.edge else "full",
            )  # fmt: skip
        _both_axes(axes, data.points, "lr", "loss")
        axes.set_xlabel("base learning rate")
    panels[0].set_ylabel("test loss (nats per example)")
    _best_rates(last, data, names)
    style.key(figure, "width", {f"{w:g}": c for w, c in colours.items()})
    return figure


def _best_rates(axes: Axes, data: Sensitivity, names: list[str]) -> None:
    for name, colour, marker in zip(names, style.KINDS, "os^v", strict=False):
        best = data.optima[data.optima["parametrization"] == name]
        error = np.abs(best[["low", "high"]].to_numpy().T - best["lr"].to_numpy())
        found = data.exponents[name]
        label = f"{NAMES.get(name, name)}\nexponent {found.value:.2f}\n[{found.low:.2f}, {found.high:.2f}]"
        axes.errorbar(
            best["width"], best["lr"], error, color=colour, marker=marker, capsize=2, label=label.replace("-", "−")
        )
    axes.set(title="best rate", xlabel="width")
    style.level_axis(axes.xaxis, data.optima["width"])
    low, high = data.optima["low"].min(), data.optima["high"].max()
    style.log_axis(axes.yaxis, low * (low / high) ** 0.6, high)  # room for the legend
    axes.legend(loc="lower left", ncols=2, handlelength=1.2, columnspacing=0.8, handletextpad=0.4, fontsize=6.5)


def _both_axes(axes: Axes, rows: object, x: str, y: str) -> None:
    columns = rows[[x, y]]  # type: ignore[index]
    positive = columns[y][columns[y] > 0]
    if x == "width":
        style.level_axis(axes.xaxis, columns[x], most=4)
    else:
        style.log_axis(axes.xaxis, columns[x].min(), columns[x].max(), most=4)
    style.log_axis(axes.yaxis, positive.min(), positive.max())

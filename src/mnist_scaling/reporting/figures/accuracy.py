"""Drawing of test error; nothing here computes."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.prepare.accuracy import Accuracy

PANELS = {
    "N": ("parameters", "D", style.DATA_PALETTE),
    "D": ("training examples seen", "N", style.SIZE_PALETTE),
    "C": ("training FLOPs", "N", style.SIZE_PALETTE),
}
"""What x is, which variable the colour is, and its palette."""


def draw_accuracy(data: Accuracy) -> Figure:
    """Four panels: error over N, D, C, and over loss with the fitted curve."""
    cells = data.cells
    figure = style.new_figure(height=4.8)
    panels = figure.subplots(2, 2, sharey=True).ravel()
    for axes, (variable, (title, other, palette)) in zip(panels, PANELS.items(), strict=False):
        known = cells[cells[variable].notna()]
        colours = style.ordered_colours(known[other].dropna(), palette)
        for level, rows in known.groupby(other):
            line = rows.sort_values(variable)
            axes.errorbar(
                line[variable], line["error"], yerr=line["error_se"], color=colours[level], marker="o",
                linewidth=0 if variable == "C" else 1, elinewidth=0.8,
            )  # fmt: skip
        if len(known) and variable == "C":
            style.log_axis(axes.xaxis, known[variable].min(), known[variable].max())
        elif len(known):
            style.level_axis(axes.xaxis, known[variable].to_numpy())
        axes.set_xlabel(title)
    _over_loss(panels[3], data)
    style.log_axis(panels[0].yaxis, cells["error"].min(), cells["error"].max())
    for axes in panels[::2]:
        axes.set_ylabel("test error")
    key = [
        Line2D([], [], color=style.INK, label="fitted curve"),
        Line2D(
            [], [], color=style.UNTUNED, marker="o", markerfacecolor="none", linestyle="none", label="off the curve"
        ),
    ]
    style.key(figure, "", {}, key)
    return figure


def _over_loss(axes: Axes, data: Accuracy) -> None:
    """Error over loss: one smooth curve where the loss decides it."""
    cells = data.cells.sort_values("loss")
    axes.errorbar(
        cells["loss"],
        cells["error"],
        yerr=cells["error_se"],
        color=style.TUNED,
        marker="o",
        linewidth=0,
        elinewidth=0.8,
    )
    axes.plot(cells["loss"], cells["fitted"], color=style.INK)
    off = cells[cells["breaks"]]
    axes.plot(off["loss"], off["error"], "o", color=style.UNTUNED, markerfacecolor="none", markersize=8)
    style.log_axis(axes.xaxis, cells["loss"].min(), cells["loss"].max())
    axes.set_xlabel("test loss")

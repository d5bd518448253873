"""The same cells with their size counted otherwise: all parameters, the hidden ones, those without the output layer."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.scatter import View, by_level, coloured_points, panels
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import number
from mnist_scaling.study.columns import CONVENTIONS


def counts(study: Study) -> View | Missing:
    """Points: columns count, x, level (D), label, loss, se; `names` the loss, and the exponents in each count."""
    cells = study.cells[study.cells["loss"].notna()]
    known = {"N": cells["N"], **{name: cells[c] for name, c in CONVENTIONS["N"].items() if c in cells}}
    if len(known) < 2 or not study.roles.size:
        return Missing("Model size is counted in one way only, or does not vary.")
    base = pd.DataFrame({**by_level(cells, "D"), "loss": cells["loss"], "se": cells["se"]})
    table = pd.concat([base.assign(count=name, x=x.astype(float)) for name, x in known.items()])
    said = {
        one.count: f"slope {number(one.slope_N.value, 2)}"
        + (f", N* $\\propto C^{{{number(one.N_exponent.value, 2)}}}$" if one.N_exponent.known else "")
        for one in study.fits.headline.counts
    }
    grows = ", ".join(f"{name} by a factor of {number(x.max() / x.min(), 2)}" for name, x in known.items())
    return View(table[table["x"] > 0], note=f"Sizes grow: {grows}.", names=(f"{study.call('loss')}{study.unit}", said))


def draw_counts(data: View) -> Figure:
    """A panel for each count: steeper or flatter only because the axis is longer or shorter."""
    loss, said = data.names
    figure = style.new_figure(height=3.0)
    counted = data.points.groupby("count", sort=False)
    colours = style.ordered_colours(data.points["level"].dropna(), style.DATA_PALETTE)
    grid = panels(figure, len(counted), 3, sharey=True)
    for axes, (name, rows) in zip(grid, counted, strict=True):
        coloured_points(axes, rows, "x", "loss", colours, "se", fmt="o-", linewidth=0.9)
        style.level_axis(axes.xaxis, rows["x"], most=4)
        axes.set_xlabel("parameters N" if name == "N" else f"parameters, {name}")
        axes.set_title(said.get(name, ""), fontsize=8, fontweight="normal")
    style.log_axis(grid[0].yaxis, data.points["loss"].min(), data.points["loss"].max())
    grid[0].set_ylabel(style.plain(loss))
    style.level_key(figure, data.points, "examples seen D", colours)
    return figure

"""Loss against other axes: every further one of the grid, such as depth or dropout, and sizes counted otherwise."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.scatter import View, by_level, coloured_points, panels
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import number
from mnist_scaling.study.columns import CONVENTIONS, label

WIDE = 3
"""Positive numbers that span more than this factor have a logarithmic axis."""


def further_axes(study: Study) -> View | Missing:
    """Cells by each axis that is not the one of model size or of data size.

    Points have columns axis, x (a number, or the place of a word), word, line (cells that differ in this axis only),
    level (of the size axis, else of the data axis), label, loss, se.
    """
    roles, cells = study.roles, study.cells[study.cells["loss"].notna()]
    axes = [axis for axis in roles.others if cells[axis].nunique() > 1]
    if not axes:
        return Missing("The grid has no axis beside those of model size and data size.")
    colour, parts = roles.size or roles.data, []
    for axis in axes:
        part = cells[["loss", "se"]].assign(axis=axis, word="", **by_level(cells, colour))
        if pd.api.types.is_numeric_dtype(cells[axis]) and cells[axis].dtype != bool:
            part["x"] = cells[axis].astype(float)
        else:
            part = part.assign(x=pd.factorize(cells[axis], sort=True)[0], word=cells[axis].astype(str))
        rest = [a for a in study.axes if a != axis]
        parts.append(part.assign(line=cells.groupby(rest, dropna=False).ngroup() if rest else 0))
    names = (f"{study.call('loss')}{study.unit}", label(colour) if colour else "", colour == roles.size)
    return View(pd.concat(parts), names=names)


def draw_further_axes(data: View) -> Figure:
    """A panel for each axis; lines join cells that differ in nothing else."""
    loss, title, by_size = data.names
    by_axis = data.points.groupby("axis", sort=False)
    figure = style.new_figure(width=style.TEXT_WIDTH if len(by_axis) > 1 else 5, height=3.2)
    grid = panels(figure, len(by_axis), 3, sharey=True)
    palette = style.SIZE_PALETTE if by_size else style.DATA_PALETTE
    colours = style.ordered_colours(data.points["level"].dropna(), palette)
    for axes, (axis, rows) in zip(grid, by_axis, strict=True):
        coloured_points(axes, rows, "x", "loss", colours, "se", by="line", fmt="o-", linewidth=0.9)
        _axis(axes, rows)
        axes.set_xlabel(label(str(axis)))
    style.log_axis(grid[0].yaxis, data.points["loss"].min(), data.points["loss"].max())
    grid[0].set_ylabel(style.plain(loss))
    style.level_key(figure, data.points.dropna(subset=["level"]), title, colours)
    return figure


def _axis(axes: Axes, rows: pd.DataFrame) -> None:
    """Levels as they are: words in their order, numbers in logs where they span much."""
    levels = rows.drop_duplicates("x").sort_values("x")
    if levels["word"].any():
        axes.set_xticks(levels["x"], [style.plain(word) for word in levels["word"]])
        axes.margins(x=0.2)
    elif levels["x"].min() > 0 and levels["x"].max() > WIDE * levels["x"].min():
        style.level_axis(axes.xaxis, levels["x"])
    elif len(levels) < 8:
        axes.set_xticks(levels["x"])


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

"""Loss against every further axis of the grid, and the error rate against loss.

    error = k * loss^b          by least squares in logs over all cells; the curve is a parabola in logs

A cell's error comes from counting wrong images, so that another draw of test images would move its logarithm by
sqrt((1 - error) / (error * test images)), the binomial error. Loss and error are of the same images and seeds, so that
cells of one curve scatter about it by less; where they scatter by more, the loss does not decide the error.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnist_scaling.fitting.uncertainty.least_squares import exponents, plane
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.style import View, by_level, coloured_points, panels
from mnist_scaling.reporting.text import Missing
from mnist_scaling.study.columns import label
from mnist_scaling.study.identity import data_fact

WIDE = 3
"""Positive numbers that span more than this factor have a logarithmic axis."""

NO_AXIS = Missing("The grid has no axis beside those of model size and data size.")


def further_axes(study: Study) -> View | Missing:
    """Cells by each axis that is not the one of model size or of data size.

    Points have columns axis, x (a number, or the place of a word), word, line (cells that differ in this axis only),
    level (of the size axis, else of the data axis), label, loss, se.
    """
    roles, cells = study.roles, study.cells[study.cells["loss"].notna()]
    axes = [axis for axis in roles.others if cells[axis].nunique() > 1]
    if not axes:
        return NO_AXIS
    colour, parts = roles.size or roles.data, []
    for axis in axes:
        part = cells[["loss", "se"]].assign(axis=axis, word="", **by_level(cells, colour))
        if pd.api.types.is_numeric_dtype(cells[axis]) and cells[axis].dtype != bool:
            part["x"] = cells[axis].astype(float)
        else:
            part = part.assign(x=pd.factorize(cells[axis], sort=True)[0], word=cells[axis].astype(str))
        rest = [a for a in study.axes if a != axis]
        parts.append(part.assign(line=cells.groupby(rest, dropna=False).ngroup() if rest else 0))
    palette = style.SIZE_PALETTE if colour == roles.size else style.DATA_PALETTE
    loss = f"{study.call('loss')}{study.unit}"
    return View(pd.concat(parts), names=(loss, label(colour) if colour else "", palette))


def draw_axes(data: View) -> Figure:
    """A panel for each axis; lines join cells that differ in nothing else."""
    loss, told, palette = data.names
    by_axis = data.points.groupby("axis", sort=False)
    figure = style.new_figure(width=style.TEXT_WIDTH if len(by_axis) > 1 else 5, height=3.2)
    grid = panels(figure, len(by_axis), 3, sharey=True)
    colours = style.ordered_colours(data.points["level"].dropna(), palette)
    for axes, (axis, rows) in zip(grid, by_axis, strict=True):
        coloured_points(axes, rows, "x", "loss", colours, "se", by="line", fmt="o-", linewidth=0.9)
        _axis(axes, rows)
        axes.set_xlabel(label(str(axis)))
    style.log_axis(grid[0].yaxis, data.points["loss"].min(), data.points["loss"].max())
    grid[0].set_ylabel(style.plain(loss))
    style.level_key(figure, data.points.dropna(subset=["level"]), told, colours)
    return figure


def _axis(axes: Axes, rows: pd.DataFrame) -> None:
    """Levels as they are: words in their order, numbers in logs where they span much."""
    levels = rows.drop_duplicates("x").sort_values("x")
    if levels["word"].any():
        axes.set_xticks(levels["x"], [style.plain(word) for word in levels["word"]])
        axes.margins(x=0.2)
    elif levels["x"].min() > 0 and levels["x"].max() > WIDE * levels["x"].min():
        style.level_axis(axes.xaxis, levels["x"], most=4)
    elif len(levels) < 8:
        axes.set_xticks(levels["x"])


FEWEST = 5
"""Cells that a curve through loss and error needs."""


def accuracy(study: Study) -> View | Missing:
    """Error against loss, and the curve through both: points have columns loss, error, error_se, fitted, level (N)."""
    cells = study.cells
    if not study.is_study or not {"test_error", "test_loss"} <= set(cells):
        return Missing("The table has no test error beside a test loss.")
    kept = cells[(cells["test_error"] > 0) & (cells["test_loss"] > 0)]
    if len(kept) < FEWEST:
        return Missing(
            f"A curve through loss and error needs {FEWEST} cells with a test error, but {len(kept)} have one."
        )
    loss, error = kept["test_loss"].to_numpy(float), kept["test_error"].to_numpy(float)
    x = np.log(loss) - np.log(loss).mean()
    curve, power = plane(np.log(error), x, x**2), -exponents(error, loss)[0]
    scatter = float(np.sqrt((curve.residual**2).sum() / curve.free))
    interval = f" [{power.low:.2f}, {power.high:.2f}]" if power.bounded else ""
    note = (
        f"Test error goes as loss^{power.value:.2f}{interval}. Cells scatter about the curve by {100 * scatter:.1f} %"
    )
    if (images := data_fact(study.record, "n_test")) is not None:
        binomial = float(np.sqrt(np.mean((1 - error) / (error * images))))
        less = scatter <= binomial
        note += f", {'less' if less else 'more'} than the {100 * binomial:.1f} % by which other test images would move "
        note += f"an error: {'both lie on one smooth curve' if less else 'the loss alone does not decide the error'}"
    table = kept.assign(**by_level(kept, "N"), loss=loss, error=error, fitted=np.exp(curve.fitted))
    se = kept["test_error_se"].fillna(0).astype(float)
    return View(table[["loss", "error", "fitted", "level", "label"]].assign(error_se=se), note=f"{note}.")


def draw_accuracy(data: View) -> Figure:
    """Error over loss, light to dark from small to large models, with the fitted curve."""
    cells = data.points.sort_values("loss")
    figure = style.new_figure(height=3.3)
    axes = figure.subplots()
    colours = style.ordered_colours(cells["level"].dropna(), style.SIZE_PALETTE)
    coloured_points(axes, cells, "loss", "error", colours, "error_se")
    curve = axes.plot("loss", "fitted", data=cells, color=style.INK, label="fitted curve")
    style.log_axis(axes.xaxis, cells["loss"].min(), cells["loss"].max())
    style.log_axis(axes.yaxis, cells["error"].min(), cells["error"].max())
    axes.set(xlabel="test loss", ylabel="test error")
    style.key(figure, "", style.extremes(colours, "N"), curve)
    return figure

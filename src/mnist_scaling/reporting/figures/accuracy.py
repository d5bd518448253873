"""Test error against N, D and C, and against test loss: is error a smooth function of loss, and where does it break?

    error = k * loss^b          least squares in logs over all cells; a parabola in logs where that certainly bends

A cell's error comes from counting wrong images, so that another draw of test images would move its logarithm by
sqrt((1 - error) / (error * test images)), the binomial error. Loss and error are of the same images and seeds, so that
cells of one curve scatter about it by less; where they scatter by more, the loss does not decide the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import stdtrit

from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL, exponents, plane
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.figures.compute import flop_axis
from mnist_scaling.reporting.figures.scatter import coloured_points, extremes, points
from mnist_scaling.reporting.parts import Missing
from mnist_scaling.reporting.text import listing, plural
from mnist_scaling.study.identity import DATA

FEWEST = 5
"""Cells that a curve through loss and error needs."""

OFF = 4.0
"""A cell breaks the curve where it lies so many times the usual scatter off it."""

TO_SIGMA = 1.4826
"""Median absolute deviation to the standard deviation of normal numbers."""

MOST_NAMED = 4
"""Cells named in the sentence; the rest are counted."""


@dataclass(frozen=True)
class Accuracy:
    """Error of every cell, and the curve through loss and error."""

    cells: pd.DataFrame
    """Columns N, D, C, loss, error, error_se, fitted, breaks (whether the cell lies off the curve)."""
    exponent: Interval
    """b of error = k loss^b."""
    scatter: float
    """Standard deviation of log error about the curve, the parabola where there is one."""
    binomial: float
    """The same if test images were drawn anew for each cell; NaN where their number is unknown."""
    note: str


def accuracy(study: Study) -> Accuracy | Missing:
    """Error against N, D, C and loss, from a study's cells."""
    cells = study.cells
    if not study.is_study or not {"test_error", "test_loss"} <= set(cells):
        return Missing("The table has no test error beside a test loss.")
    kept = cells[(cells["test_error"] > 0) & (cells["test_loss"] > 0)]
    if len(kept) < FEWEST:
        return Missing(
            f"A curve through loss and error needs {FEWEST} cells with a test error, but {len(kept)} have one."
        )
    loss, error = kept["test_loss"].to_numpy(float), kept["test_error"].to_numpy(float)
    se = kept["test_error_se"].fillna(0).to_numpy(float)
    found = -exponents(error, loss)[0]
    fitted, freedom, ends = _smooth(np.log(loss), np.log(error))
    residual = np.log(error) - fitted
    scatter = float(np.sqrt(residual @ residual / freedom))
    usual = TO_SIGMA * float(np.median(np.abs(residual)))
    breaks = np.abs(residual) > OFF * max(usual, 1e-9)
    table = pd.DataFrame(
        {"N": kept["N"], "D": kept["D"], "C": kept["C"], "loss": loss, "error": error, "error_se": se,
         "fitted": np.exp(fitted), "breaks": breaks}
    )  # fmt: skip
    binomial = float(np.sqrt(np.mean((1 - error) / (error * _test_images(study)))))
    names = [study.label(row) for _, row in kept[breaks].iterrows()]
    note = f"{_power(found, ends)} {_scatter(scatter, binomial)} {_breaks(names)}"
    return Accuracy(table, found, scatter, binomial, note.strip())


def _test_images(study: Study) -> float:
    """Number of test images; NaN where the study does not state it, or its data sets differ in it."""
    known = {facts.get("n_test") for facts in study.record.get(DATA, [])} - {None}
    return float(known.pop()) if len(known) == 1 else float("nan")


def _smooth(x: Array, y: Array) -> tuple[Array, int, tuple[float, float] | None]:
    """A line through x and y, or a parabola where its square term is certain: values, degrees of freedom, end slopes.

    The slopes at the largest and at the smallest x are None for a line.
    """
    x = x - x.mean()
    line, parabola = plane(y, x), plane(y, x, x**2)
    if parabola.free > 0 and parabola.determined:
        _, steep, bend = parabola.coefficients
        inverse = np.linalg.inv(parabola.design.T @ parabola.design)
        error = np.sqrt((parabola.residual**2).sum() / parabola.free * inverse[2, 2])
        if abs(bend) > stdtrit(parabola.free, 0.5 + LEVEL / 2) * error:
            first, last = (float(steep + 2 * bend * end) for end in (x.max(), x.min()))
            return parabola.fitted, parabola.free, (first, last)
    return line.fitted, line.free, None


def _power(found: Interval, ends: tuple[float, float] | None) -> str:
    interval = f" [{found.low:.2f}, {found.high:.2f}]" if found.bounded else ""
    text = f"Test error goes as loss^{found.value:.2f}{interval}"
    if ends is None:
        return f"{text} without a certain bend."
    return f"{text}, and bends: the exponent is {ends[0]:.2f} at the largest loss and {ends[1]:.2f} at the smallest."


def _scatter(scatter: float, binomial: float) -> str:
    text = f"Cells scatter about the curve by {100 * scatter:.1f} %"
    if not np.isfinite(binomial):
        return f"{text}."
    less = scatter <= binomial
    end = "loss and error lie on one smooth curve" if less else "the loss alone does not decide the error"
    size = "less" if less else "more"
    return f"{text}, {size} than the {100 * binomial:.1f} % by which other test images would move an error: {end}."


def _breaks(names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {plural(len(names) - MOST_NAMED, 'more cell')}" if len(names) > MOST_NAMED else ""
    shown = "; ".join(names[:MOST_NAMED]) if more else listing(names)
    return f"The curve breaks, by more than {OFF:g} times the usual scatter, at {shown}{more}."


PANELS = {"N": ("D", style.DATA_PALETTE), "D": ("N", style.SIZE_PALETTE), "C": ("N", style.SIZE_PALETTE)}
"""Which variable the colour is, and its palette."""


def draw_accuracy(data: Accuracy) -> Figure:
    """Four panels: error over N, D, C, and over loss with the fitted curve."""
    cells = data.cells
    figure = style.new_figure(height=4.8)
    panels = figure.subplots(2, 2, sharey=True).ravel()
    named: dict[str, str] = {}
    for axes, (variable, (other, palette)) in zip(panels, PANELS.items(), strict=False):
        known = cells[cells[variable].notna()].assign(level=cells[other])
        colours = style.ordered_colours(known["level"].dropna(), palette)
        joined: dict[str, Any] = {"fmt": "o"} if variable == "C" else {"fmt": "o-", "linewidth": 1}
        coloured_points(axes, known, variable, "error", colours, "error_se", **joined)
        named |= extremes(colours, other)
        if len(known) and variable == "C":
            flop_axis(axes, known[variable].min(), known[variable].max())
        elif len(known):
            style.level_axis(axes.xaxis, known[variable].to_numpy(), most=5)
            axes.set_xlabel(style.SIZES[variable])
    points(panels[3], cells, "loss", "error", "error_se", color=style.TUNED)
    curve = panels[3].plot(*cells.sort_values("loss")[["loss", "fitted"]].to_numpy().T, color=style.INK)
    ring: dict[str, Any] = {"color": style.UNTUNED, "marker": "o", "mfc": "none", "markersize": 8, "linestyle": "none"}
    off = panels[3].plot("loss", "error", data=cells[cells["breaks"]], label="off the curve", **ring)
    style.log_axis(panels[3].xaxis, cells["loss"].min(), cells["loss"].max(), most=6)
    panels[3].set_xlabel("test loss")
    style.log_axis(panels[0].yaxis, cells["error"].min(), cells["error"].max())
    for axes in panels[::2]:
        axes.set_ylabel("test error")
    curve[0].set_label("fitted curve")
    style.key(figure, "", named, [*curve, *(off if cells["breaks"].any() else [])])
    return figure

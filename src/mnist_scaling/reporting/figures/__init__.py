"""Every figure of the report, a file each: its data, then its drawing. A new one is one file and its `Plot` here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import (
    best_settings,
    change,
    compute,
    laws,
    losses,
    other_axes,
    pair_grid,
    style,
    tuning,
)
from mnist_scaling.reporting.text import Missing


@dataclass(frozen=True)
class Plot:
    """One figure: what it shows, in words, and the two functions that make it."""

    name: str
    """File name, without extension, and anchor on the page."""
    section: str
    title: str
    caption: str
    prepare: Callable[[Any], Any]
    """From a `Study`, or a `Pair` of arms, the data of the figure or `Missing` with the reason; a ``note`` attribute is
    added to the caption."""
    draw: Callable[[Any], Figure]
    needs_trials: bool = False
    """Whether it is about how a study was tuned, so that a table from elsewhere can't have it."""
    detail: bool = False
    """Whether only `report details=true` draws it."""


NO_TRIALS = Missing("A table from elsewhere has no trials, so there is nothing to show of how its runs were tuned.")

SCALING, COMPUTE, LAWS = "Loss against size", "Compute", "Laws"
ACCURACY, TUNING, SEARCH = "Test error", "What tuning changed", "How tuning went"
"""Sections, in the order of the page."""

FIGURES = (
    Plot(
        "loss_vs_parameters", SCALING, "Loss against model size",
        "Points are means over repeats with one standard error. Lines are the law that is nearest to the data; where "
        "none is selected they join the points.",
        partial(losses.losses, variable="N"), losses.draw_losses,
    ),
    Plot(
        "loss_vs_data", SCALING, "Loss against data", "As above, with one line for each model size.",
        partial(losses.losses, variable="D"), losses.draw_losses,
    ),
    Plot(
        "loss_map", SCALING, "All cells at once",
        "Rows are model sizes, columns amounts of data. Along a contour the nearest law says that the loss is the "
        "same; a red line, where there is one, is where a budget of compute is spent best.",
        losses.loss_map, losses.draw_loss_map,
    ),
    Plot(
        "further_axes", SCALING, "Loss against every further axis",
        "Lines join cells that differ in this axis alone; points are means over repeats with one standard error.",
        other_axes.further_axes, other_axes.draw_axes,
    ),
    Plot(
        "loss_vs_compute", COMPUTE, "Loss against training compute",
        "Every cell over the FLOPs of one run (its tuning not counted). The frontier is dashed, its corners ringed: "
        "no cell lies below it. A full line is that of the law with its misfit; its slope is the one to quote.",
        compute.compute, compute.draw_compute,
    ),
    Plot(
        "forecast", COMPUTE, "What more compute should bring",
        "Each cell in grey; in blue the loss that the best size and data should reach with more compute than was "
        "spent, with its interval, beside the floor under which no compute brings it. Diamonds are predictions that "
        "were registered before their runs, stars what the runs gave.",
        laws.forecast, laws.draw_forecast,
    ),
    Plot(
        "isoflop", COMPUTE, "IsoFLOP curves",
        "Loss over model size at one budget of compute, with the fitted polynomial in log N; dotted lines join points "
        "that show no minimum. Stars mark minima; hollow ones lie off the middle of the sizes tried and are biased.",
        compute.isoflops, compute.draw_isoflops,
    ),
    Plot(
        "frontier", COMPUTE, "Compute-optimal model and data size",
        "How to split a budget, by each method; the one to quote is parametric, by the law with its misfit. The grey "
        "band is what was run; points outside it are extrapolation.",
        compute.frontier, compute.draw_frontier,
    ),
    Plot(
        "winners", COMPUTE, "The best run at each budget",
        "The cell of the lowest loss at each budget of compute, its sizes and its settings. Lines are fitted in logs "
        "of C and reach the next budget; the shade is where a single new best run should lie.",
        pair_grid.winners, pair_grid.draw_winners, detail=True,
    ),
    Plot(
        "hold_out", LAWS, "Predicted and measured",
        "Filled points were fitted, hollow ones were not: they lie beyond the compute of all that were. Bars are one "
        "standard error, dashes the single runs behind it.",
        laws.hold_out, laws.draw_hold_out,
    ),
    Plot(
        "clouds", LAWS, "Clouds of exponents",
        "Each point is one surface that the data allow. Numbers that lean on one another form a narrow ellipse: what "
        "is known of both is more than their intervals say. The ellipse holds 95 % of a normal cloud.",
        pair_grid.clouds, pair_grid.draw_pairs, detail=True,
    ),
    Plot(
        "accuracy", ACCURACY, "Test error, and what the loss says of it",
        "Share of test images put in the wrong class over test loss, means over repeats with one standard error, and a "
        "smooth curve.",
        other_axes.accuracy, other_axes.draw_accuracy, detail=True,
    ),
    Plot(
        "what_tuning_changed", TUNING, "The same grid, untuned and tuned",
        "Untuned: one setting, the same in every cell, as the mean over its repeats. Tuned: the mean over repeats of "
        "the cell's own best setting, with one standard error. Both are losses on the validation data, so that they "
        "compare; the laws elsewhere are fitted to test loss. Top: the smallest and the largest level of the other "
        "axis. Bottom: the exponent at every level, with 95 % intervals of least squares in logs.",
        change.change, change.draw_change, needs_trials=True,
    ),
    Plot(
        "best_settings", SEARCH, "Best settings against size",
        "The best value of each cell, which is that of its best trial. "
        "Lines are the fitted law at the smallest, a middle and the largest level of the other size, light to dark; "
        "the shade, drawn for the middle one, is where the best value of a single cell should lie. Dashed: the ends of "
        "the range that was searched.",
        best_settings.best_settings, best_settings.draw_best_settings, needs_trials=True,
    ),
    Plot(
        "settings_curves", SEARCH, "Loss against each setting",
        "The finished trials of a small, a middle and a large cell, whose other settings differ, too.",
        best_settings.settings_curves, best_settings.draw_settings_curves, needs_trials=True, detail=True,
    ),
    Plot(
        "training_gap", SEARCH, "Training against validation loss",
        "A validation loss far above the training loss says that the model knows its examples by heart: more dropout, "
        "or more data. A curve that still falls at its end says that the run was too short; dots are decays from "
        "somewhere on the way.",
        tuning.training_gap, tuning.draw_training_gap, needs_trials=True, detail=True,
    ),
    Plot(
        "winners_curse", SEARCH, "Winner's curse",
        "Validation loss of the repeats (fresh seeds) over that of the selected trial, with one standard error. "
        "Best-of-k looks better than it is; the repeats are what is fitted.",
        tuning.curse, tuning.draw_curse, needs_trials=True, detail=True,
    ),
    Plot(
        "spending", SEARCH, "Where the FLOPs went",
        "Training FLOPs by kind of run, as shares of all that a model size was given.",
        tuning.spending, tuning.draw_spending, needs_trials=True, detail=True,
    ),
    Plot(
        "pairs", SEARCH, "Pairs: all runs",
        "Every number of a finished trial against every other: points with the ellipse of 95 % of a normal cloud "
        "below the diagonal, densities on it, correlations (of logs, where a number is positive and wide) above it.",
        partial(pair_grid.pairs, best=False), pair_grid.draw_pairs, detail=True,
    ),
    Plot(
        "pairs_best", SEARCH, "Pairs: the best run at each budget",
        "As above, of the best trial at each budget of compute alone: how its sizes and settings move together.",
        partial(pair_grid.pairs, best=True), pair_grid.draw_pairs, detail=True,
    ),
)  # fmt: skip


def prepare(plot: Plot, study: Study) -> Any:
    """Data of a figure, or `Missing` with the reason."""
    return NO_TRIALS if plot.needs_trials and not study.is_study else plot.prepare(study)


def draw(plot: Plot, data: Any) -> Figure:
    """Draw prepared data in the report's look."""
    with style.theme():
        return plot.draw(data)


def show(of: Any, name: str, plots: Sequence[Plot] = FIGURES) -> Figure | Missing:
    """Prepare and draw one figure by its name, of a study or of what other `plots` show: what a notebook needs."""
    plot = next((p for p in plots if p.name == name), None)
    if plot is None:
        raise KeyError(f"A figure must be one of {', '.join(p.name for p in plots)}, but got {name!r}.")
    data = prepare(plot, of)
    return data if isinstance(data, Missing) else draw(plot, data)

"""Does a parametrization do what it promises: figures of a coordinate check, and of losses on a grid of rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.special import stdtrit

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL
from mnist_scaling.reporting.figures import style
from mnist_scaling.reporting.text import Missing

NAMES = {"standard": "standard", "mup": "µP"}
"""As people write them."""

AROUND = 2
"""Rates on either side of the lowest loss that the parabola takes."""

DRAWS = 400
"""Draws of the losses from their standard errors."""


@dataclass(frozen=True)
class Coordinates:
    """Activation scale over width, layer by layer and step by step."""

    points: pd.DataFrame
    """parametrization, layer, step, width, value: the change, and at step 0 the scale; means over seeds."""
    slopes: pd.DataFrame
    """parametrization, layer, step, slope of log value in log width."""


@dataclass(frozen=True)
class Sensitivity:
    """Loss over learning rate at each width, and where its lowest point moves."""

    points: pd.DataFrame
    """parametrization, width, lr, loss, se."""
    optima: pd.DataFrame
    """parametrization, width, lr with low and high, loss, edge: whether the best rate ends the grid."""
    exponents: dict[str, Interval]
    """By parametrization, a in lr* = k * width^a."""
    carried: pd.DataFrame
    """parametrization, width, excess and its se: relative loss lost by using the best rate of `base` there."""
    base: float
    """The width whose best rate is carried."""


def coordinates(table: pd.DataFrame, slopes: pd.DataFrame) -> Coordinates:
    """The figure's data from a coordinate check and its slopes, of one optimiser.

    Parameters
    ----------
    table : pandas.DataFrame
        parametrization, layer, step, width, seed, scale, change.
    slopes : pandas.DataFrame
        parametrization, layer, step, scale, change.
    """
    keys = ["parametrization", "layer", "step"]
    table, slopes = table.copy(), slopes.copy()
    table["value"] = table["change"].where(table["step"] > 0, table["scale"])
    slopes["slope"] = slopes["change"].where(slopes["step"] > 0, slopes["scale"])
    means = table.groupby([*keys, "width"], sort=False, as_index=False)["value"].mean()
    return Coordinates(means, slopes[[*keys, "slope"]])


def sensitivity(cells: pd.DataFrame, base: float, seed: int = 0) -> Sensitivity | Missing:
    """Best learning rate of each width, its exponent, and the price of carrying one width's to all.

    lr* is the vertex of a parabola in log loss over log lr through the lowest loss and its `AROUND`
    neighbours on either side; log lr* = log k + a log width by least squares over the widths whose best
    rate is inside the grid.

    The interval of an lr* is that of `DRAWS` draws of the losses, each from its standard error, pooled
    over the rates of its width; runs of one seed share data and weights at all rates, so it errs on the
    wide side. The interval of a is Student's with two fewer degrees of freedom than widths, where the
    variance of a log lr* is that of the residuals or the mean of the draws', whichever is larger.

    Parameters
    ----------
    cells : pandas.DataFrame
        parametrization, width, lr, test_loss, test_loss_se; a cell that diverged has no loss.
    base : float
        Width whose best rate of the grid is carried.
    seed : int
        Of the draws.
    """
    points = cells.rename(columns={"test_loss": "loss", "test_loss_se": "se"})
    points = points[["parametrization", "width", "lr", "loss", "se"]].dropna(subset="loss")
    points["second"] = points["parametrization"] != "standard"
    points = points.sort_values(["second", "parametrization", "width", "lr"]).drop(columns="second")
    points = points.reset_index(drop=True)
    if points.groupby(["parametrization", "width"]).size().min() < 2 * AROUND + 1:
        return Missing(f"Each width must have a loss at {2 * AROUND + 1} learning rates or more.")
    if base not in set(points["width"]):
        return Missing(f"Width {base:g}, whose best rate is to be carried, is not in the table.")
    rng = np.random.default_rng(seed)
    optima, exponents, carried = [], {}, []
    for name, part in points.groupby("parametrization", sort=False):
        found = [_optimum(str(name), float(width), rows, rng) for width, rows in part.groupby("width")]
        optima += [row for row, _ in found]
        exponents[str(name)] = _exponent([row for row, _ in found], [spread for _, spread in found])
        carried += _carry(str(name), part, base)
    return Sensitivity(points, pd.DataFrame(optima), exponents, pd.DataFrame(carried), base)


def _optimum(name: str, width: float, rows: pd.DataFrame, rng: np.random.Generator) -> tuple[dict[str, object], float]:
    """One row of `Sensitivity.optima`, and the standard deviation of log lr* over the draws."""
    x, y = np.log(rows["lr"].to_numpy(float)), np.log(rows["loss"].to_numpy(float))
    relative = np.sqrt(np.nanmean((rows["se"] / rows["loss"]) ** 2))
    draws = np.array([vertex(x, y + rng.normal(0, relative, len(y))) for _ in range(DRAWS)])
    low, high = np.exp(np.quantile(draws, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]))
    best = int(np.argmin(y))
    return {
        "parametrization": name,
        "width": width,
        "lr": float(np.exp(vertex(x, y))),
        "low": float(low),
        "high": float(high),
        "loss": float(np.exp(y[best])),
        "edge": best in (0, len(y) - 1),
    }, float(draws.std())


def vertex(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Lowest point of a parabola through the lowest y and its neighbours; never outside these.

    Points that open downwards give the lowest point itself.
    """
    best = int(np.argmin(y))
    near = slice(max(0, best - AROUND), best + AROUND + 1)
    centre = x[best]
    curvature, slope, _ = np.polyfit(x[near] - centre, y[near], 2)
    if curvature <= 0:
        return float(centre)
    return float(np.clip(centre - slope / (2 * curvature), x[near][0], x[near][-1]))


def _exponent(optima: Sequence[dict[str, object]], spreads: Sequence[float]) -> Interval:
    inside = [(row, spread) for row, spread in zip(optima, spreads, strict=True) if not row["edge"]]
    if len(inside) < 3:
        return Interval()
    x = np.log([float(row["width"]) for row, _ in inside])  # type: ignore[arg-type]
    y = np.log([float(row["lr"]) for row, _ in inside])  # type: ignore[arg-type]
    slope, constant = np.polyfit(x, y, 1)
    free = len(x) - 2
    residual = float(((y - constant - slope * x) ** 2).sum()) / free
    variance = max(residual, float(np.mean([spread**2 for _, spread in inside])))
    half = float(stdtrit(free, 0.5 + LEVEL / 2)) * np.sqrt(variance / ((x - x.mean()) ** 2).sum())
    return Interval(float(slope), float(slope - half), float(slope + half))


def _carry(name: str, part: pd.DataFrame, base: float) -> list[dict[str, object]]:
    """Rows of `Sensitivity.carried`; the excess is at least 0, for a width's own best is the best of few."""
    own = part[part["width"] == base]
    lr = own.loc[own["loss"].idxmin(), "lr"]
    rows = []
    for width, cells in part.groupby("width"):
        best, used = cells.loc[cells["loss"].idxmin()], cells[cells["lr"] == lr]
        excess, se = np.nan, np.nan  # it diverged there
        if not used.empty:
            excess = used["loss"].iloc[0] / best["loss"] - 1
            relative = np.hypot(used["se"].iloc[0] / used["loss"].iloc[0], best["se"] / best["loss"])
            se = 0.0 if excess == 0 else (1 + excess) * relative
        rows.append({"parametrization": name, "width": float(width), "lr": float(lr), "excess": excess, "se": se})
    return rows


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

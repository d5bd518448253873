"""The look of every figure: theme, colours, log axes with ticks that people can read, keys, points of cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from mnist_scaling.reporting.documents.loading import axis_value
from mnist_scaling.reporting.text import short

INK, MUTED, GRID, ON_COLOUR = "#1b1f24", "#6b7280", "#e3e6ea", "#262626"  # the last is for words on coloured squares
UNTUNED, TUNED, FRONTIER = "#c8553d", "#1f6f9f", "#1b1f24"
"""Orange-red against blue: told apart with any colour vision, and in print by line style too."""

KINDS = ("#1f6f9f", "#c8553d", "#7a5195", "#3a8f5c", "#b8860b", "#6b7280")
"""For a few unordered things, such as frontier methods."""

SIZE_PALETTE, DATA_PALETTE = "crest", "flare"
"""Green to blue always means model size, orange to purple always means data size."""

SIZES = {"N": "parameters N", "D": "training examples seen D"}
"""What an axis of sizes says."""

TEXT_WIDTH = 7.2
"""Inches: two columns of a paper."""

MOST_LEVELS = 24
"""Levels that an axis takes its ticks from."""

CLOSE = 0.8
"""Of levels nearer to each other than this share of an even step, whose labels would overlap, one has a tick."""

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.hinting": "no_hinting",  # else words are wider at few dots per inch than in the layout, and are cut
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "figure.facecolor": "white",
    "axes.facecolor": "none",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "mnist_scaling",
    "pdf.fonttype": 42,
    "mathtext.fontset": "dejavusans",
}


@contextmanager
def theme() -> Iterator[None]:
    """Draw inside this: the look holds for the block and leaves matplotlib's own settings alone."""
    with mpl.rc_context({**sns.axes_style("white"), **_RC}):  # type: ignore[dict-item]
        yield


def new_figure(width: float = TEXT_WIDTH, height: float = 3.0) -> Figure:
    """An Agg figure that pyplot never learns of, so nothing has to be closed."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.05, h_pad=0.05)  # type: ignore[union-attr,call-arg]
    return figure


def ordered_colours(levels: Iterable[float], palette: str) -> dict[float, str]:
    """One colour per level, light for small and dark for large."""
    distinct = sorted(set(levels))
    shades = sns.color_palette(palette, n_colors=max(len(distinct), 3)).as_hex()
    return dict(zip(distinct, shades if len(distinct) > 1 else [shades[-1]], strict=False))


def nice_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers inside a logarithmic range: 0.05, 0.1, 0.2, …

    Takes the densest of several sets of mantissas that gives at most `most` ticks, and at least two
    wherever any of them does; a range of more decades than that has a tick at every second, third, … of them.
    """
    decades = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1)
    best: list[float] = []
    fine = [m / 10 for m in range(10, 100)]
    for mantissas in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5), (1, 1.5, 2, 3, 4, 5, 7), fine[::5], fine[::2], fine):
        ticks = [float(f"{m}e{d}") for d in decades for m in mantissas]
        inside = [t for t in ticks if low * 0.9999 <= t <= high * 1.0001]
        if len(best) < len(inside) <= most:
            best = inside
    if high < 1.6 * low or (len(best) < 2 and high < 2 * low):
        return [
            float(t) for t in MaxNLocator(min(most, 4), steps=[1, 2, 5, 10]).tick_values(low, high) if low <= t <= high
        ]
    step = -(-len(decades) // most)
    return best or [10.0**d for d in decades[::step] if low <= 10.0**d <= high]


def log_axis(axis: Axis, low: float, high: float, pad: float = 0.06, most: int = 7) -> None:
    """Logarithmic scale over a range, a little padded, with round tick labels and no minor ticks."""
    span = max(np.log(high / low), 0.05) * pad
    low, high = low * np.exp(-span), high * np.exp(span)
    _log_ticks(axis, nice_ticks(low, high, most), low, high)


def level_axis(axis: Axis, levels: ArrayLike, pad: float = 0.06, most: int = 7) -> None:
    """Logarithmic scale whose ticks are the levels themselves, thinned where they are many or close; round numbers
    where there are more than `MOST_LEVELS`, as in a table whose every model has a size of its own."""
    distinct = np.unique(np.asarray(levels, float))
    if len(distinct) > MOST_LEVELS:
        log_axis(axis, distinct[0], distinct[-1], pad, most)
        return
    whole = np.log(distinct[-1] / distinct[0])
    span = max(whole, 0.05) * pad
    step = int(np.ceil(len(distinct) / most))
    ticks: list[float] = []
    for level in distinct[::-1][::step]:
        if not ticks or np.log(ticks[-1] / level) >= CLOSE * whole / max(most - 1, 1):
            ticks.append(float(level))
    _log_ticks(axis, ticks[::-1], distinct[0] * np.exp(-span), distinct[-1] * np.exp(span))


def _log_ticks(axis: Axis, ticks: Sequence[float], low: float, high: float) -> None:
    name = axis.axis_name  # type: ignore[attr-defined]  # x or y
    axis.axes.set(**{f"{name}scale": "log", f"{name}lim": (low, high)})
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


def plain(text: str) -> str:
    """Someone's words as they stand: matplotlib reads what is between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def key(figure: Figure, title: str, entries: Mapping[str, str], extra: Sequence[Line2D] = ()) -> None:
    """One row above all panels: a dot for each label and colour, then any further lines."""
    dots = [
        Line2D([], [], marker="o", linestyle="none", color=colour, label=plain(label))
        for label, colour in entries.items()
    ]
    dots += extra
    head = [Line2D([], [], linestyle="none", label=plain(title))] if title else []
    figure.legend(
        handles=[*head, *dots], loc="outside upper left", ncols=len(dots) + 1,
        handletextpad=0.3, columnspacing=1.2, borderpad=0, handlelength=1.6,
    )  # fmt: skip


def level_key(
    figure: Figure, rows: pd.DataFrame, title: str | None, colours: Mapping[float, str], lines: Sequence[Line2D] = ()
) -> None:
    """The row of `key` for data with columns ``level`` and ``label``, headed by what the levels are of."""
    labels = dict(zip(rows["level"], rows["label"], strict=True))
    if colours or lines:
        key(figure, title or "", {labels[level]: c for level, c in colours.items()}, lines)


CELLS: WeakKeyDictionary[Artist, list[str]] = WeakKeyDictionary()
"""The cell of each point that is drawn, of artists that `identify` was told of."""


def identify(artist: Any, cells: Iterable[Any]) -> None:
    """Name the cell of each point, by its row in `Study.cells`, so that the page can join it with its rows in tables.

    The artist is what `Axes.errorbar`, `plot` or `scatter` returned. Points without a number have a name, too; a single
    name is that of all of a line.
    """
    drawn, names = artist[0] if isinstance(artist, list | tuple) else artist, [str(cell) for cell in cells]
    xy = drawn.get_xydata() if isinstance(drawn, Line2D) else np.ma.filled(drawn.get_offsets(), np.nan)
    points = np.asarray(xy, float)
    if len(names) != 1 or len(points) == 1:
        kept = np.isfinite(points).all(axis=1)  # what matplotlib writes
        names = [name for name, known in zip(names, kept, strict=True) if known]
    CELLS[drawn] = names


@dataclass(frozen=True)
class View:
    """What a figure of one table draws: a row for each point, by its row of cells.csv where it is a cell, and words."""

    points: pd.DataFrame
    lines: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str = ""
    names: Any = None
    """What axes and keys say, and single numbers."""


def by_level(cells: pd.DataFrame, axis: str | None) -> dict[str, Any]:
    """Columns level and label: an axis, or a size, that colours tell apart; NaN and empty where there is none."""
    if axis is None:
        return {"level": np.nan, "label": ""}
    return {"level": cells[axis].astype(float), "label": cells[axis].map(lambda value: axis_value(value, axis))}


def points(
    axes: Axes, rows: pd.DataFrame, x: str, y: str, se: str | Sequence[str] = "", cells: bool = True, **look: Any
) -> None:
    """Draw rows as points; `se` is the column of the error bars' half lengths, or those of their ends.

    Where the rows' index is that of `Study.cells` (`cells`), the page joins the points with their rows.
    """
    error: Any
    if isinstance(se, str):
        error = rows[se].fillna(0) if se else None
    else:
        error = np.nan_to_num([rows[y] - rows[se[0]], rows[se[1]] - rows[y]])
    usual: dict[str, Any] = {"fmt": "o", "elinewidth": 1, "capsize": 2, "mec": "white", "mew": 0.5}
    drawn = axes.errorbar(rows[x], rows[y], error, **{**usual, **look})
    if cells:
        identify(drawn, rows.index)


def coloured_points(
    axes: Axes, rows: pd.DataFrame, x: str, y: str, colours: Mapping[float, str], se: str | Sequence[str] = "",
    by: str = "level", **look: Any,
) -> None:  # fmt: skip
    """`points` for each value of a column, sorted by x, in the colour of its rows' level."""
    for _, part in rows.groupby(by, dropna=False):
        points(axes, part.sort_values(x), x, y, se, color=colours.get(part["level"].iloc[0], TUNED), **look)


def panels(figure: Figure | SubFigure, count: int, columns: int, **shared: Any) -> list[Axes]:
    """So many panels, at most so many in a row; places beyond the last one stay empty."""
    columns = min(count, columns)
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, **shared).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return list(grid[:count])


def spread(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, evenly from the first to the last."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]


def extremes(colours: Mapping[float, str], size: str) -> dict[str, str]:
    """The smallest and the largest level in words, with their colours, for a key that has no room for all."""
    levels = sorted(colours)
    return {f"{size} = {short(level)}": colours[level] for level in (*levels[:1], *levels[-1:])}

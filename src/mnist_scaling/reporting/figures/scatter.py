"""Points as every figure draws them: an error bar each, a white rim, and the name of the cell that it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.figures.style import NAMES, TUNED, identify
from mnist_scaling.reporting.text import short
from mnist_scaling.study.columns import COMPLETE, REPEAT


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
    """Draw rows as points.

    Parameters
    ----------
    axes : Axes
    rows : pandas.DataFrame
        A row for each point.
    x, y : str
        Columns.
    se : str or pair of str, optional
        Column of the error bars' half lengths, or those of their ends.
    cells : bool
        Whether the rows' index is that of `Study.cells`, so that the page joins the points with their rows.
    **look
        Keys of `Axes.errorbar` that differ from the usual ones.
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


def runs_of(study: Study, cells: pd.DataFrame, stage: str) -> pd.DataFrame:
    """The finished runs of some cells at a stage, repeats with the selected setting only.

    Rows of trials.csv by the row of their cell; column run is their own.
    """
    keys = [*study.axes, *(study.tuned if stage == REPEAT else ())]
    if study.trials.empty or not keys:
        return pd.DataFrame()
    done = study.trials[(study.trials["stage"] == stage) & (study.trials["state"] == COMPLETE)]
    rows = cells[keys].assign(cell=cells.index)
    return rows.merge(done.reset_index(names="run"), on=keys).set_index("cell")


def forest(axes: Axes, rows: pd.DataFrame, colours: Sequence[str]) -> None:
    """A row for each number, the first on top: columns label, value, low, high, NaN where not known."""
    for y, (row, colour) in enumerate(zip(rows.itertuples(), colours, strict=True)):
        axes.plot([row.low, row.high], [y, y], color=colour, linewidth=1.5, solid_capstyle="butt")
        axes.plot(row.value, y, "o", color=colour)
    axes.set_yticks(range(len(rows)), rows["label"])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def extremes(colours: Mapping[float, str], size: str) -> dict[str, str]:
    """The smallest and the largest level in words, with their colours, for a key that has no room for all."""
    levels = sorted(colours)
    return {f"{size} = {short(level)}": colours[level] for level in (*levels[:1], *levels[-1:])}


def on_grid(study: Study, values: pd.Series, size: str | None, data: str | None) -> pd.DataFrame:
    """Numbers of cells by two columns: sizes from the largest on top, data from the smallest; NaN where no cell is."""
    cells = study.cells.loc[values.index]
    rows, columns = (cells[axis] if axis else pd.Series("", cells.index) for axis in (size, data))
    long = pd.DataFrame({size or "": rows, data or " ": columns, "value": values.astype(float)})
    wide = long.pivot_table(index=size or "", columns=data or " ", values="value", dropna=False)
    wide = wide.sort_index(ascending=False).sort_index(axis=1)
    rows = long.assign(value=cells.index.to_numpy()).pivot_table("value", size or "", data or " ").reindex_like(wide)
    wide.attrs[NAMES] = ["" if np.isnan(row) else f"{row:.0f}" for row in rows.to_numpy(float).ravel()]
    return wide

"""Figures to files and into the page: PNG for slides, SVG and PDF for papers, SVG inside the HTML."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from mnist_scaling.reporting import figures
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import Plot, style
from mnist_scaling.reporting.marks import living, mark
from mnist_scaling.reporting.text import Missing

FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True)
class Shown:
    """One figure as the page has it."""

    plot: Plot
    svg: Markup | None
    """None where it could not be drawn; `note` says why."""
    note: str
    data: Any


def make_all(
    study: Study, folder: Path, formats: Sequence[str], dpi: int, plots: Sequence[Plot] = figures.FIGURES
) -> list[Shown]:
    """Prepare, draw and save figures; one that can't be drawn any more loses its old files. `dpi` is that of PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = {str(number): study.label(row) for number, row in study.cells.iterrows()}
    made = []
    for plot in plots:
        made.append(shown(plot, study, cells, keep=partial(save, folder=folder, formats=formats, dpi=dpi)))
        for suffix in FORMATS if made[-1].svg is None else ():
            (folder / f"{plot.name}.{suffix}").unlink(missing_ok=True)
    return made


def shown(
    plot: Plot, of: Any, cells: Mapping[str, str], prefix: str = "", keep: Callable[..., None] | None = None
) -> Shown:
    """A figure of a study, or of a pair of arms, as a page has it; `keep` saves it. The rest is as in `on_page`."""
    data = figures.prepare(plot, of)
    if isinstance(data, Missing):
        return Shown(plot, None, data.reason, data)
    figure = figures.draw(plot, data)
    svg = on_page(figure, plot.name, plot.title, cells, prefix)
    if keep:
        keep(figure, name=plot.name)
    return Shown(plot, svg, getattr(data, "note", ""), data)


def on_page(figure: Figure, name: str, title: str, cells: Mapping[str, str], prefix: str = "") -> Markup:
    """A figure as an element of a page: words are text, points know what they show, ids begin with the name.

    The title is for screen readers, `cells` is what readers see for the cell of a point, and the prefix stands before
    the names of cells where a page has those of several tables.
    """
    buffer, marks = io.StringIO(), mark(figure, prefix)
    with style.theme(), mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        figure.set_layout_engine(None)  # as in `save`
    return living(buffer.getvalue(), marks, cells, name, title)


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str], dpi: int) -> None:
    """Write a figure in every format; the same data give the same bytes."""
    metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}
    with style.theme():
        for suffix in formats:
            figure.savefig(folder / f"{name}.{suffix}", dpi=dpi, metadata=metadata[suffix])
            figure.set_layout_engine(None)  # one layout for all formats: with an engine, each is drawn twice

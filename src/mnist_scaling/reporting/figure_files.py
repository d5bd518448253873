"""Figures to files and into the page: PNG for slides, SVG and PDF for papers, SVG inside the HTML."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from mnist_scaling.reporting import figures
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures import Plot, style
from mnist_scaling.reporting.parts import Missing

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
    """Prepare, draw and save figures; one that can't be drawn any more loses its old files.

    Parameters
    ----------
    study : Study
    folder : Path
        Of the files; made where it is absent.
    formats : sequence of str
        Of `FORMATS`.
    dpi : int
        Of the PNGs.
    plots : sequence of Plot
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for plot in plots:
        data, svg = figures.prepare(plot, study), None
        if isinstance(data, Missing):
            for suffix in FORMATS:
                (folder / f"{plot.name}.{suffix}").unlink(missing_ok=True)
        else:
            svg = save(figures.draw(plot, data), folder, plot.name, formats, dpi)
        found.append(shown(plot, data, svg))
    return found


def shown(plot: Plot, data: Any, svg: str | None) -> Shown:
    """A figure as a page has it, from its data and the text of its SVG file; None where it could not be drawn."""
    if svg is None:
        return Shown(plot, None, data.reason, data)
    return Shown(plot, inline(svg, plot.name, plot.title), getattr(data, "note", ""), data)


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str], dpi: int) -> str:
    """Write a figure in every format and return its SVG; the same data give the same bytes."""
    text = as_svg(figure)
    with style.theme():
        figure.set_layout_engine("none")  # one layout for all formats, and no second search for it
        for suffix in formats:
            if suffix == "svg":
                (folder / f"{name}.svg").write_text(text, encoding="utf-8")
            else:
                metadata = {"CreationDate": None} if suffix == "pdf" else None
                figure.savefig(folder / f"{name}.{suffix}", dpi=dpi, metadata=metadata)
    return text


def as_svg(figure: Figure) -> str:
    """A figure as the text of an SVG file."""
    buffer = io.StringIO()
    with style.theme():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def inline(svg: str, name: str, title: str) -> Markup:
    """An SVG file as an element of a page: no prolog, no namespaces, ids of its own, no background.

    Parameters
    ----------
    svg : str
        What matplotlib wrote.
    name : str
        Prefix of the ids, so that two figures on one page never share one.
    title : str
        Read aloud by a screen reader.
    """
    text = svg[svg.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    view = re.search(r'viewBox="([^"]+)"', text)
    assert view is not None, "matplotlib writes a viewBox"
    text = re.sub(r"<svg[^>]*>", f'<svg viewBox="{view[1]}" role="img" aria-label="{escape(title)}">', text, count=1)
    # The first patch is the figure's white ground; the page has its own.
    text = re.sub(r"fill: #ffffff", "fill: none", text, count=1)
    return Markup(re.sub(r"\n\s*", "\n", text))

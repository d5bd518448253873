"""What a figure shows, point by point, as data of its SVG: a page joins points with rows, and tells what they are.

matplotlib writes an artist's gid as the id of a group that holds one element for each point. Before a figure is saved
every line, cloud and map gets a gid; afterwards the elements of its group are told apart by their order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from mnist_scaling.reporting.figures.style import CELLS

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
ElementTree.register_namespace("", SVG[1:-1])

LONGEST = 13
"""Points of a curve without markers that are kept."""

FONTS = "font-family: 'DejaVu Sans', Verdana, sans-serif"
"""Verdana is as wide, so that words end where the layout has them end."""

Data = dict[str, str]
"""Names and values of data attributes."""


@dataclass(frozen=True)
class Mark:
    """A line, a cloud of points, a map, or the error bars of one."""

    of_all: Data
    """What holds for all of it: the series, which is what a key of the figure calls its colour, and the colour."""
    points: Sequence[Data]
    """x and y, the ends of their error bars, a map's value; none of error bars themselves."""
    cells: Sequence[str]
    """Of each point; a single one where the whole is one cell's; none where none was named."""
    drawn: bool
    """Whether each point is an element of its own."""
    names: Data
    """What x and y are."""

    def cell(self, place: int) -> Data:
        """The cell of a point."""
        name = self.cells[place if len(self.cells) > 1 else 0] if self.cells else ""
        return {"cell": name} if name else {}


def mark(figure: Figure, prefix: str = "") -> dict[str, Mark | Data]:
    """Give panels, lines, clouds and maps of a figure gids, by which what they show is returned.

    Of a panel that is its title, and what x and y are. The prefix is put before the names of cells.
    """
    marks: dict[str, Mark | Data] = {}
    key = _key(figure)
    for place, axes in enumerate(figure.axes, 1):
        titles = [axes.get_title(loc) for loc in ("left", "center", "right")]
        axes.set_gid(f"panel-{place}")
        panel = next(filter(None, titles), f"panel {place}")
        names = {"x": _plain(axes.get_xlabel()), "y": _plain(axes.get_ylabel()), "value": _plain(panel)}
        marks[f"panel-{place}"] = {"panel": names["value"], "of-x": names["x"], "of-y": names["y"]}
        bars, parts = _bars(axes)
        for artist in (*axes.lines, *axes.collections):
            points, drawn = ([], False) if artist in parts else _points(artist, axes, bars.get(artist, {}))
            if points or artist in parts:
                label, colour = str(artist.get_label()), _colour(artist)
                series = key.get(colour, "") if label.startswith("_") else _plain(label)
                artist.set_gid(f"mark-{len(marks)}")
                of_all = {"series": series, "colour": colour} if series else {}
                marks[f"mark-{len(marks)}"] = Mark(
                    of_all, points, [cell and prefix + cell for cell in CELLS.get(artist, ())], drawn, names
                )
    return marks


def _plain(text: str) -> str:
    """Words of a figure without the marks of a formula."""
    text = re.sub(r"\\mathrm|[${}]", "", text.replace("\\partial", "∂").replace("\\propto", "∝"))
    return text.replace("\\", "").strip()


def _key(figure: Figure) -> dict[str, str]:
    """Colour to what the keys of the figure and of its panels call it."""
    names: dict[str, str] = {}
    for legend in filter(None, [*figure.legends, *(axes.get_legend() for axes in figure.axes)]):
        head = ""
        for handle, text in zip(legend.legend_handles, map(Text.get_text, legend.get_texts()), strict=True):
            if isinstance(handle, Line2D) and (_has_marker(handle) or handle.get_linestyle() != "None"):
                words = f"{head} {text}".strip() if text[:1].isdigit() else text
                names.setdefault(_colour(handle), _plain(words))
            else:
                head = text
    return names


def _colour(artist: Artist) -> str:
    """Of a line, or of a cloud or bars that have one; else empty."""
    if isinstance(artist, Line2D):
        return to_hex(artist.get_color())  # type: ignore[arg-type]
    colours = {to_hex(c) for c in (*artist.get_edgecolor(), *artist.get_facecolor())}  # type: ignore[attr-defined]
    return colours.pop() if len(colours) == 1 else ""


def _has_marker(line: Line2D) -> bool:
    return line.get_marker() not in ("", "None", None)


def _bars(axes: Axes) -> tuple[dict[Artist, dict[str, Any]], set[Artist]]:
    """Ends of error bars, by their line and by "x" and "y"; and the artists that they are drawn of."""
    ends: dict[Artist, dict[str, Any]] = {}
    parts: set[Artist] = set()
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            line, caps, bars = container.lines
            parts |= {*caps, *bars}
            names = "x" * container.has_xerr + "y" * container.has_yerr
            ends[line] = {name: bar.get_segments() for name, bar in zip(names, bars, strict=True)}
    return ends, parts


def _points(artist: Artist, axes: Axes, bars: Mapping[str, Any]) -> tuple[list[Data], bool]:
    """Points of an artist that shows data, and whether each is drawn; none of a line across the panel."""
    if isinstance(artist, QuadMesh):
        values: Any = np.ma.filled(np.ma.asarray(artist.get_array()), np.nan)
        y, x = map(_words, (axes.yaxis, axes.xaxis), values.shape)
        return [{"x": x[j], "y": y[i], "value": _digits(value)} for (i, j), value in np.ndenumerate(values)], True
    if isinstance(artist, PathCollection):
        xy, drawn = np.asarray(np.ma.filled(np.ma.asarray(artist.get_offsets()), np.nan), float), True
    elif isinstance(artist, Line2D) and artist.get_transform() == axes.transData:
        xy, drawn = np.asarray(artist.get_xydata(), float), _has_marker(artist)
    else:
        return [], False
    points = [{"x": _digits(x), "y": _digits(y)} for x, y in xy]
    for name, segments in bars.items():
        for point, ends in zip(points, segments if len(segments) == len(points) else (), strict=False):
            reach = ends[:, "xy".index(name)] if len(ends) else [0.0]
            if max(reach) > min(reach):
                point |= {f"{name}-low": _digits(min(reach)), f"{name}-high": _digits(max(reach))}
    return [point for point in points if point["x"] and point["y"]], drawn


def _words(axis: Axis, number: int) -> list[str]:
    """What the squares of a map are called along an axis: by its ticks, or by their place."""
    words = [tick.get_text() for tick in axis.get_ticklabels()]
    return words if len(words) == number else [str(i) for i in range(number)]


def _digits(value: float) -> str:
    return f"{value:.5g}" if np.isfinite(value) else ""


def living(svg: str, marks: Mapping[str, Mark | Data], cells: Mapping[str, str], name: str, title: str) -> Markup:
    """An SVG file as an element of a page, with the data of its marks (`mark`) on what it draws of them.

    `cells` is what readers see for a cell. The name begins the ids that are left, those of markers and clips, so that
    two figures of one page share none; the title is read aloud by a screen reader.
    """
    root = ElementTree.fromstring(svg)
    elements = [*root.iter()]
    for element in elements:
        _tidy(element, name)
    for element in elements:
        marked = marks.get(element.attrib.pop("id", "")) if element.tag == f"{SVG}g" else None
        if isinstance(marked, Mark):
            _tell(element, marked, cells)
        elif marked is not None:
            _set(element, marked)
    for metadata in root.findall(f"{SVG}metadata"):
        root.remove(metadata)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title, "style": FONTS}
    return Markup(ElementTree.tostring(root, encoding="unicode").replace(f' xmlns="{SVG[1:-1]}"', "", 1))


def _tidy(element: ElementTree.Element, name: str) -> None:
    """Two decimals, ids of its own, and the font left to the whole."""
    if element.tag not in (f"{SVG}text", f"{SVG}tspan", f"{SVG}style"):
        element.text = None
    element.tail = None
    for key, value in [*element.attrib.items()]:
        value = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
        value = re.sub(r";? ?font-family: [^;]*", "", value).replace("url(#", f"url(#{name}-").replace("\n", " ")
        value = re.sub(r"\s*([MLCQz])\s*", r"\1", value) if key == "d" else value
        if key == LINK:  # a page knows no prefixes, so that images of points would not show
            del element.attrib[key]
            key, value = "href", value.replace("#", f"#{name}-")
        elif key == "id" and element.tag != f"{SVG}g":
            value = f"{name}-{value}"
        element.attrib[key] = value.strip()


def _said(name: str, words: str, data: Data) -> str:
    """A number of a point with the ends of its bar, as its title has it."""
    bar = f" [{data[f'{name}-low']}, {data[f'{name}-high']}]" if f"{name}-low" in data else ""
    return f"{words or name}: {data[name]}{bar}"


def _set(element: ElementTree.Element, data: Data) -> None:
    element.attrib |= {f"data-{name}": value for name, value in data.items()}


def _tell(group: ElementTree.Element, one: Mark, cells: Mapping[str, str]) -> None:
    """Write a mark into its group: each point on its element, where there is one for each, else all on the group."""
    _set(group, one.of_all)
    if not one.points:
        return
    elements = [*group.iter(f"{SVG}use")] or group.findall(f"{SVG}path")
    if one.drawn and len(elements) == len(one.points):
        for place, (element, point) in enumerate(zip(elements, one.points, strict=True)):
            data = point | one.cell(place)
            lines = [cells.get(data.get("cell", ""), "") or one.of_all.get("series", "")]
            lines += [_said(name, words, data) for name, words in one.names.items() if data.get(name)]
            _set(element, data)
            ElementTree.SubElement(element, f"{SVG}title").text = "\n".join(filter(None, lines))
    else:
        step = -(-len(one.points) // LONGEST)
        _set(group, {"points": ";".join(f"{p['x']},{p['y']}" for p in one.points[::step])} | one.cell(0))

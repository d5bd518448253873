"""The index: every study, comparison and answer of multirun/ on one page, with what each says and a link to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from mnist_scaling.errors import InputError
from mnist_scaling.reporting.documents.comparison_json import read_comparison
from mnist_scaling.reporting.documents.fits_json import read_fits
from mnist_scaling.reporting.pages import draw
from mnist_scaling.reporting.text import TextTable
from mnist_scaling.study import layout
from mnist_scaling.study.files import DamagedFileError, read_json
from mnist_scaling.study.tables.csv_table import read_study_table

NAME = "index.html"
"""The page's file, in multirun/."""


def page(folder: Path) -> str:
    """The whole page of multirun/ as HTML; InputError when there is nothing in it."""
    tables = {
        "Studies": TextTable(["study", "cells", "what it says", "trust"], [*_studies(folder)]),
        "Comparisons": TextTable(["comparison", "what it says"], [*_comparisons(folder)]),
        "Answers": TextTable(["question", "scale", "answer"], [*_answers(folder)]),
    }
    filled = {title: table for title, table in tables.items() if table.rows}
    if not filled:
        raise InputError(f"`name=all` needs studies in {folder}/, but there are none: run one first.")
    return draw("index.html.j2", kicker="Index", folder=folder.name, tables=filled)


def _link(text: str, folder: Path, path: Path) -> str:
    """The text, linked to a page of that folder where there is one."""
    if not path.is_file():
        return text
    return Markup('<a href="{}">{}</a>').format(quote(path.relative_to(folder).as_posix()), text)


def _studies(folder: Path) -> Iterator[list[Any]]:
    for table in (
        *sorted(folder.glob(f"*/{layout.CELLS}")),
        *sorted(folder.glob(f"{layout.REFERENCE}/*/{layout.CELLS}")),
    ):
        name = table.parent.relative_to(folder).as_posix()
        try:
            cells: int | None = len(read_study_table(table))
            fits = read_fits(table.parent) if (table.parent / layout.FITS).is_file() else None
        except (InputError, DamagedFileError) as error:
            yield [name, None, str(error), ""]
            continue
        link = _link(name, folder, table.parent / layout.REPORT)
        if fits is None:
            yield [link, cells, "Not fitted yet.", ""]
        for arm in (fits.arms or (fits,)) if fits is not None else ():
            own = [Markup("{}: {}").format(link, arm.name), arm.data.n] if arm.name else [link, cells]
            yield [*own, arm.answer.sentence or arm.why, arm.answer.trust]


def _comparisons(folder: Path) -> Iterator[list[Any]]:
    for path in sorted(folder.glob(f"*/{layout.COMPARISON}")):
        try:
            comparison = read_comparison(path.parent)
        except DamagedFileError as error:
            yield [path.parent.name, str(error)]
            continue
        pairs = () if comparison is None else comparison.pairs or (comparison,)
        said = Markup("<br>").join(f"{pair.names[1]} against {pair.names[0]}: {pair.sentence}" for pair in pairs)
        yield [_link(path.parent.name, folder, path.with_name(layout.COMPARISON_PAGE)), said]


def _answers(folder: Path) -> Iterator[list[Any]]:
    for path in sorted((folder / layout.ANSWERS).glob("*/*.json")):
        try:
            record = read_json(path) or {}
        except DamagedFileError as error:
            yield [path.parent.name, path.stem, str(error)]
            continue
        for part in record.get("parts", [record]):
            title = part.get("title", path.parent.name)
            yield [
                _link(title, folder, path.with_suffix(".html")),
                path.stem,
                part.get("short") or part.get("sentence", ""),
            ]

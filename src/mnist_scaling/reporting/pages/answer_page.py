"""The page of an answer, or of several that belong together: sentence, figure, all numbers, commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.json_form import read
from mnist_scaling.reporting.pages import draw
from mnist_scaling.reporting.text import TextTable, plural
from mnist_scaling.reporting.words.in_short import in_table, trusted

TRUST = (
    "Trust is that of each number by itself: high where what it says is known to 10 %, fair to 30 %. An exponent says "
    "what four times the size, data or compute changes. What concerns all numbers stands above the figure."
)
"""Below the table of all numbers."""


@dataclass(frozen=True)
class Section:
    """One answer on a page."""

    record: Mapping[str, Any]
    """As its JSON file has it."""
    svg: Markup
    file: str
    """The figure's file, beside the page."""
    cells: TextTable
    """What the figure is of."""


def page(
    title: str, question: str, scale: str, sections: Sequence[Section], command: str, json: str, missing: str = ""
) -> str:
    """The whole page as HTML: one section, or one for each part.

    `command` makes the page again, `json` is the file with the same numbers, `missing` says which parts have none.
    """
    return draw(
        "answer.html.j2", kicker=f"Answer, scale {scale}", title=title, question=question, scale=scale,
        sections=[_section(section) for section in sections], command=command, json=json, missing=missing,
    )  # fmt: skip


def numbers_table(record: Mapping[str, Any], quoted: bool = False) -> TextTable:
    """All numbers of an answer, or those that its sentence quotes, without reasons; verdicts are of differences."""
    numbers = {slot: record["numbers"][slot] for slot in record["quoted" if quoted else "numbers"]}
    columns = {
        "number": [n["meaning"] for n in numbers.values()],
        "value and 95 % interval": [read(Interval, n) for n in numbers.values()],
        "verdict": [n["verdict"] for n in numbers.values()],
        "trust": [in_table(n["trust"], "" if quoted else "; ".join(n.get("reasons", ()))) for n in numbers.values()],
        "name in its JSON file": [] if quoted else [*numbers],
    }
    shown = {head: column for head, column in columns.items() if any(column)}
    return TextTable([*shown], [*map(list, zip(*shown.values(), strict=True))], TRUST)


def _section(section: Section) -> dict[str, Any]:
    record = section.record
    return {
        **{key: record[key] for key in ("name", "title", "question", "short", "sentence", "notes")},
        "trusted": trusted(record["trust"], record["reasons"]),
        "svg": section.svg,
        "file": section.file,
        "cells": section.cells,
        "numbers": numbers_table(record),
        "effort": f"{plural(record['cells'], 'cell')}, {record['minutes']:.1f} minutes of runs, added up.",
        "commands": [
            shlex.join(["python", "-m", "mnist_scaling.train", "-m", *study["overrides"]])
            for study in record["studies"].values()
        ],
    }

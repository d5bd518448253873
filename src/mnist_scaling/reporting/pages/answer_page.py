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


def _section(section: Section) -> dict[str, Any]:
    record = section.record
    rows = [
        [n["meaning"], read(Interval, n), in_table(n.get("trust", ""), "; ".join(n.get("reasons", ()))), slot]
        for slot, n in record["numbers"].items()
    ]
    return {
        **{key: record[key] for key in ("name", "title", "question", "short", "sentence", "notes")},
        "trusted": trusted(record["trust"], record["reasons"]),
        "svg": section.svg,
        "file": section.file,
        "cells": section.cells,
        "numbers": TextTable(["number", "value and 95 % interval", "trust", "name in its JSON file"], rows, TRUST),
        "effort": f"{plural(record['cells'], 'cell')}, {record['minutes']:.1f} minutes of runs, added up.",
        "commands": [
            shlex.join(["python", "-m", "mnist_scaling.train", "-m", *study["overrides"]])
            for study in record["studies"].values()
        ],
    }

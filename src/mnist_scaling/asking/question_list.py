"""The list of questions in the terminal: what each asks, what it costs, how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mnist_scaling.reporting.parts import Part, Sentence, TextTable


@dataclass(frozen=True)
class Row:
    """One question."""

    name: str
    question: str
    cells: int
    minutes: float | None
    """Predicted for all its studies on this machine; None where that is not known."""
    state: str


def listed(rows: Sequence[Row], scale: str) -> list[Part]:
    """The list, as the terminal draws it."""
    shown = []
    for row in rows:
        minutes = None if row.minutes is None else f"{row.minutes:.1f}" if row.minutes < 10 else f"{row.minutes:.0f}"
        shown.append([Markup("<b>{}</b>").format(row.name), row.question, row.cells or None, minutes, row.state])
    title = f"Questions at scale={scale}: minutes as predicted for this machine, shared studies counted in each"
    return [
        TextTable(["question", "asks", "cells", "minutes", "state"], shown, title=title, right=(2, 3)),
        Sentence(f"Answer one with: python -m mnist_scaling.ask question=NAME scale={scale}", apart=True),
    ]

"""What a report is made of: tables and sentences as data, which the terminal and the pages draw alike.

Text may hold the few marks of HTML that words need (b, sup, sub, br), as `Markup`; a plain string is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.text import DASH, estimate

NORMAL, STRONG, QUIET, WARNING, ERROR, INFO, GOOD = "", "strong", "quiet", "warning", "error", "info", "good"
"""Tones of a sentence."""


@dataclass(frozen=True)
class Missing:
    """Why a figure can't be drawn, as a sentence for the reader."""

    reason: str


@dataclass(frozen=True)
class Sentence:
    """One or more sentences in one tone."""

    text: str
    tone: str = NORMAL
    lead: str = ""
    """The first words, where only they have the tone."""
    apart: bool = False
    """Whether a line is left free before it."""


@dataclass(frozen=True)
class TextTable:
    """A head and rows. A cell is text, a whole number, an `Interval`, or None where there is nothing."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    """For the page."""
    title: str = ""
    """For the terminal; a page has headings of its own."""
    ids: Sequence[str] = ()
    """The cell that each row is about, as figures name it; empty where rows are of no cell."""
    right: Sequence[int] = ()
    """Columns that are aligned to the right."""
    aside: int | None = None
    """A column of prose, which a terminal writes below the table, led by the row's first cell."""

    @property
    def cells(self) -> dict[str, str]:
        """What readers see for the cell of a row: its first two columns."""
        words = [", ".join(f"{h} {v}" for h, v in list(zip(self.head, row, strict=True))[:2]) for row in self.rows]
        return dict(zip(self.ids, words, strict=True))


Part = TextTable | Sentence


def cell_text(cell: Any) -> str:
    """A cell as text, which may be `Markup`."""
    if cell is None:
        return DASH
    if isinstance(cell, Interval):
        return estimate(cell)
    return cell if isinstance(cell, str) else str(cell)

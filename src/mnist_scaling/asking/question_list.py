"""The list of questions in the terminal: what each asks, what it costs, how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One question."""

    name: str
    question: str
    cells: int
    minutes: float | None
    """Predicted for all its studies on this machine; None where that is not known."""
    state: str


def show(rows: Sequence[Row], scale: str, console: Console | None = None) -> None:
    """Print the list.

    Parameters
    ----------
    rows : sequence of Row
    scale : str
    console : rich Console, optional
    """
    console = console or Console()
    table = Table("question", "asks", "cells", "minutes", "state", box=None, pad_edge=False, title_justify="left")
    table.title = f"Questions at scale={scale}: minutes as predicted for this machine, shared studies counted in each"
    for column in (2, 3):
        table.columns[column].justify = "right"
    for row in rows:
        minutes = "—" if row.minutes is None else f"{row.minutes:.1f}" if row.minutes < 10 else f"{row.minutes:.0f}"
        cells = str(row.cells) if row.cells else "—"
        table.add_row(f"[bold]{row.name}[/]", escape(row.question), cells, minutes, escape(row.state))
    console.print(table, highlight=False)
    console.print(f"\nAnswer one with: python -m mnist_scaling.ask question=NAME scale={scale}", soft_wrap=True)

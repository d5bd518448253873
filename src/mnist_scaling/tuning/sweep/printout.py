"""What a finished sweep prints: the tuned test loss of every cell, and how many cells are tuned."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mnist_scaling.study import files, layout
from mnist_scaling.study.flags import SEARCH_EDGE
from mnist_scaling.study.tables import trials_and_cells
from mnist_scaling.study.vocabulary import NO, YES


def show(folder: Path, console: Console | None = None) -> None:
    """Print the loss of every cell, as a matrix where the grid has two axes, and where the tables are."""
    console = console or Console()
    cells = trials_and_cells.read_table(folder / layout.CELLS)
    study = files.read_json(folder / layout.STUDY) or {}
    axes = [column for column in study["axes"] if cells[column].nunique() > 1]
    loss = "test_loss" if cells["test_loss"].notna().any() else "val_loss"
    by = f", by {axes[0]} (rows) and {axes[1]}" if len(axes) == 2 else ""
    console.print(f"{loss} of the tuned cells{by}", highlight=False)
    console.print(_matrix(cells, axes, loss) if len(axes) == 2 else _list(cells, axes, loss))
    untuned = cells["val_loss"].isna().sum()
    if untuned:
        console.print(f"[yellow]{untuned} cells have no finished trial; see {folder / layout.TRIALS}.[/]")
    edges = cells["flags"].astype(object).fillna("").astype(str).str.contains(SEARCH_EDGE).sum()
    if edges:
        console.print(f"[yellow]{edges} of {len(cells)} cells have their optimum at an edge of the search space.[/]")
    if sentence := _certified(cells):
        console.print(escape(sentence), highlight=False, soft_wrap=True)
    console.print(f"Tables: {folder / layout.TRIALS}, {folder / layout.CELLS}")
    console.print(f"Next:   python -m mnist_scaling.fit {layout.name_argument(folder)}", highlight=False)


def _certified(cells: pd.DataFrame) -> str:
    """How many cells are certified tuned, and which limits of ranges their settings reach; empty where none is judged.

    docs/tuning.md has the certificate.
    """
    judged = cells.reindex(columns=["tuned", "limits"])
    judged = judged[judged["tuned"].isin([YES, NO])]
    if judged.empty:
        return ""
    done = f"{(judged['tuned'] == YES).sum()} of {len(judged)} cells are certified tuned"
    reached = Counter(column for text in judged["limits"].dropna() for column in str(text).split(";"))
    if not reached:
        return f"{done}."
    where = ", ".join(f"{column} is at its limit in {n} cell{'s' * (n != 1)}" for column, n in reached.items())
    return f"{done} within limits: {where}."


def _matrix(cells: pd.DataFrame, axes: list[str], loss: str) -> Table:
    rows, columns = axes
    table = Table()
    table.add_column(rows, justify="right")
    wide = cells.pivot_table(index=rows, columns=columns, values=loss, dropna=False)
    for value in wide.columns:
        table.add_column(f"{value:g}" if isinstance(value, float) else escape(str(value)), justify="right")
    for value, losses in wide.iterrows():
        table.add_row(escape(str(value)), *(f"{x:.4f}" if pd.notna(x) else "–" for x in losses))
    return table


def _list(cells: pd.DataFrame, axes: list[str], loss: str) -> Table:
    table = Table()
    for column in (*axes, "n_params", "n_seen", loss, "n_trials", "n_repeats"):
        table.add_column(column, justify="right")
    for row in cells.to_dict("records"):
        values = [row[column] for column in (*axes, "n_params", "n_seen", loss, "n_trials", "n_repeats")]
        table.add_row(
            *(
                f"{v:.4f}" if isinstance(v, float) and v % 1 else f"{v:g}" if isinstance(v, float) else escape(str(v))
                for v in values
            )
        )
    return table

"""What a sweep prints: before it trains what it will do, on its way how far it is, at its end what came out."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.text import Text

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, identity, layout
from mnist_scaling.study.columns import CELL_COLUMNS, DIVERGED_VALUE, NO, TRIAL, YES
from mnist_scaling.study.console import clock, make_console
from mnist_scaling.study.flags import FEWEST_ROWS
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.tuning.cell.search_space import EDGE
from mnist_scaling.tuning.sweep import forecast
from mnist_scaling.tuning.sweep.forecast import BUSY, Sweep
from mnist_scaling.tuning.sweep.ledger import Ledger

_PRIOR_SECONDS = 10.0
"""Weight of the predicted pace against the measured one: seconds of the clock."""


def show_plan(sweep: Sweep, ledger: Ledger, console: Console | None = None) -> None:
    """Print what a sweep will do, given what the study's folder holds."""
    say = functools.partial((console or make_console()).print, highlight=False, markup=False, soft_wrap=True)
    axes: dict[str, dict[str, None]] = {}
    for cell in sweep.cells:
        for key, value in cell.keys.items():
            axes.setdefault(key, {})[_number(value)] = None
    asked = {key.lstrip("+"): len(set(values)) for key, values in sweep.parts.axes.items()}
    fewer = [f"{len(axes[key])} of {n} values of {key}" for key, n in asked.items() if len(axes.get(key, range(n))) < n]
    thinned = f"(Scale, or hydra.sweeper.max_values_per_axis, keeps the ends of each axis: {' and '.join(fewer)}.)"
    tuned = [f"{key}: {identity.range_in_words(cell.ranges[key])}" for cell in sweep.cells for key in cell.space]
    said = {
        "axes": [f"{key} = {', '.join(values)}" for key, values in axes.items()] + [thinned] * bool(fewer)
        or ["none: one cell"],
        "tuned": list(dict.fromkeys(tuned)) or ["nothing: one trial per cell"],
        "fixed": [" ".join(sweep.parts.fixed) or "everything else, at its default"],
        "runs": [_runs(sweep, ledger)],
    }
    say(f"This study: {sweep.folder}")
    for label, lines in said.items():
        for place, line in enumerate(lines):
            say(f"{'' if place else label:6}{line}")


def _runs(sweep: Sweep, ledger: Ledger) -> str:
    """How many runs there are, how many of them are done, and about how long the others take."""
    n = len(sweep.cells)
    total = sum(sweep.trials(cell) + sweep.repeats(cell) for cell in sweep.cells)
    left = {c.name: sweep.left(c, len(ledger.trials(c)), len(ledger.repeats(c))) for c in sweep.cells}
    to_do = sum(trials + repeats for trials, repeats in left.values())
    efforts = [sweep.method.effort.of(cell) for cell in sweep.cells]
    trials, repeats = [effort.n_trials for effort in efforts], [effort.n_repeats for effort in efforts]
    per_cell = f"{_span(trials)} trial{'s' * (max(trials) != 1)} + {_span(repeats)} repeats"
    most = ""
    if total > sum(trials) + sum(repeats):  # a cell whose untuned setting is the best repeats it once
        per_cell, most = f"{per_cell} + {_span(repeats)} of the untuned setting", "at most "
    said = (
        f"{n} cell{'s' * (n != 1)} × ({per_cell}) = {most}{total:,} runs; {total - to_do:,} done, {most}{to_do:,} to do"
    )
    if to_do and sweep.workers is not None and sweep.cells[0].task.predicts_seconds:
        said += f"; about {clock(forecast.seconds(sweep, left))}, as predicted, with {sweep.workers} at a time"
    return said


def _span(counts: Sequence[int]) -> str:
    """A number that all cells share, or the least and the greatest, as a list of cells may give them."""
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass
class CellLeft:
    """What is still to do in a cell."""

    trials: int
    repeats: int
    cost: float
    """Predicted seconds of one run."""
    begun: bool = False
    """Whether a run of it was handed to a worker."""

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if self.trials + self.repeats <= 0:
            return "done"
        return "queued" if not self.begun else "tuning" if self.trials > 0 else "repeating"

    @property
    def work(self) -> float:
        """Predicted seconds of the runs that are left."""
        # A cell that goes on may select another setting, and then has more repeats to do than was known.
        return max(self.trials + self.repeats, 0) * self.cost


STATES = {"queued": "·", "tuning": "▸", "repeating": "▪", "done": "✓"}
MOST_ROWS = 16
"""Of a grid on a terminal; a larger one has the bar alone."""


def grid_of(cells: Mapping[str, CellLeft], width: int = 80) -> str:
    """A mark for the state of each cell, one row per value of the first axis; empty where they are too many."""
    rows: dict[str, str] = {}
    for name, cell in cells.items():
        first, _, others = name.partition(" ")
        row = first if others else ""
        rows[row] = rows.get(row, "") + f" {STATES[cell.state]}"
    longest = max(map(len, rows), default=0)
    lines = [f"{row:{longest}}{marks}" for row, marks in rows.items()]
    lines.append("  ".join(f"{mark} {state}" for state, mark in STATES.items()))
    return "\n".join(lines) if len(rows) <= MOST_ROWS and max(map(len, lines)) <= width else ""


class _BarAndGrid(Progress):
    """The bar, and below it the cells while some of them are left."""

    def __init__(self, cells: Mapping[str, CellLeft], *shown: ProgressColumn, console: Console) -> None:
        self.cells, self.screen = cells, console
        super().__init__(*shown, console=console, disable=not console.is_terminal)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        left = any(cell.state != "done" for cell in self.cells.values())
        if left and (grid := grid_of(self.cells, self.screen.width)):
            yield Text(grid)


class StudyProgress:
    """One bar over all runs of a study, and its cells, on a terminal; elsewhere `line` prints a line now and then.

    The time left is max(W, workers * longest) / v. W is the work that is left, in predicted seconds, longest the most
    of it in one cell, whose trials wait for each other, and v the work that was done per second so far.
    """

    def __init__(
        self, cells: Mapping[str, CellLeft], workers: int | None = None, console: Console | None = None
    ) -> None:
        self.console = console or make_console()
        self.cells, self.workers = dict(cells), workers or 1
        self._best = inf
        self._done, self._started = 0.0, time.monotonic()
        shown = TextColumn("[bold]{task.fields[left]}"), BarColumn(bar_width=10), TextColumn("{task.fields[text]}")
        self.bar = _BarAndGrid(self.cells, *shown, console=self.console)
        self._task = self.bar.add_task("", total=1.0)
        self._draw()

    def seen(self, stage: str, cell: str, val_loss: float | None) -> None:
        """Count a finished run of a cell."""
        left = self.cells[cell]
        if stage == TRIAL:
            left.trials -= 1
            self._best = min(self._best, inf if val_loss is None else val_loss)
        else:
            left.repeats -= 1
        self._done += left.cost
        self._draw()

    def line(self) -> None:
        """One line of plain text where there is no terminal to redraw."""
        if not self.console.is_terminal:
            _, left, text = self._words()
            self.console.print(f"{left} · {text}", highlight=False, soft_wrap=True)

    def seconds_left(self) -> float:
        """Seconds until the study ends."""
        work = [cell.work for cell in self.cells.values()]
        seconds = _PRIOR_SECONDS + time.monotonic() - self._started
        pace = (self._done + _PRIOR_SECONDS * self.workers / BUSY) / seconds
        return max(sum(work), self.workers * max(work, default=0.0)) / pace

    def _draw(self) -> None:
        share, left, text = self._words()
        self.bar.update(self._task, completed=share, left=left, text=text)

    def _words(self) -> tuple[float, str, str]:
        """Share of the work that is done, the time left, and how far the cells are."""
        n, cells = len(self.cells), self.cells.values()
        total = self._done + sum(cell.work for cell in cells)
        share = self._done / total if total else 1.0
        tuned = sum(cell.trials <= 0 for cell in cells)
        repeated = sum(cell.trials + cell.repeats <= 0 for cell in cells)
        best = f" · best {self._best:.4f}" if self._best < inf else ""
        text = f"{100 * share:.0f}% · tuned {tuned}/{n} · repeated {repeated}/{n}{best}"
        return share, f"{clock(self.seconds_left())} left", text


def show_result(folder: Path, console: Console | None = None) -> None:
    """Print the loss of every cell, as a matrix where the grid has two axes; InputError, with the reason, for none."""
    say = functools.partial((console or make_console()).print, highlight=False, markup=False, soft_wrap=True)
    cells, trials = read_table(folder / layout.CELLS), read_table(folder / layout.TRIALS)
    cells = cells.reindex(columns=[*dict.fromkeys((*cells, *CELL_COLUMNS))])  # a program may lack some
    study = files.read_json(folder / layout.STUDY) or {}
    axes = [column for column in study["axes"] if cells[column].nunique() > 1]
    loss = next((c for c in ("test_loss", "repeat_val_loss") if cells[c].notna().any()), "val_loss")
    say(f"{loss} of the tuned cells" + (f", by {axes[0]} (rows) and {axes[1]}" if len(axes) == 2 else ""))
    say(table_of(cells, axes, loss))
    if failure := _failure(folder, cells, trials):
        say(failure, style="yellow")
    if sentence := _certified_share(cells):
        say(sentence)
    if len(cells) and (cells["repeat_val_loss_se"] == 0).all():
        say("Note: all repeats of a setting have one and the same loss: does the program use its seed?")
    say(f"Tables: {folder / layout.TRIALS}, {folder / layout.CELLS}")
    say(_next(folder, cells, axes, loss))


def table_of(cells: pd.DataFrame, axes: Sequence[str], loss: str) -> str:
    """The losses of the cells as text: a matrix of two axes, or a line for each cell."""
    if len(axes) == 2:
        wide = cells.pivot_table(index=axes[0], columns=axes[1], values=loss, dropna=False)
        return wide.rename(index=_number, columns=_number).to_string(float_format="{:.4f}".format, na_rep="–")
    sizes = [column for column in ("n_params", "n_seen") if cells[column].notna().any()]
    shown = cells[[*axes, *sizes, loss, "n_trials", "n_repeats"]]
    return shown.to_string(index=False, float_format=lambda x: f"{x:.4f}" if x % 1 else f"{x:g}", na_rep="–")


def _failure(folder: Path, cells: pd.DataFrame, trials: pd.DataFrame) -> str:
    """How many cells have no loss, with the first error, and what to do; empty where all have one."""
    n = int(cells["val_loss"].isna().sum())
    if not n:
        return ""
    errors = trials["error"].dropna()
    first = "" if errors.empty else f", the first error: {str(errors.iloc[0]).strip().splitlines()[-1]}"
    if n == len(cells):
        ended = ", ".join(f"{n} {state}" for state, n in trials["state"].value_counts().items())
        raise InputError(
            f"A study must have a trial that ends with a loss, but in {folder} none does ({ended}{first}): mend what "
            "failed, or lower the learning rates, and give the new study another `name=`. (A loss of "
            f"{DIVERGED_VALUE:g} or more counts as diverged: divide it by a constant, which changes no exponent.)"
        )
    return (
        f"{n} cell{' has' if n == 1 else 's have'} no finished trial{first}. A run that failed is not made again by "
        "itself: once this is mended, delete the folders of these cells, and give the same command again."
    )


def _certified_share(cells: pd.DataFrame) -> str:
    """How many cells are certified tuned, and which limits of ranges their settings reach; empty where none is judged.

    docs/tuning.md has the certificate.
    """
    judged = cells[cells["tuned"].isin([YES, NO])]
    if judged.empty:
        return ""
    done = f"{(judged['tuned'] == YES).sum()} of {len(cells)} cells are certified tuned"
    reached = Counter(column for text in judged["limits"].dropna() for column in str(text).split(";"))
    if not reached:
        return f"{done}."
    where = ", ".join(f"{column} is at its limit in {n} cell{'s' * (n != 1)}" for column, n in reached.items())
    return f"{done} within limits: {where} (within {100 * EDGE:g} % of its range from it)."


def _next(folder: Path, cells: pd.DataFrame, axes: Sequence[str], loss: str) -> str:
    """The command that follows, or what is to do first: for more cells."""
    measured = [column for column in ("n_params", "n_seen") if cells[column].notna().any()]
    repeated = cells[cells[loss].notna()] if loss != "val_loss" else cells[:0]
    sizes = len(repeated.drop_duplicates(measured or axes))
    if sizes < FEWEST_ROWS:
        return (
            f"A fit needs {FEWEST_ROWS} sizes of model or data with a test loss, and this study has {sizes}: give an "
            "axis more values" + ("." if sizes else ", and repeats (hydra.sweeper.n_repeats).")
        )
    numbers = [] if measured else [axis for axis in axes if pd.api.types.is_numeric_dtype(cells[axis])]
    roles = "".join(f" columns.{role}={axis}" for role, axis in zip("ND", numbers, strict=False))
    return f"Next:   python -m mnist_scaling.fit {layout.name_argument(folder.absolute())}{roles}"

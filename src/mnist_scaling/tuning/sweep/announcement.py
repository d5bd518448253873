"""What a sweep prints: before it trains what it has understood, as one table, and at its end what came out."""

from __future__ import annotations

import functools
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, identity, layout
from mnist_scaling.study.columns import CELL_COLUMNS
from mnist_scaling.study.console import make_console
from mnist_scaling.study.flags import FEWEST_ROWS, SEARCH_EDGE
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.study.vocabulary import COMPLETE, DIVERGED_VALUE, NO, REPEAT, YES
from mnist_scaling.tuning.grid import partitioning
from mnist_scaling.tuning.grid.composition import Cell
from mnist_scaling.tuning.grid.partitioning import Partition
from mnist_scaling.tuning.sweep import forecast
from mnist_scaling.tuning.sweep.forecast import Sweep
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.sweep.progress import clock

DEVICE = "device"
"""The one line of `Task.about` that is told together with how many runs go on side by side."""

_WIDE = 10.0
"""A linear range whose upper end is this many times the lower one may have been meant to be logarithmic."""


def show_plan(sweep: Sweep, ledger: Ledger, console: Console | None = None) -> None:
    """Print the table, and below it what may have been meant otherwise.

    Parameters
    ----------
    sweep : Sweep
    ledger : Ledger
        What the study's folder holds already.
    console : rich Console, optional
    """
    console = console or make_console()
    table = Table(box=None, show_header=False, pad_edge=False, title=f"This study: {escape(str(sweep.folder))}")
    table.title_justify = "left"
    for label, lines in _rows(sweep, ledger):
        for place, line in enumerate(lines):
            table.add_row("" if place else f"[bold]{label}[/]", escape(line))
    console.print(table, highlight=False)
    idle = forecast.idle_workers(sweep)
    for remark in [*remarks(sweep.parts, sweep.most), *([idle] if idle else [])]:
        console.print(f"[yellow]Note:[/] {escape(remark)}", highlight=False, soft_wrap=True)


def _rows(sweep: Sweep, ledger: Ledger) -> list[tuple[str, list[str]]]:
    about: dict[str, dict[str, None]] = {}
    for cell in sweep.cells:
        for label, line in cell.task.about(cell.values).items():
            about.setdefault(label, {})[line] = None
    device = ", ".join(about.pop(DEVICE, ()))
    side_by_side = "as many runs at a time as the launcher has room for"
    if sweep.workers is not None:
        side_by_side = f"{sweep.workers} run{'s' * (sweep.workers != 1)} at a time"
    return [
        ("axes", _axes(sweep) or ["none: one cell"]),
        ("tuned", _tuned(sweep.cells) or ["nothing: one trial per cell"]),
        ("fixed", _fixed(sweep) or ["everything else, at its default"]),
        *([("data", list(sweep.data))] if sweep.data else []),
        *((label, list(lines)) for label, lines in about.items()),
        ("tuner", [str(sweep.method)]),
        (DEVICE, [f"{device}; {side_by_side}"]) if device else ("workers", [side_by_side]),
        ("runs", _runs(sweep, ledger)),
    ]


def _axes(sweep: Sweep) -> list[str]:
    """Each axis with the values that are kept of it."""
    values: dict[str, dict[str, None]] = {}
    for cell in sweep.cells:
        for key, value in cell.keys.items():
            values.setdefault(key, {})[_number(value)] = None
    given = {key.lstrip("+"): len(texts) for key, texts in sweep.parts.axes.items()}
    return [
        f"{key} = {', '.join(kept)}" + (f"   ({len(kept)} of {given[key]})" if len(kept) < given.get(key, 0) else "")
        for key, kept in values.items()
    ]


def _tuned(cells: Sequence[Cell]) -> list[str]:
    """Each tuned key with its range; where swept config groups bring their own, one line for each."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for cell in cells:
        group = " ".join(f"{key}={value}" for key, value in cell.keys.items() if "." not in key)
        for key in cell.space:
            found.setdefault(key, {}).setdefault(identity.range_in_words(cell.ranges[key]), {})[group] = None
    return [
        f"{key}: {text}" + (f"   ({', '.join(groups)})" if len(texts) > 1 else "")
        for key, texts in found.items()
        for text, groups in texts.items()
    ]


def _fixed(sweep: Sweep) -> list[str]:
    """What all cells share that is no default, and what would be tuned were it not fixed."""
    cells = sweep.cells
    common = identity.of([(cell.settings, cell.ranges, cell.keys) for cell in cells]).settings
    swept = {key for cell in cells for key in (*cell.keys, *cell.space)}
    untuned = [key for key, spec in sweep.parts.space.items() if spec is None and key not in swept]
    values = cells[0].values
    told = {key: _number(value) for key, value in common.items() if key not in identity.CHECKSUMS}
    if values.get("init_from") is not None and "init_sha256" in values and "init_from" not in swept:
        mark = f"   (sha256 {common['init_sha256'][:12]}…)" if "init_sha256" in common else "   (and so for each cell)"
        told["init_from"] = values["init_from"] + mark
    told |= {key: f"{_number(values[key])}   (not tuned)" for key in untuned if key in values}
    return [f"{key} = {text}" for key, text in sorted(told.items())]


def _runs(sweep: Sweep, ledger: Ledger) -> list[str]:
    """How many runs there are, how many of them are done, and about how long the others take."""
    n = len(sweep.cells)
    total = sum(sweep.trials(cell) + sweep.repeats(cell) for cell in sweep.cells)
    left = {c.name: sweep.left(c, len(ledger.trials(c)), len(ledger.repeats(c))) for c in sweep.cells}
    to_do = sum(trials + repeats for trials, repeats in left.values())
    trials, repeats = ([count(cell) for cell in sweep.cells] for count in (sweep.trials, sweep.own_repeats))
    per_cell = f"{_span(trials)} trial{'s' * (max(trials) != 1)} + {_span(repeats)} repeats"
    most = ""
    if total > sum(trials) + sum(repeats):  # a cell whose untuned setting is the best repeats it once
        per_cell, most = f"{per_cell} + {_span(repeats)} of the untuned setting", "at most "
    lines = [
        f"{n} cell{'s' * (n != 1)} × ({per_cell}) = {most}{total:,} runs; {total - to_do:,} done, {most}{to_do:,} to do"
    ]
    if to_do and sweep.workers is not None and sweep.cells[0].task.predicts_seconds:
        lines.append(f"about {clock(forecast.seconds(sweep, left))}, as predicted; what is left is measured on the way")
    return lines


def _span(counts: Sequence[int]) -> str:
    """A number that all cells share, or the least and the greatest, as a list of cells may give them."""
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def remarks(parts: Partition, most: int | None) -> list[str]:
    """What was taken one way and may have been meant another, with what to write for the other."""
    found = []
    for key, spec in parts.space.items():
        if spec is not None and "(" not in spec and "," in spec:
            n = len(spec.split(","))
            found.append(
                f"{key}={spec} gives the tuner {n} values to choose from in every cell, because {key} is tuned; for "
                f"an axis with {n} values write search_space.{key}=null {key}={spec}"
            )
        elif spec is not None and spec.startswith("interval("):
            interval: Any = OverridesParser.create().parse_override(f"key={spec}").value()
            if float(interval.start) > 0 and float(interval.end) >= _WIDE * float(interval.start):
                found.append(
                    f"'{key}={spec}' is searched on a linear scale; for a log scale write '{key}=tag(log,{spec})'"
                )
    for key, values in parts.axes.items():
        kept = partitioning.thinned(values, most)
        if dropped := [value for value in values if value not in kept]:
            found.append(
                f"{key.lstrip('+')} leaves out {', '.join(dropped)}, because hydra.sweeper.max_values_per_axis "
                f"is {most}"
            )
    return found


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def show_result(folder: Path, console: Console | None = None) -> None:
    """Print the loss of every cell, as a matrix where the grid has two axes, and where the tables are.

    Raises
    ------
    InputError
        When no trial has a loss, with the reason.
    """
    say = functools.partial((console or make_console()).print, highlight=False, markup=False, soft_wrap=True)
    cells, trials = read_table(folder / layout.CELLS), read_table(folder / layout.TRIALS)
    cells = cells.reindex(columns=[*dict.fromkeys((*cells, *CELL_COLUMNS))])  # a program may lack some
    study = files.read_json(folder / layout.STUDY) or {}
    axes = [column for column in study["axes"] if cells[column].nunique() > 1]
    loss = next((c for c in ("test_loss", "repeat_val_loss") if cells[c].notna().any()), "val_loss")
    say(f"{loss} of the tuned cells" + (f", by {axes[0]} (rows) and {axes[1]}" if len(axes) == 2 else ""))
    say(table_of(cells, axes, loss))
    untuned = cells[cells["val_loss"].isna()][study["axes"]]
    if len(untuned):
        if len(untuned) == len(cells):
            raise InputError(_no_loss(folder, trials))
        have = "1 cell has" if len(untuned) == 1 else f"{len(untuned)} cells have"
        say(f"{have} no finished trial; see {folder / layout.TRIALS}.", style="yellow")
        if sentence := _failed(folder, trials, untuned):
            say(sentence)
    edges = cells["flags"].astype(object).fillna("").astype(str).str.contains(SEARCH_EDGE).sum()
    if edges:
        say(f"{edges} of {len(cells)} cells have their optimum at an edge of the search space.", style="yellow")
    if sentence := _certified_share(cells):
        say(sentence)
    if len(cells) and (cells["repeat_val_loss_se"] == 0).all():
        say("Note: all repeats of a setting have one and the same loss: does the program use its seed?")
    if sentence := _gaps(trials, study):
        say(f"Note: {sentence}")
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


def _failed(folder: Path, trials: pd.DataFrame, cells: pd.DataFrame) -> str:
    """The first error of cells without a loss, from their axes, and how their runs are made again; empty without."""
    failed = trials.merge(cells) if len(cells.columns) else trials
    failed = failed[failed["error"].notna()]
    if failed.empty:
        return ""
    place = folder.joinpath(*layout.cell_parts(dict(failed.iloc[0][[*cells.columns]])))
    such = f", such as by rm -r {shlex.quote(str(place))}," if place.is_dir() else ""
    return (
        f"The first error: {_last_line(failed)}. A run that failed is not made again by itself: once this is mended, "
        f"delete the folders of these cells{such} and give the same command again."
    )


def _last_line(failed: pd.DataFrame) -> str:
    """The last line of the first error."""
    return str(failed["error"].iloc[0]).strip().splitlines()[-1]


def _no_loss(folder: Path, trials: pd.DataFrame) -> str:
    """That no run of a study ended with a loss, how they ended, and the first error."""
    ended = ", ".join(f"{n} {state}" for state, n in trials["state"].value_counts().items())
    failed = trials[trials["error"].notna()]
    first = "" if failed.empty else f", the first with {_last_line(failed)}"
    return (
        f"A study must have a trial that ends with a loss, but in {folder} none does ({ended}{first}): mend what "
        "failed, or lower the learning rates, and give the new study another `name=`. (A loss of "
        f"{DIVERGED_VALUE:g} or more counts as diverged: divide it by a constant, which changes no exponent.)"
    )


def _gaps(trials: pd.DataFrame, study: Mapping[str, Any]) -> str:
    """Which numbers some repeats have measured and others have not; empty where all agree."""
    repeats = trials[(trials["stage"] == REPEAT) & (trials["state"] == COMPLETE)]
    measured = repeats.drop(columns=[*study["axes"], *study["tuned"], "origin", "error", "flags"], errors="ignore")
    gaps = [f"{name} in {n}" for name, n in measured.isna().sum().items() if 0 < n < len(repeats)]
    if not gaps:
        return ""
    return (
        f"of {len(repeats)} repeats some lack a number ({', '.join(gaps)}), and the means of their cells are empty: "
        "return the same numbers in each run."
    )


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
    is_here = folder.absolute().parent == Path(layout.MULTIRUN).absolute()
    named = layout.name_argument(folder) if is_here else layout.path_argument(folder.absolute())
    numbers = [] if measured else [axis for axis in axes if pd.api.types.is_numeric_dtype(cells[axis])]
    roles = "".join(f" columns.{role}={axis}" for role, axis in zip("ND", numbers, strict=False))
    return f"Next:   python -m mnist_scaling.fit {named}{roles}"


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
    return f"{done} within limits: {where}."

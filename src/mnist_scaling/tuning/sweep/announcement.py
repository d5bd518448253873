"""What a sweep has understood, as one table before it trains: axes, tuned keys, fixed keys, runs, time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mnist_scaling.config import RunConfig
from mnist_scaling.study import identity
from mnist_scaling.study.vocabulary import REPEAT, TRIAL
from mnist_scaling.tuning.grid import partitioning
from mnist_scaling.tuning.grid.partitioning import Cell, Partition
from mnist_scaling.tuning.sweep import parallelism
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.sweep.progress import BUSY
from mnist_scaling.tuning.trainer import DataFacts

OVERHEAD = 0.2
"""Seconds that a worker spends per run on all but training: composing, recording, waiting for its turn."""

_WIDE = 10.0
"""A linear range whose upper end is this many times the lower one may have been meant to be logarithmic."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that is ready to train."""

    folder: Path
    parts: Partition
    """What the overrides were taken for."""
    cells: Sequence[Cell]
    facts: Sequence[DataFacts]
    """What is known of the data sets."""
    n_trials: int
    n_repeats: int
    method: str
    """Sampler, pruner and rule of transfer."""
    most: int | None
    """Values that are kept of each axis."""
    workers: int | None
    """Runs at a time; None where the launcher decides."""
    cost: Callable[[RunConfig], float]
    """Predicted seconds of a run on an idle core."""
    transfer: str
    """Rule of transfer: which cells wait for which."""
    trials_per_batch: int

    @property
    def trials(self) -> int:
        """Trials per cell: with nothing to tune, one."""
        return self.n_trials if any(cell.space for cell in self.cells) else 1


def show(sweep: Sweep, ledger: Ledger, console: Console | None = None) -> None:
    """Print the table, and below it what may have been meant otherwise.

    Parameters
    ----------
    sweep : Sweep
    ledger : Ledger
        What the study's folder holds already.
    console : rich Console, optional
    """
    console = console or Console()
    table = Table(box=None, show_header=False, pad_edge=False, title=f"This study: {escape(str(sweep.folder))}")
    table.title_justify = "left"
    for label, lines in _rows(sweep, ledger):
        for place, line in enumerate(lines):
            table.add_row("" if place else f"[bold]{label}[/]", escape(line))
    console.print(table, highlight=False)
    idle = idle_workers(sweep)
    for remark in [*remarks(sweep.parts, sweep.most), *([idle] if idle else [])]:
        console.print(f"[yellow]Note:[/] {escape(remark)}", highlight=False, soft_wrap=True)


def _rows(sweep: Sweep, ledger: Ledger) -> list[tuple[str, list[str]]]:
    cells = sweep.cells
    regimes = dict.fromkeys(f"{cell.run.regime.name}, {cell.run.optim.schedule} schedule" for cell in cells)
    devices = dict.fromkeys(cell.run.device for cell in cells)
    device = ", ".join("cuda where that is faster, else cpu" if d == "auto" else d for d in devices)
    side_by_side = "as many runs at a time as the launcher has room for"
    if sweep.workers is not None:
        side_by_side = f"{sweep.workers} run{'s' * (sweep.workers != 1)} at a time"
    return [
        ("axes", _axes(sweep) or ["none: one cell"]),
        ("tuned", _tuned(cells) or ["nothing: one trial per cell"]),
        ("fixed", _fixed(sweep) or ["everything else, at its default"]),
        ("data", [_data(known) for known in sweep.facts]),
        ("regime", list(regimes)),
        ("tuner", [sweep.method]),
        ("device", [f"{device}; {side_by_side}"]),
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
    found: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        group = " ".join(f"{key}={value}" for key, value in cell.keys.items() if "." not in key)
        for key, distribution in cell.space.items():
            groups = found.setdefault(key, {}).setdefault(_range(distribution, cell.limits.get(key, ())), [])
            if group not in groups:
                groups.append(group)
    return [
        f"{key}: {text}" + (f"   ({', '.join(groups)})" if len(texts) > 1 else "")
        for key, texts in found.items()
        for text, groups in texts.items()
    ]


def _range(distribution: BaseDistribution, limits: Iterable[str]) -> str:
    """A range in words: its ends, its scale, and which ends are limits."""
    if isinstance(distribution, CategoricalDistribution):
        return f"choice of {', '.join(_number(value) for value in distribution.choices)}"
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    ends = {"low": _number(distribution.low), "high": _number(distribution.high)}
    words = [f"{ends['low']} to {ends['high']}", "log" if distribution.log else "linear"]
    words += ["whole numbers"] if isinstance(distribution, IntDistribution) else []
    return ", ".join([*words, *(f"{ends[end]} is a limit" for end in limits)])


def _fixed(sweep: Sweep) -> list[str]:
    """What all cells share that is no default, and what would be tuned were it not fixed."""
    cells = sweep.cells
    common = identity.of([(cell.settings, cell.ranges, cell.keys) for cell in cells]).settings
    swept = {key for cell in cells for key in (*cell.keys, *cell.space)}
    untuned = [key for key, spec in sweep.parts.space.items() if spec is None and key not in swept]
    values = cells[0].values
    told = {key: _number(value) for key, value in common.items() if key not in identity.CHECKSUMS}
    if values["init_from"] is not None and "init_from" not in swept:
        mark = f"   (sha256 {common['init_sha256'][:12]}…)" if "init_sha256" in common else "   (and so for each cell)"
        told["init_from"] = values["init_from"] + mark
    told |= {key: f"{_number(values[key])}   (not tuned)" for key in untuned if key in values}
    return [f"{key} = {text}" for key, text in sorted(told.items())]


def _data(known: DataFacts) -> str:
    shape = " × ".join(str(n) for n in known.image_shape)
    parts = f"{known.n_train:,} training, {known.n_validation:,} validation and {known.n_test:,} test images"
    mark = f", sha256 {known.sha256[:12]}…" if known.sha256 else ""
    return f"{known.name}: {parts} of {shape}, {known.classes} classes{mark}"


def _runs(sweep: Sweep, ledger: Ledger) -> list[str]:
    """How many runs there are, how many of them are done, and about how long the others take."""
    n = len(sweep.cells)
    total = n * (sweep.trials + sweep.n_repeats)
    left = {cell.name: _left(sweep, ledger, cell) for cell in sweep.cells}
    to_do = sum(trials + repeats for trials, repeats in left.values())
    per_cell = f"{sweep.trials} trial{'s' * (sweep.trials != 1)} + {sweep.n_repeats} repeats"
    lines = [f"{n} cell{'s' * (n != 1)} × ({per_cell}) = {total:,} runs; {total - to_do:,} done, {to_do:,} to do"]
    if to_do and sweep.workers is not None:
        lines.append(f"about {_duration(seconds(sweep, left))}, as predicted; the time left is measured on the way")
    return lines


def _left(sweep: Sweep, ledger: Ledger, cell: Cell) -> tuple[int, int]:
    """Trials and repeats of a cell that have no record."""
    trials, repeats = (len(ledger.cell(cell, stage)) for stage in (TRIAL, REPEAT))
    return max(sweep.trials - trials, 0), max(sweep.n_repeats - repeats, 0)


def seconds(sweep: Sweep, left: dict[str, tuple[int, int]]) -> float:
    """Predicted seconds of the runs that are left.

    (BUSY * predicted + OVERHEAD * runs) / workers, but no less than the longest chain of runs that wait for each other.
    """
    work, chain = _work(sweep, left)
    return max(work / (sweep.workers or 1), chain)


def idle_workers(sweep: Sweep) -> str | None:
    """A sentence where there are more workers than the study can keep busy: what would keep more of them busy."""
    if sweep.workers is None or sweep.trials == 1:
        return None
    whole = {cell.name: (sweep.trials, sweep.n_repeats) for cell in sweep.cells}

    def busy(rule: str, batch: int) -> float:
        work, chain = _work(sweep, whole, rule, batch)
        return work / chain if chain else 1.0

    return parallelism.advice(sweep.workers, busy, sweep.transfer, sweep.trials_per_batch, sweep.trials)


def _work(
    sweep: Sweep, left: dict[str, tuple[int, int]], rule: str | None = None, batch: int | None = None
) -> tuple[float, float]:
    """Predicted seconds of one core for runs, and for the longest chain of them that wait for each other."""
    rule, batch = rule or sweep.transfer, batch or sweep.trials_per_batch
    total, trials, repeats = 0.0, {}, {}
    for cell in sweep.cells:
        trial = BUSY * sweep.cost(replace(cell.run, trial=replace(cell.run.trial, stage=TRIAL))) + OVERHEAD
        repeat = BUSY * sweep.cost(cell.run) + OVERHEAD
        n_trials, n_repeats = left[cell.name]
        total += n_trials * trial + n_repeats * repeat
        # As if the repeats of a cell came one after another, as they do where all workers are busy.
        trials[cell.name], repeats[cell.name] = ceil(n_trials / batch) * trial, n_repeats * repeat
    return total, parallelism.longest_chain(sweep.cells, rule, trials, repeats)


def remarks(parts: Partition, most: int | None) -> list[str]:
    """What was taken one way and may have been meant another, with what to write for the other."""
    found = []
    for key, spec in parts.space.items():
        if spec is None:
            continue
        if "(" not in spec and "," in spec:
            n = len(spec.split(","))
            found.append(
                f"{key}={spec} gives the tuner {n} values to choose from in every cell, because {key} is tuned; for "
                f"an axis with {n} values write search_space.{key}=null {key}={spec}"
            )
        elif spec.startswith("interval(") and _is_wide(spec):
            found.append(f"'{key}={spec}' is searched on a linear scale; for a log scale write '{key}=tag(log,{spec})'")
    dropped = {
        key.lstrip("+"): [value for value in values if value not in partitioning.thinned(values, most)]
        for key, values in parts.axes.items()
    }
    found += [
        f"{key} leaves out {', '.join(values)}, because hydra.sweeper.max_values_per_axis is {most}"
        for key, values in dropped.items()
        if values
    ]
    return found


def _is_wide(spec: str) -> bool:
    low, high = (float(end) for end in spec.removeprefix("interval(").rstrip(")").split(","))
    return low > 0 and high >= _WIDE * low


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds, -1), 10):.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"

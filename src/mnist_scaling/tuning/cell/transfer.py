"""Transfer between cells: a cell starts from what its cheaper neighbours selected, and its sampler sees their trials.

A setting is carried as it is. Two rules that change the learning rate on the way, 1 / sqrt(fan-in) and a regression
on fan-in and steps, were measured to lose to this one by more than two to one (LOG.md, 2026-11-22) and were removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from mnist_scaling.study.columns import SEED
from mnist_scaling.study.vocabulary import COMPLETE, DIVERGED, DIVERGED_VALUE, INDEPENDENT, PRUNED
from mnist_scaling.tuning.cell.trial import Trial, best, frozen
from mnist_scaling.tuning.grid.composition import Cell


def parents(cells: Sequence[Cell], rule: str) -> dict[str, list[Cell]]:
    """The cells that each cell waits for, by its name: along every axis of numbers the next cheaper one, or none."""
    waits: dict[str, list[Cell]] = {cell.name: [] for cell in cells}
    if rule == INDEPENDENT:
        return waits
    # Seeds are replicates, so no cell starts from what a cell of another seed has selected.
    for key in [key for key in cells[0].keys if key != SEED] if cells else ():
        lines: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in cells:
            if _is_number(cell.keys[key]):
                lines.setdefault(tuple(v for k, v in cell.keys.items() if k != key), []).append(cell)
        for line in lines.values():
            line.sort(key=lambda cell: (cell.cost, cell.keys[key]))
            for cheaper, cell in pairwise(line):
                waits[cell.name].append(cheaper)
    return waits


def longest_chains(after: Mapping[str, Sequence[str]], weights: Mapping[str, float]) -> dict[str, float]:
    """The weight of the longest chain from each cell on: its own, and the most of what comes `after` it."""
    found: dict[str, float] = {}
    for name in TopologicalSorter(after).static_order():
        found[name] = weights[name] + max((found[other] for other in after[name]), default=0.0)
    return found


def settings(cell: Cell, neighbours: Sequence[Sequence[Trial]]) -> list[dict[str, Any]]:
    """What a cell tries first: its neighbours' selected settings, duplicates left out.

    A neighbour that tunes other keys, another optimiser's for example, has nothing to carry.
    """
    carried: list[dict[str, Any]] = []
    for trials in neighbours:
        selected = best(trials)
        setting = dict(selected.params) if selected is not None else {}
        if setting and setting.keys() == cell.space.keys() and setting not in carried:
            carried.append(setting)
    return carried


def shifted_trials(
    ranges: Mapping[str, BaseDistribution], own: Sequence[Trial], neighbour: Sequence[Trial]
) -> list[FrozenTrial]:
    """A neighbour's trials as if they were this cell's, in its present ranges, for a sampler to learn from.

    Losses are shifted, in logs, so that the neighbour's best is where this cell's run of the same setting is: the two
    loss landscapes are taken to differ in height only. A value outside the ranges is moved to the end.
    """
    least, here = (
        min((t.value for t in trials if t.state in (COMPLETE, DIVERGED) and t.value), default=None)
        for trials in (neighbour, own)
    )
    selected = best(neighbour)
    if least is None or here is None or selected is None or selected.params.keys() != ranges.keys():
        return []
    # The carried settings are tried first, so the best loss so far is at most that of the carried setting.
    shift = here / least
    return [
        frozen(trial, ranges, None if trial.value is None else min(trial.value * shift, DIVERGED_VALUE))
        for trial in neighbour
        if trial.state in (COMPLETE, DIVERGED, PRUNED)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""Which repeats of its selected settings a cell still lacks: a pure function of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from mnist_scaling.study.columns import SEED
from mnist_scaling.tuning.grid.partitioning import Cell

LAST = "regime.last"
"""Config key of the largest data size that a run with branches goes to."""

_SEEDS_APART = 1000
"""Distance between the seeds of a cell's repeats where cells differ by their seeds, which are neighbours."""


@dataclass(frozen=True)
class Repeat:
    """A run of a selected setting with a seed of its own."""

    number: int
    seed: int
    setting: Mapping[str, Any]
    """Config key to value: the tuned keys, and `LAST` where the run has branches."""

    def covers(self, setting: Mapping[str, Any]) -> bool:
        """Whether the run had this setting, and went as far as its last branch."""
        same = all(self.setting.get(key) == value for key, value in setting.items() if key != LAST)
        return same and (LAST not in setting or self.setting[LAST] >= setting[LAST])


def from_record(record: Mapping[str, Any], space: Mapping[str, Any]) -> Repeat:
    """The repeat of a run's record; `space` has the cell's tuned keys."""
    config = record["config"]
    return Repeat(record["number"], record["seed"], {key: config[key] for key in (*space, LAST)})


def missing(cell: Cell, selected: Sequence[Mapping[str, Any]], known: Sequence[Repeat], n_repeats: int) -> list[Repeat]:
    """For each selected setting its repeats that have no record yet.

    Repeat i of setting j has the number j n_repeats + i or, where another run has that number, the next free one:
    no finished run gives way to another.

    Parameters
    ----------
    cell : Cell
    selected : sequence of mapping
        Settings to repeat; with branches there may be several.
    known : sequence of Repeat
        The cell's repeats that have a record. One of an older selection keeps it, and counts for nothing.
    n_repeats : int
        Of each setting.
    """
    apart = _SEEDS_APART if SEED in cell.keys else 1
    # No trial has seen these seeds, so the repeats don't share the luck of the selected trial.
    seeds = [cell.run.seed + apart * (place + 1) for place in range(n_repeats)]
    taken = {repeat.number for repeat in known}
    found: list[Repeat] = []
    for j, setting in enumerate(selected):
        measured = {repeat.seed for repeat in known if repeat.covers(setting)}
        for i, seed in enumerate(seeds):
            if seed not in measured:
                number = next(n for n in count(j * n_repeats + i) if n not in taken)
                taken.add(number)
                found.append(Repeat(number, seed, setting))
    return found


def shorter(cell: Cell, selected: Sequence[Mapping[str, Any]], known: Sequence[Repeat]) -> list[Repeat]:
    """Repeats whose branches a longer run of the same setting and seed is about to measure with its own.

    Their records go, or these branches would count twice. Parameters as in `missing`.
    """
    return [
        repeat
        for repeat in known
        if any(
            repeat.covers({key: setting[key] for key in cell.space}) and not repeat.covers(setting)
            for setting in selected
        )
    ]

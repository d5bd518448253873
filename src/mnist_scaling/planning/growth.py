"""Further runs of a study, in that study: a list of its cells with the trials and repeats that each is to have.

What was run stays. `train` takes the list in place of the study's axes, beside the rest of the study's own command.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mnist_scaling.errors import InputError
from mnist_scaling.planning.studied import Studied, at_axes
from mnist_scaling.study import files
from mnist_scaling.study.tables.csv_table import read_study_table

TRIALS, REPEATS = "trials", "repeats"
"""What a cell can get more of."""

N_TRIALS, N_REPEATS = "hydra.sweeper.n_trials", "hydra.sweeper.n_repeats"
"""Keys of a cell in a list, beside those of its axes."""

CELLS, _MOST = "hydra.sweeper.cells", "hydra.sweeper.max_values_per_axis"


@dataclass(frozen=True)
class GrownCell:
    """A cell of a study, or one that is to be."""

    keys: Mapping[str, Any]
    """Swept config key to value."""
    trials: int
    repeats: int
    """That it has, or is to have."""
    rows: tuple[int, ...] = ()
    """Of cells.csv: one, or one for each branch of its runs; empty for a new cell."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Its cell.json; empty for a new cell."""


def grown_from(studied: Studied) -> list[GrownCell]:
    """Every cell of a study as it is, also those that were not fitted.

    Raises
    ------
    InputError
        When there is no study whose runs could grow.
    """
    if not studied.command:
        raise InputError(
            f"Further runs need the study that `train` made, but {studied.source.path} is a table alone: run them by "
            "hand, and add their rows."
        )
    table, found = read_study_table(studied.source.path), []
    for record in studied.records.values():
        mine = table[at_axes(table, record["axes"])]
        trials, repeats = mine[["n_trials", "n_repeats"]].max().fillna(0).astype(int)
        found.append(GrownCell(record["keys"], int(trials), int(repeats), tuple(mine.index), record))
    return found


def write(studied: Studied, cells: Sequence[GrownCell], path: Path, given: Mapping[str, str] = {}) -> str:
    """Write the list, and say the command that brings every cell to its trials and repeats.

    Parameters
    ----------
    studied : Studied
    cells : sequence of GrownCell
        All that are to be there: a cell learns from its neighbours.
    path : Path
        A YAML file.
    given : mapping, optional
        Further overrides, by config key, such as wider ranges.
    """
    rows = [{**c.keys, N_TRIALS: max(c.trials, 1), N_REPEATS: c.repeats} for c in cells]
    files.write_atomically(path, yaml.safe_dump(rows, sort_keys=False, default_flow_style=None, width=1000))
    given = {CELLS: str(path), **given}
    dropped = {*given, _MOST, *(key for row in rows for key in row)}
    kept = [word for word in shlex.split(studied.command) if word.partition("=")[0].lstrip("+~") not in dropped]
    return shlex.join([*kept, *(f"{key}={value}" for key, value in given.items())])

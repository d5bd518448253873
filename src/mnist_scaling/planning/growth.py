"""Further runs of a study, in that study: a list of its cells with the trials and repeats that each is to have.

What was run stays. `train` takes the list in place of the study's axes, beside the rest of the study's own command.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mnist_scaling.errors import InputError
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study import files, records
from mnist_scaling.study.identity import IDENTITY
from mnist_scaling.study.provenance import COMMAND
from mnist_scaling.study.tables.csv_table import read_study_table

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
    record: Mapping[str, Any] | None = None
    """Its cell.json."""


def grown_from(studied: Studied) -> list[GrownCell]:
    """Every cell of a study as it is, also those that were not fitted.

    Raises
    ------
    InputError
        When there is no study whose runs could grow.
    """
    if COMMAND not in (studied.source.study or {}):
        raise InputError(
            f"Further runs need the study that `train` made, but {studied.source.path} is a table alone: run them by "
            "hand, and add their rows."
        )
    table, found = read_study_table(studied.source.path), []
    for record in records.read_cells(studied.folder).values():
        mine = pd.Series(True, table.index)
        for column, value in record["axes"].items():
            mine &= table[column].isna() if value is None else table[column] == value
        trials, repeats = table.loc[mine, ["n_trials", "n_repeats"]].max().fillna(0).astype(int)
        found.append(GrownCell(record["keys"], int(trials), int(repeats), tuple(table.index[mine]), record))
    return found


def identity_of(studied: Studied) -> Mapping[str, Any]:
    """What the cells of a study share (`study.identity`), as its study.json has it."""
    return (studied.source.study or {}).get(IDENTITY) or {}


def write(studied: Studied, cells: Sequence[GrownCell], path: Path, given: Mapping[str, str]) -> str:
    """Write the list, and say the command that brings every cell to its trials and repeats.

    Parameters
    ----------
    studied : Studied
    cells : sequence of GrownCell
        All that are to be there: a cell learns from its neighbours.
    path : Path
        A YAML file.
    given : mapping
        Further overrides, by config key, such as wider ranges.
    """
    rows = [{**c.keys, N_TRIALS: max(c.trials, 1), N_REPEATS: c.repeats} for c in cells]
    files.write_atomically(path, yaml.safe_dump(rows, sort_keys=False, default_flow_style=None, width=1000))
    given = {CELLS: str(path), **given}
    dropped = {*given, _MOST, *(key for row in rows for key in row)}
    words = shlex.split(str((studied.source.study or {})[COMMAND]))
    kept = [word for word in words if word.partition("=")[0].lstrip("+~") not in dropped]
    return shlex.join([*kept, *(f"{key}={value}" for key, value in given.items())])

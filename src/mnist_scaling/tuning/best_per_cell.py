"""What a study's mirror shows beside the trials: a note on each cell, and the grid as a study with a trial per cell."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import create_trial

from mnist_scaling.study.columns import column_of
from mnist_scaling.tuning.cell.trial import Trial, best
from mnist_scaling.tuning.grid import search_space
from mnist_scaling.tuning.grid.composition import Cell

NAME = "best per cell"
"""Of the study with one trial per cell."""

_VERSION, _TEXT = "dashboard:note_ver", "dashboard:note_str:0"
"""Where optuna-dashboard keeps a study's note; importing it takes a second, and a note is shorter than its parts."""


def note(study: optuna.Study, cell: Cell, trials: Sequence[Trial], folder: Path) -> None:
    """Say on a cell's study what its best setting is so far, and where its runs lie; nothing where that is said."""
    selected = best(trials)
    lines = [f"**{cell.name}**: {len(trials)} trials, runs in `{folder / cell.folder}/`."]
    if selected is not None:
        values = {"val_loss": selected.value, **{column_of(key): value for key, value in selected.params.items()}}
        rows = [f"| {column} | {_number(value)} |" for column, value in values.items()]
        lines.append("\n".join([f"| best so far | trial {selected.index} |", "|---|---|", *rows]))
    write_note(study, "\n\n".join(lines))


def write_note(study: optuna.Study, text: str) -> None:
    """Put a note on a study, as optuna-dashboard reads it, unless it is there."""
    storage, number = study._storage, study._study_id
    known = storage.get_study_system_attrs(number)
    if known.get(_TEXT) != text:
        storage.set_study_system_attr(number, _VERSION, known.get(_VERSION, 0) + 1)
        storage.set_study_system_attr(number, _TEXT, text)


def summarise(cells: Sequence[tuple[Cell, Sequence[Trial]]], storage: BaseStorage, name: str) -> None:
    """One trial per cell: axes and best setting as parameters, its validation loss as value; written anew.

    A tuned key has the scale on which it was searched, an axis that of its values.

    Parameters
    ----------
    cells : sequence of (cell, trials)
    storage : optuna storage
    name : str
        Of the study.
    """
    found = [(cell, selected) for cell, trials in cells if (selected := best(trials)) is not None]
    ranges, wanted = _ranges(found), []
    for cell, selected in found:
        row = _row(cell, selected)
        shown = {column: own for column, own in ranges.items() if column in row}
        params, attributes = {column: row[column] for column in shown}, {"cell": cell.name, "trial": selected.index}
        wanted.append(create_trial(params=params, distributions=shown, value=selected.value, user_attrs=attributes))
    if name in optuna.get_all_study_names(storage):
        known = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
        if [(t.params, t.value) for t in known] == [(t.params, t.value) for t in wanted]:
            return
        optuna.delete_study(study_name=name, storage=storage)
    if wanted:
        study = create_study(name, storage)
        study.add_trials(wanted)
        write_note(study, "One trial per cell: the best setting so far, by its validation loss.")


def create_study(name: str, storage: BaseStorage) -> optuna.Study:
    """A new study of validation losses."""
    study = optuna.create_study(study_name=name, storage=storage)
    with warnings.catch_warnings():
        # Experimental since 2023; the name is what the dashboard's axes show.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["val_loss"])
    return study


def _row(cell: Cell, selected: Trial) -> dict[str, Any]:
    return {**cell.axes, **{column_of(key): value for key, value in selected.params.items()}}


def _ranges(found: Sequence[tuple[Cell, Trial]]) -> dict[str, BaseDistribution]:
    """The range of every column: for a tuned key all cells' ranges together, where these are of one kind."""
    rows = [_row(cell, selected) for cell, selected in found]
    tuned: dict[str, list[BaseDistribution]] = {}
    for _, selected in found:
        for key, own in selected.ranges.items():
            tuned.setdefault(column_of(key), []).append(own)
    ranges = {}
    for column in dict.fromkeys(column for row in rows for column in row):
        values = [row[column] for row in rows if column in row]
        owns = tuned.get(column, [])
        numeric = all(isinstance(own, FloatDistribution | IntDistribution) for own in owns)
        one_kind = len({(type(own), getattr(own, "log", None), getattr(own, "step", None)) for own in owns}) == 1
        if owns and numeric and one_kind and len(owns) == len(values):
            ranges[column] = owns[0]
            for own in owns[1:]:
                ranges[column] = search_space.joined(ranges[column], own)
        else:
            ranges[column] = _of_values(values)
    return ranges


def _of_values(values: Sequence[Any]) -> BaseDistribution:
    """The range that values span; logarithmic where they spread over more than a factor of four."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return CategoricalDistribution(sorted(set(values), key=str))
    low, high = min(values), max(values)
    log = low > 0 and high > 4 * low
    kind = IntDistribution if all(isinstance(value, int) for value in values) else FloatDistribution
    return kind(low, high, log=log)


def _number(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)

"""What optuna-dashboard shows beside the trials: a note and the repeats of each cell, and the whole grid as a study."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import create_trial

from mnist_scaling.study import files, layout, vocabulary
from mnist_scaling.study.columns import RUN_SEED
from mnist_scaling.study.tables import trials_and_cells
from mnist_scaling.study.vocabulary import REPEAT
from mnist_scaling.tuning.cell.cell_study import CellStudy
from mnist_scaling.tuning.cell.trials import counting
from mnist_scaling.tuning.grid.partitioning import Cell

Times = tuple[datetime, datetime] | tuple[None, None]
"""When the tuning of a cell began and ended, as far as its storage knows."""

SUMMARY = "best per cell"
"""Name of the study with one trial per cell."""

_NOTED = ("val_loss", "repeat_val_loss", "repeat_val_loss_se", "test_loss", "test_loss_se")
_COUNTED = ("n_params", "n_seen", "flops", "n_trials", "n_repeats", "tuning_flops")
_JUDGED = ("expected_gain", "noise", "tuned", "edges", "limits", "widened", "flags")


def publish(folder: Path, studies: Sequence[CellStudy], storage: BaseStorage, prefix: str = "") -> None:
    """Write notes, repeats and the summary study into a study's storage, from its tables.

    Parameters
    ----------
    folder : Path
        multirun/<name>.
    studies : sequence of CellStudy
    storage : optuna storage
    prefix : str
        Before the summary's name, where several studies share a storage.
    """
    cells, trials = (
        trials_and_cells.read_table(folder / layout.CELLS),
        trials_and_cells.read_table(folder / layout.TRIALS),
    )
    record = files.read_json(folder / layout.STUDY) or {}
    grid = list(studies[0].cell.axes)
    times = {_key(study.cell.axes, grid): _times(study) for study in studies}
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in cells.to_dict("records"):
        rows.setdefault(_key(row, grid), []).append(row)
    repeats: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in trials[(trials["stage"] == REPEAT) & (trials["state"] == vocabulary.COMPLETE)].to_dict("records"):
        repeats.setdefault(_key(row, grid), []).append(row)
    for study in studies:
        key = _key(study.cell.axes, grid)
        own, mine = rows.get(key, []), repeats.get(key, [])
        if not own:
            continue
        last = own[-1]  # of a run with several data sizes, the largest
        attributes: dict[str, Any] = {
            "repeat_seeds": [row.get(RUN_SEED, row["seed"]) for row in mine],
            "repeat_val_losses": [row["val_loss"] for row in mine],
            "repeat_test_losses": [row["test_loss"] for row in mine],
            **{name: _plain(last[name]) for name in ("test_loss", "test_loss_se", "flags") if name in last},
        }
        for name, value in attributes.items():
            study.study.set_user_attr(name, value)
        _note(study.study, "\n\n".join(_text(study.cell, row, record["axes"], folder) for row in own))
    when = [times.get(_key(row, grid), (None, None)) for row in cells.to_dict("records")]
    _summarise(cells, record["axes"], record["tuned"], when, storage, prefix + SUMMARY)


def _times(study: CellStudy) -> Times:
    """When the first trial of a cell was asked for, and when its last one ended."""
    trials = counting(study.study)
    begun = min((t.datetime_start for t in trials if t.datetime_start), default=None)
    ended = max((t.datetime_complete for t in trials if t.datetime_complete), default=None)
    return (begun, ended) if begun and ended else (None, None)


def _note(study: optuna.Study, text: str) -> None:
    from optuna_dashboard import get_note, save_note

    if get_note(study) != text:
        save_note(study, text)


def _text(cell: Cell, row: Mapping[str, Any], axes: Sequence[str], folder: Path) -> str:
    """A cell's row as Markdown."""
    name = ", ".join(
        f"{axis}={row[axis]:g}" if isinstance(row[axis], float) else f"{axis}={row[axis]}" for axis in axes
    )
    lines = [f"**{name or 'all'}**: its row in `{folder / layout.CELLS}`, its runs in `{folder / cell.folder}/`.", ""]
    lines += ["| | |", "|---|---|"]
    for column in (*_NOTED, *_COUNTED, *_JUDGED):
        if column in row and not _missing(row[column]):
            value = row[column]
            lines.append(f"| {column} | {_number(value)} |")
    return "\n".join(lines)


def _number(value: Any) -> str:
    """A table's entry: counts in full, everything else with five digits."""
    if isinstance(value, float):
        return f"{value:,.5g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _summarise(
    cells: pd.DataFrame,
    axes: Sequence[str],
    tuned: Sequence[str],
    when: Sequence[Times],
    storage: BaseStorage,
    name: str,
) -> None:
    """One trial per cell: axes and selected setting as parameters, its test loss as value; written anew.

    A trial begins and ends with the tuning of its cell, so that the dashboard's timeline shows when each was tuned.
    """
    loss = "test_loss" if cells["test_loss"].notna().any() else "val_loss"
    known = cells[loss].notna().to_numpy()
    cells, when = cells[known], [times for times, is_known in zip(when, known, strict=True) if is_known]
    with contextlib.suppress(KeyError):
        optuna.delete_study(study_name=name, storage=storage)
    study = optuna.create_study(study_name=name, storage=storage, direction="minimize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([loss])
    columns = [c for c in (*axes, *tuned) if cells[c].notna().all()]
    ranges = {column: _range(cells[column]) for column in columns}
    trials = []
    for row, (begun, ended) in zip(cells.to_dict("records"), when, strict=True):
        params = {column: _plain(row[column]) for column in columns}
        attributes = {c: _plain(row[c]) for c in (*_NOTED, *_COUNTED, *_JUDGED) if c in row and not _missing(row[c])}
        trial = create_trial(params=params, distributions=ranges, value=float(row[loss]), user_attrs=attributes)
        if begun is not None:
            trial.datetime_start, trial.datetime_complete = begun, ended
        trials.append(trial)
    study.add_trials(trials)
    _note(study, "One trial per cell: the setting that tuning selected, valued by the mean loss of its repeats.")


def _range(values: pd.Series) -> BaseDistribution:
    """The range that a column's values span; logarithmic where they spread over more than a factor of four."""
    if not pd.api.types.is_numeric_dtype(values) or values.dtype == bool:
        return CategoricalDistribution(sorted(values.unique().tolist(), key=str))
    low, high = values.min(), values.max()
    log = bool(low > 0 and high > 4 * low)
    if pd.api.types.is_integer_dtype(values):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _key(row: Mapping[str, Any], axes: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[axis] for axis in axes)


def _missing(value: Any) -> bool:
    return bool(pd.isna(value)) or value == ""


def _plain(value: Any) -> Any:
    """A scalar that JSON takes."""
    value = value.item() if hasattr(value, "item") else value
    return None if _missing(value) else value

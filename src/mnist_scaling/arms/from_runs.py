"""What a study's runs say of an arm's cells, beside their rows in cells.csv: curves, untuned runs, trials, repeats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from mnist_scaling.arms.reading import Source
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.frontier.fronts import attach
from mnist_scaling.fitting.rows import Table
from mnist_scaling.settings.setting_laws import TunedKey
from mnist_scaling.settings.tuning_change import TunedCells
from mnist_scaling.settings.vertices import CellTrials
from mnist_scaling.study.columns import SEED
from mnist_scaling.study.layout import CURVES, STUDY, TRIALS
from mnist_scaling.study.tables.cell_runs import repeat_losses, tuned_trials, untuned_runs
from mnist_scaling.study.tables.fitted_rows import ArmRows, roles_of
from mnist_scaling.study.tables.trials_and_cells import read_table

CURVE_ROLES = {"row": "cell", "N": "n_params", "D": "n_seen", "C": "flops", "loss": "val_loss", "phase": "phase"}
"""Columns of a study's curves.csv."""

TUNED_LOSSES = ("val_loss", "repeat_val_loss", "repeat_val_loss_se")
"""Columns of cells.csv beside the untuned loss: selected, tuned and its error, all on validation images."""


def with_curves(table: Table, source: Source, wanted: Any) -> tuple[Table, str]:
    """The table with its study's learning curves, if they can be used, and else why a study's curves are not.

    Parameters
    ----------
    table : Table
    source : Source
    wanted : "auto", True or False
        Whether curves are to be used: if they can be, in any case, or not at all.

    Raises
    ------
    InputError
        When curves are wanted in any case and can't be used.
    """
    path = source.folder / CURVES
    if wanted is False or (source.study is None and wanted is not True):
        return table, ""
    if source.study is None:
        why = f"{source.path} is no study's table, so it has none: leave it out."
    elif source.rows.seeds:
        why = "The learning curves are not used: a row is the mean over seeds, and a curve is that of one run."
    elif path.is_file():
        points = read_table(path, CURVE_ROLES.values())
        table, why = attach(table, {role: points[column].to_numpy() for role, column in CURVE_ROLES.items()})
    else:
        why = f"The learning curves are not used: there is no {path}: set curve.points, or use regime=early_stopping."
    if why and wanted is True:
        raise InputError(f"`curves=true` needs learning curves at a constant rate. {why}")
    return table, why if path.is_file() else ""


def _why_no_runs(source: Source) -> str:
    """Why nothing can be said of single runs, as a sentence; empty where it can."""
    absent = STUDY if not source.study else TRIALS if not (source.folder / TRIALS).is_file() else ""
    if absent:
        return f"{source.folder} has no {absent}: there are only cells."
    if source.rows.seeds:
        return f"Rows are means over the seeds of their cell: fit one seed at a time with where='{SEED} == 0'."
    return ""


def tuned_cells(source: Source, arm: ArmRows) -> tuple[TunedCells | None, dict[str, Any], str]:
    """Losses of an arm's cells before and after tuning, the untuned setting, and why what tuning changed is unknown."""
    if why := _why_no_runs(source):
        return None, {}, why
    cells, axes = arm.frame, source.axes
    found, roles = untuned_runs(cells, read_table(source.folder / TRIALS), axes, source.tuned), roles_of(cells, axes)
    n, d = (cells[source.rows.names[k]].to_numpy(float) for k in ("N", "D"))
    selected, tuned, se = (cells.reindex(columns=[c])[c].to_numpy(float) for c in TUNED_LOSSES)
    levels = {
        k: cells[axis].to_numpy(float) if axis else np.zeros(len(cells))
        for k, axis in (("N", roles.size), ("D", roles.data))
    }
    why = found.why
    if roles.others and not why:
        why = f"The grid has further axes ({', '.join(roles.others)}): fit one value of each at a time with where=…."
    return TunedCells(n, d, found.losses.to_numpy(float), selected, tuned, se, levels), found.setting, why


def cell_trials(source: Source, arm: ArmRows) -> tuple[list[CellTrials], list[TunedKey], str]:
    """What was tried in each cell of an arm, the tuned keys, and why there is neither."""
    if why := _why_no_runs(source) or ("" if source.tuned else "Nothing was tuned."):
        return [], [], why
    cells, names = arm.frame, source.rows.names
    found = tuned_trials(source.folder, cells, read_table(source.folder / TRIALS), source.axes)
    columns = {"N": names["N"], "D": names["D"], "steps": "steps", "loss": names["loss"]}
    if found.why:
        return [], [], found.why
    there = {size: column for size, column in columns.items() if column in cells}
    sizes = [dict(zip(there, row, strict=True)) for row in cells[list(there.values())].to_numpy(float).tolist()]
    tried = [CellTrials(**vars(cell), sizes=of) for cell, of in zip(found.cells, sizes, strict=True)]
    return tried, [TunedKey(name, log) for name, log in found.keys.items()], ""


def repeats(source: Source, arm: ArmRows, rows: Iterable[int]) -> list[dict[int, float]] | None:
    """Loss of each repeat by seed, of these rows; None for a table that is no study's, or whose rows are means."""
    if source.study is None or source.rows.seeds or not (source.folder / TRIALS).is_file():
        return None
    trials, loss = read_table(source.folder / TRIALS), str(source.rows.names["loss"])
    return repeat_losses(arm.frame.loc[list(rows)], trials, source.axes, source.tuned, loss)

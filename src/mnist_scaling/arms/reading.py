"""The rows that `fit` and `compare` ask for, of a study or of anyone's table, and what a study's runs say of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.config.fit_schema import FitConfig
from mnist_scaling.errors import InputError, nearest
from mnist_scaling.fitting.ahead import LossAhead
from mnist_scaling.fitting.comparing.pairing import pair_noise
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.read import read_columns
from mnist_scaling.fitting.rows import Table
from mnist_scaling.settings.setting_laws import CellTrials, TunedKey
from mnist_scaling.settings.tuning_change import TunedCells
from mnist_scaling.study import identity
from mnist_scaling.study.columns import CONVENTIONS, SEED
from mnist_scaling.study.files import read_json
from mnist_scaling.study.flags import INFO, MIXED_CODE, MIXED_COLUMN, WARNING
from mnist_scaling.study.layout import CELLS, STUDY, TRIALS, found_folder, is_kept, known_studies
from mnist_scaling.study.missing import mixed_code, unfinished
from mnist_scaling.study.tables.cell_runs import repeat_losses, runs_of, tuned_trials, untuned_runs
from mnist_scaling.study.tables.csv_table import read_study_table, read_table
from mnist_scaling.study.tables.fitted_rows import (
    ArmRows,
    FittedRows,
    fitted_rows,
    measured_columns,
    roles_of,
    study_columns,
)

OLD_CLASSES = 10
"""Classes of a study that does not state them: every data set had ten when such studies were made."""

TUNED_LOSSES = ("val_loss", "repeat_val_loss", "repeat_val_loss_se")
"""Columns of cells.csv beside the untuned loss: selected, tuned and its error, all on validation images."""


REPLICATE = re.compile(r"seed|repeat|replica|\brep\b|run|trial|fold|draw|unnamed|^id$", re.IGNORECASE)
"""Columns that number the repeats of one cell."""

SETTING = re.compile(
    r"^(lr|.*learning.?rate|.*batch.?size|.*dropout|.*decay|.*momentum|.*warmup|.*optimi[sz]er.*)$", re.IGNORECASE
)
"""Columns of what is tuned: rows of one cell that differ in them are trials and no repeats, however many values."""

MOST_VALUES = 10
"""A column with more values, or with more than one for every two rows, is a measurement or a name."""


@dataclass(frozen=True)
class Source:
    """The table to fit, as it stands in its file, and what its study says about it."""

    path: Path
    rows: FittedRows
    study: Mapping[str, Any] | None
    """study.json; empty where a study has none, and None where the table is no study's."""
    tuned: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    classes: int | None = None
    unfinished: str = ""
    """That the study is unfinished, as a sentence."""
    mixed_code: str = ""
    """That the study's runs were made by different code, as a sentence."""

    @property
    def folder(self) -> Path:
        """Folder of the table."""
        return self.path.parent

    @property
    def kept(self) -> bool:
        """Whether the table comes with the repository, so that nothing is written beside it."""
        return is_kept(self.folder)

    @property
    def grid(self) -> Sequence[str]:
        """The axes that a cell's folder is named by: without the branches of its runs."""
        return (self.study or {}).get("grid", self.axes)

    def table(self, arm: ArmRows) -> tuple[Table, list[dict[str, Any]]]:
        """What is fitted of one arm, and the rows left out of it."""
        frame = arm.frame
        columns = {str(c): frame[c].astype(object).where(frame[c].notna(), None).tolist() for c in frame.columns}
        conventions = None if self.study is None else CONVENTIONS
        return read_columns(columns, self.rows.names, conventions, str(self.path), frame.index.tolist())


def read(config: FitConfig) -> Source:
    """The rows that the config asks for, from a study's cells.csv or from a table."""
    wanted = asdict(config.columns)
    if not config.name:
        path = Path(str(config.table))
        frame = read_table(path, [header for header in wanted.values() if header])
        wanted["loss"] = wanted["loss"] or config.best
        rows = fitted_rows(frame, wanted, (), (), config.where, config.arm_columns, config.cell_columns, config.best)
        return Source(path, rows, None)
    path = found_folder(config.name) / CELLS
    if not path.is_file():
        fix = nearest(path.parent.name, known_studies(), "check `name`, or start its sweep (again) first.")
        raise InputError(f"A study must have {path}, but there is none: {fix}")
    frame = _other_counts(read_study_table(path, [header for header in wanted.values() if header]))
    names = measured_columns(study_columns(wanted, frame.columns), wanted, frame)
    study = read_json(path.parent / STUDY) or {}
    axes, tuned = (tuple(c for c in study.get(k, ()) if c in frame) for k in ("axes", "tuned"))
    rows = fitted_rows(frame, names, axes, tuned, config.where, config.arm_columns)
    trials = read_study_table(path.parent / TRIALS) if (path.parent / TRIALS).is_file() else pd.DataFrame()
    said = unfinished(path.parent, frame, trials, study), mixed_code(path.parent)
    return Source(path, rows, study, tuned, axes, _classes(study), *said)


def _classes(study: Mapping[str, Any]) -> int | None:
    """Number of classes that a study states; None where its data sets differ in it."""
    return identity.classes(study) if identity.DATA in study else OLD_CLASSES


def _other_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """The conventions that are differences of a study's columns."""
    if not {"n_params", "n_params_output"} <= {*frame}:
        return frame
    return frame.assign(n_params_without_output=frame["n_params"] - frame["n_params_output"])


def short_of_data(source: Source, arm: ArmRows, losses: Sequence[LossAhead]) -> str:
    """That some of the losses predicted ahead take more examples than the study's data set has; empty where none does.

    A data set holds its training examples times the most passes that a cell of the study makes over its own.
    """
    held = {facts.get("n_train") for facts in (source.study or {}).get(identity.DATA, [])}
    if len(held) != 1 or None in held or source.rows.names.get("D") != "n_seen" or "epochs" not in arm.frame:
        return ""
    examples, passes = held.pop(), float(arm.frame["epochs"].max())
    short = [loss for loss in losses if (loss.D or 0.0) > 1.05 * examples * passes]
    if not short:
        return ""
    first, has = short[0], f"{examples:,} examples" + (f" in {passes:g} passes" if passes > 1 else "")
    return (
        f"From {first.reach:g} times the largest compute on, losses ahead take more data than there is "
        f"({float(format(first.D, '.2g')):,.0f} of {has}): they are those of more data of its kind."
    )


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
    trials = read_study_table(source.folder / TRIALS)
    found = untuned_runs(cells, trials, axes, source.tuned)
    roles = roles_of(cells, axes, source.rows.names)
    names = (source.rows.names[k] for k in ("N", "D"))
    n, d = (cells[name].to_numpy(float) if name else np.full(len(cells), np.nan) for name in names)
    selected, tuned, se = (cells.reindex(columns=[c])[c].to_numpy(float) for c in TUNED_LOSSES)
    levels = {
        k: cells[axis].to_numpy(float) if axis else np.zeros(len(cells))
        for k, axis in (("N", roles.size), ("D", roles.data))
    }
    why = found.why
    if roles.others and not why:
        why = f"The grid has further axes ({', '.join(roles.others)}): fit one value of each at a time with where=…."
    before = found.runs or [{}] * len(cells)
    untuned_se = np.array([pd.Series(runs.values(), dtype=float).sem() for runs in before])
    after = repeat_losses(cells, trials, axes, source.tuned, TUNED_LOSSES[1])
    noise = None if after is None else pair_noise(zip(before, after, strict=True))
    untuned = found.losses.to_numpy(float)
    return TunedCells(n, d, untuned, selected, tuned, se, untuned_se, levels, noise), found.setting, why


def cell_trials(source: Source, arm: ArmRows) -> tuple[list[CellTrials], list[TunedKey], str]:
    """What was tried in each cell of an arm, the tuned keys, and why there is neither."""
    if why := _why_no_runs(source) or ("" if source.tuned else "Nothing was tuned."):
        return [], [], why
    cells, names = arm.frame, source.rows.names
    found = tuned_trials(source.folder, cells, read_study_table(source.folder / TRIALS), source.axes)
    columns = {"N": names["N"], "D": names["D"], "steps": "steps", "loss": names["loss"]}
    if found.why:
        return [], [], found.why
    there = {size: column for size, column in columns.items() if column in cells}
    sizes = [dict(zip(there, row, strict=True)) for row in cells[list(there.values())].to_numpy(float).tolist()]
    tried = [CellTrials(**vars(cell), sizes=of) for cell, of in zip(found.cells, sizes, strict=True)]
    return tried, [TunedKey(name, log) for name, log in found.keys.items()], ""


def repeats(source: Source, arm: ArmRows, rows: Iterable[int]) -> list[dict[int, float]] | None:
    """Loss of each repeat by seed, of these rows; None for a table that is no study's, or whose rows are means."""
    if source.study is None or source.rows.seeds:
        return None
    return runs_of(source.folder, arm.frame.loc[list(rows)], str(source.rows.names["loss"]))


def mixed(source: Source, arm: ArmRows) -> list[Flag]:
    """A flag for each such column; for the code in a study, whose axes are arms."""
    if source.study is not None:
        return [Flag(MIXED_CODE, source.mixed_code)] if source.mixed_code else []
    names = source.rows.names
    rows = arm.frame[arm.frame[names["loss"]].notna()]
    sizes = [header for role in ("N", "D", "U") if (header := names.get(role))] or [str(names["C"])]
    named, flags = {*names.values(), *source.rows.by}, []
    for column in (c for c in rows.columns if c not in named and not REPLICATE.search(c)):
        values = rows[column].dropna().unique()
        few = len(values) <= min(MOST_VALUES, len(rows) // 2)
        if len(values) < 2 or not (few or SETTING.search(column)):
            continue
        pooled = rows.groupby(sizes)[column].nunique().max() > 1
        text = not pd.api.types.is_numeric_dtype(rows[column])
        if not pooled and not (text and all(_overlap(rows, column, size) for size in sizes)):
            continue
        some = ", ".join([*map(str, values[:3]), *["…"] * (len(values) > 3)])
        said = f"Column {column} has {len(values)} values ({some})"
        what = "taken for repeats of one cell" if pooled else "fitted as one law"
        remedy = f"Tell them apart with by={column}, or keep one with where=…."
        if not few:
            remedy = "Give the best run of each cell alone, or keep one value with where=…."
        severity = WARNING if pooled else INFO
        flags.append(Flag(MIXED_COLUMN, f"{said}, and rows of several are {what}.", severity=severity, remedy=remedy))
    return flags


def _overlap(rows: pd.DataFrame, column: str, size: str) -> bool:
    """Whether the sizes of two values overlap: a column that merely names the sizes tells no kinds apart."""
    found = pd.to_numeric(rows[size], errors="coerce").groupby(rows[column]).agg(["min", "max"]).sort_values("min")
    return any(a[1] > b[0] for a, b in pairwise(found.itertuples(index=False, name=None)))

"""What a report is drawn of: the rows and columns that fits.json was fitted to, and the study that they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.errors import InputError, nearest
from mnist_scaling.fitting.headline import Headline
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.comparison_json import read_comparison
from mnist_scaling.reporting.documents.fits_json import AnswerRecord, DataRecord, Fits, read_fits
from mnist_scaling.reporting.text import short
from mnist_scaling.study import columns, layout
from mnist_scaling.study.columns import COMPLETE, FITTED, REPEAT, label
from mnist_scaling.study.files import checksum, read_json
from mnist_scaling.study.identity import DATA
from mnist_scaling.study.missing import unfinished
from mnist_scaling.study.tables.csv_table import at_axes, read_study_table, read_table
from mnist_scaling.study.tables.fitted_rows import (
    ArmRows,
    Roles,
    fitted_rows,
    measured_columns,
    roles_of,
    study_columns,
)

REQUIRED = ("val_loss", "n_trials", "n_repeats", "flags")
"""Columns of a study's cells.csv that no report can do without; all others may be absent."""

ROLES = ("N", "D", "C", "U", "loss", "se")
"""Columns that `Study.cells` has beside its table's own: what was fitted, by its role."""

LABELS = {
    "n_train": "unique training images", "n_params_hidden": "hidden parameters", "test_error": "test error",
    "flops_6nd": "compute, 6ND", "val_loss": "validation loss of the selected trial",
    "repeat_val_loss": "validation loss",
}  # fmt: skip
"""What readers see instead of some columns that can be fitted in place of the usual ones."""

DEFAULT_LABELS = {"N": "parameters", "D": "training examples seen", "C": "training compute", "loss": "loss"}
"""What the roles are called where a table's header says no more than the role itself."""


@dataclass(frozen=True)
class Study:
    """One arm of a study's or of anyone's table: the whole of it where there are no arms."""

    name: str
    folder: Path
    """Where the table lies; for a study, multirun/<name>."""
    cells: pd.DataFrame
    """The rows that were fitted, and those that only lack a number, by their number in the file; also `ROLES`."""
    trials: pd.DataFrame
    """Empty where there are none."""
    axes: tuple[str, ...]
    tuned: tuple[str, ...]
    fits: Fits
    """What was found in it, or in this arm."""
    record: Mapping[str, Any]
    """study.json; empty for a table that is no study's."""
    names: Mapping[str, str | None]
    """Header of each role."""
    fits_folder: Path
    """Where fits.json lies."""
    arm: str
    """Such as ``optimizer=sgd``."""
    is_study: bool
    """False for a table from elsewhere, which has no trials."""
    table: str
    """File name of the table."""

    @property
    def roles(self) -> Roles:
        """Which axis sets N, which sets D, and which are left over."""
        if self.is_study:
            return roles_of(self.cells, self.axes, self.names)
        varying = [role if self.cells[role].nunique() > 1 else None for role in ("N", "D")]
        return Roles(varying[0], varying[1], ())

    def label(self, row: Mapping[Any, Any] | pd.Series) -> str:
        """A cell by its axes, such as ``width 8, data fraction 0.25``."""
        axes = self.axes or (() if self.is_study else tuple(r for r in ("N", "D", "C") if self.cells[r].notna().any()))
        varying = [a for a in axes if self.cells[a].nunique(dropna=False) > 1] or list(axes)
        return ", ".join(f"{label(a)} {axis_value(row[a], a)}" for a in varying) or self.name

    def call(self, role: str) -> str:
        """What readers see for a role: the label of its column, such as "test loss"."""
        header = self.names.get(role)
        if header is None or header in (role, role.lower()):
            return DEFAULT_LABELS.get(role, role)
        if self.is_study and header == FITTED.get(role):
            return {**DEFAULT_LABELS, "loss": "test loss"}.get(role, label(header))
        return LABELS.get(header, label(header)) if self.is_study else header

    def runs(self, cells: pd.DataFrame, stage: str, *states: str) -> pd.DataFrame:
        """The finished runs of some cells at a stage, or those of `states`; of repeats those with the selected setting.

        Rows of trials.csv by the row of their cell; column run is their own.
        """
        keys = [*self.axes, *(self.tuned if stage == REPEAT else ())]
        if self.trials.empty or not keys:
            return pd.DataFrame()
        done = self.trials[(self.trials["stage"] == stage) & self.trials["state"].isin(states or [COMPLETE])]
        return cells[keys].assign(cell=cells.index).merge(done.reset_index(names="run"), on=keys).set_index("cell")

    @property
    def unit(self) -> str:
        """Unit of the loss in parentheses, as far as it is known."""
        if not self.is_study or self.record.get(DATA) == []:  # a program that is not ours
            return ""
        return " (share of images)" if str(self.names.get("loss")).endswith("_error") else " (nats per example)"


def load_arms(folder: Path) -> list[Study]:
    """Every arm that fits.json in this folder holds, with the rows that each was fitted to.

    InputError when fits.json or its table is absent, damaged, or no longer what was fitted.
    """
    path = folder / layout.FITS
    if not folder.is_dir():
        known = layout.known_studies(folder.parent)
        fix = nearest(folder.name, known, "" if known else "run a study first.")
        raise InputError(f"`name` must be a study in {folder.parent}, but there is no {folder}: {fix}")
    if not (path.is_file() or (folder / layout.CELLS).is_file()):
        raise _not_run(folder)
    unfitted = not path.is_file() and (folder / layout.STUDY).is_file()
    fits = _unfitted(folder) if unfitted else read_fits(folder)
    foreign = fits.config.get("table") is not None
    table = folder / (fits.data.table or layout.CELLS)
    frame = _read_table(table, fits, folder, () if foreign else REQUIRED)
    record, axes, tuned = ({}, (), ()) if foreign else _study_record(table.parent, frame)
    trials = pd.DataFrame() if foreign else _trials(table.parent, axes, tuned)
    settings = fits.settings
    cells = settings.get("cells", ()), settings.get("best")
    chosen = fitted_rows(frame, settings["columns"], axes, tuned, settings["where"], settings["by"], *cells)
    records = {arm.name: fits for arm in chosen.arms} if unfitted else {arm.name: arm for arm in fits.arms or (fits,)}
    studies = []
    for arm in chosen.arms:
        own = _of_arm(fits, records[arm.name])
        studies.append(
            Study(
                name=table.stem if foreign else table.resolve().parent.name,
                folder=table.parent,
                cells=_cells(arm, own, chosen.names, not foreign),
                trials=trials if foreign else trials[at_axes(trials, arm.axes)],
                axes=tuple(a for a in axes if not (chosen.seeds and a == columns.SEED)),
                tuned=tuned,
                fits=own,
                record=record,
                names=chosen.names,
                fits_folder=folder,
                arm=arm.name,
                is_study=not foreign,
                table=table.name,
            )
        )
    return studies


def _unfitted(folder: Path) -> Fits:
    """What stands in for fits.json where `fit` has not run, or can't: cells and tuning can be seen all the same."""
    frame, record = read_study_table(folder / layout.CELLS, REQUIRED), read_json(folder / layout.STUDY) or {}
    trials = read_study_table(folder / layout.TRIALS) if (folder / layout.TRIALS).is_file() else pd.DataFrame()
    fit = f"python -m mnist_scaling.fit {layout.name_argument(folder)}"
    why = f"No law is fitted: `{fit}` fits one, or says what it lacks."
    if len(frame) == 1:
        why = "No law is fitted, because one cell shows no slope: give an axis more values."
    data = DataRecord(
        sha256=checksum((folder / layout.CELLS).read_bytes()),
        unfinished=unfinished(folder, frame, trials, record) or None,
    )
    names = measured_columns(study_columns({}, frame.columns), {}, frame)
    settings: dict[str, Any] = {"columns": names, "where": None, "by": [], "bootstrap": {"level": 0.95}}
    answer, headline = AnswerRecord(why, next=data.unfinished or ""), Headline(slope_N=Interval(why=why))
    return Fits(why=why, answer=answer, headline=headline, data=data, settings=settings)


def load_comparison(study: Study) -> list[str]:
    """What `compare` said of the arms of this very table, one sentence per pair; empty where it was not run on it."""
    comparison = read_comparison(study.fits_folder)
    if comparison is None:
        return []
    table = study.fits.data.sha256
    same = [pair for pair in comparison.pairs or (comparison,) if all(arm.get("sha256") == table for arm in pair.arms)]
    return [f"{pair.what} {pair.sentence}" for pair in same]


def axis_value(value: Any, axis: str = "") -> str:
    """A value of an axis, without the digits that nobody typed; a fraction as 1/64 where it is one."""
    if axis in ("N", "D", "C"):
        return short(value)
    if axis.endswith("fraction") and 0 < value < 1 and abs(1 / value - round(1 / value)) < 1e-6:
        return f"1/{round(1 / value)}"
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def _read_table(path: Path, fits: Fits, folder: Path, required: Sequence[str]) -> pd.DataFrame:
    """The table of some fits; a table that has changed since is refused, and the reason said."""
    if not path.is_file() and path.parent == folder and not fits.config.get("table"):
        raise _not_run(folder)
    study = layout.name_argument(Path(fits.config.get("name") or folder))
    source = f"table={fits.config['table']} …" if fits.config.get("table") else study
    again = f"run `python -m mnist_scaling.fit {source}` again"
    if not path.is_file():
        raise InputError(
            f"A report needs the table that was fitted, but {path} is not there any more: put it back, or {again}."
        )
    if fits.data.sha256 != checksum(path.read_bytes()):
        raise InputError(f"fits.json must be made from the table as it is, but {path} has changed since: {again}.")
    return (read_study_table if required else read_table)(path, required)


def _not_run(folder: Path) -> InputError:
    if (page := folder / layout.COMPARISON_PAGE).is_file():
        return InputError(f"A report must be one of a study, but {folder} is a comparison: its page is {page}.")
    return InputError(
        f"A study must have {folder / layout.CELLS}, but there is none: run it first with "
        f"`python -m mnist_scaling.train -m {layout.name_argument(folder)} …`."
    )


def _study_record(folder: Path, cells: pd.DataFrame) -> tuple[Mapping[str, Any], tuple[str, ...], tuple[str, ...]]:
    """study.json, and the columns that were swept and tuned."""
    record = read_json(folder / layout.STUDY)
    if record is None:
        raise InputError(
            f"A study must have {folder / layout.STUDY}, which says what was swept and tuned, but there is none: "
            "start its sweep again, which writes it."
        )
    axes, tuned = record.get("axes", []), record.get("tuned", [])
    if missing := [axis for axis in axes if axis not in cells]:
        raise InputError(
            f"cells.csv must have the axes of study.json, but lacks {', '.join(missing)}: rerun the study."
        )
    return record, tuple(axes), tuple(c for c in tuned if c in cells.columns)


def _trials(folder: Path, axes: Sequence[str], tuned: Sequence[str]) -> pd.DataFrame:
    """trials.csv, or a table without rows."""
    path = folder / layout.TRIALS
    trials = read_study_table(path) if path.is_file() else pd.DataFrame()
    return _with(trials, (*axes, *tuned, *columns.TRIAL_COLUMNS))


def _of_arm(fits: Fits, arm: Fits) -> Fits:
    """One arm's record with what all arms share."""
    data = replace(arm.data, sha256=fits.data.sha256, table=fits.data.table, unfinished=fits.data.unfinished)
    return replace(arm, config=fits.config, settings=fits.settings, command=fits.command, data=data)


def _cells(arm: ArmRows, fits: Fits, names: Mapping[str, str | None], is_study: bool) -> pd.DataFrame:
    """The rows of one arm that were fitted or lack a number, with a column for each of `ROLES`."""
    cells = arm.frame
    if is_study:
        cells = _with(cells, columns.CELL_COLUMNS)
    roles = {role: cells[header] if (header := names.get(role)) in cells else np.nan for role in ROLES}
    cells = cells.assign(**{role: pd.Series(values, cells.index, dtype=float) for role, values in roles.items()})
    if fits.why:
        return cells
    return cells[cells.index.isin({*fits.data.rows, *(left["row"] for left in fits.data.left_out)})]


def _with(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with every column that the report may read; text columns are never NaN."""
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *columns])))
    for column in ("edges", "limits", "widened", "flags"):
        if column in table:
            table[column] = table[column].astype(object).where(table[column].notna(), "").astype(str)
    return table

"""The rows that `fit` and `compare` ask for, of a study or of anyone's table, and what a study's runs say of them.

How rows are read and arms are paired is decided here, and nowhere else:

1. `where` keeps rows. The axes of a study that set neither N nor D, and the columns of `by`, tell arms apart
   (`fitted_rows`), which are never pooled.
2. Rows of an arm that agree in N and D are repeats of one cell. A study's repeats have seeds (`repeats`). Of a table,
   whose rows may be anything, `mixed` says which columns look like several kinds of runs.
3. Two arms are paired cell by cell where they share enough cells, and there seed by seed where their repeats share
   seeds (`fitting.comparing.pairing`). Tuning left something to luck where a cell had more than one trial
   (`were_tuned`): `compare` and `ask` alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.config.fit_schema import FitConfig
from mnist_scaling.errors import InputError, nearest
from mnist_scaling.fitting.comparing.pairing import pair_noise
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.read import read_columns
from mnist_scaling.fitting.rows import Table
from mnist_scaling.settings.tuning_change import TunedCells
from mnist_scaling.study import identity
from mnist_scaling.study.columns import CONVENTIONS, NO, SEED
from mnist_scaling.study.files import read_json
from mnist_scaling.study.flags import INFO, MIXED_CODE, MIXED_COLUMN, UNCERTIFIED, WARNING
from mnist_scaling.study.layout import CELLS, STUDY, TRIALS, found_folder, is_kept, known_studies
from mnist_scaling.study.missing import mixed_code, unfinished
from mnist_scaling.study.tables.cell_runs import CellTrials, repeat_losses, tuned_trials, untuned_runs, were_tuned
from mnist_scaling.study.tables.csv_table import read_study_table, read_table
from mnist_scaling.study.tables.fitted_rows import (
    ArmRows,
    FittedRows,
    fitted_rows,
    measured_columns,
    roles_of,
    study_columns,
)

TUNED_LOSSES = ("val_loss", "repeat_val_loss", "repeat_val_loss_se")
"""Columns of cells.csv beside the untuned loss: selected, tuned and its error, all on validation images."""


@dataclass(frozen=True)
class Source:
    """The table to fit, as it stands in its file, and what its study says about it."""

    path: Path
    rows: FittedRows
    study: Mapping[str, Any] | None
    """study.json; empty where a study has none, and None where the table is no study's."""
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    """trials.csv; empty where there is none."""
    tuned: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    classes: int | None = None
    unfinished: str = ""
    """That the study is unfinished, as a sentence."""
    mixed_code: str = ""
    """That the study's runs were made by different code, as a sentence."""
    said_tuned: bool | None = None
    """Whether the rows are tuned, where the user says so."""

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
        table, left_out = read_columns(columns, self.rows.names, conventions, str(self.path), frame.index.tolist())
        said = {} if self.study is None else frame.reindex(columns=["tuned"])["tuned"]
        flags = [
            (*own, UNCERTIFIED) if said.get(row) == NO else own
            for own, row in zip(table.flags, table.rows, strict=True)
        ]
        tuned = self.rows.selected or were_tuned(frame) if self.said_tuned is None else self.said_tuned
        return replace(table, examples=self._examples(frame), flags=tuple(flags), tuned=tuned), left_out

    def _examples(self, cells: pd.DataFrame) -> float | None:
        """The training examples of the study's data set, times the most passes of the cells with the most of them."""
        held = identity.data_fact(self.study or {}, "n_train")
        if held is None or self.rows.names.get("D") != "n_seen" or not {"epochs", "n_train"} <= {*cells}:
            return None
        return float(held * cells["epochs"][cells["n_train"] == cells["n_train"].max()].max())


def read(config: FitConfig) -> Source:
    """The rows that the config asks for, from a study's cells.csv or from a table."""
    wanted = asdict(config.columns)
    named = {header: f"columns.{role}" for role, header in wanted.items() if header}
    if not config.name:
        path = Path(str(config.table))
        frame = read_table(path, named)
        wanted["loss"] = wanted["loss"] or config.best
        rows = fitted_rows(frame, wanted, (), (), config.where, config.arm_columns, config.cell_columns, config.best)
        return Source(path, rows, None, said_tuned=config.tuned)
    path = found_folder(config.name) / CELLS
    if not path.is_file():
        fix = nearest(path.parent.name, known_studies(), "check `name`, or start its sweep (again) first.")
        raise InputError(f"A study must have {path}, but there is none: {fix}")
    frame = read_study_table(path, named)
    if {"n_params", "n_params_output"} <= {*frame}:
        frame["n_params_without_output"] = frame["n_params"] - frame["n_params_output"]
    names = measured_columns(study_columns(wanted, frame.columns), wanted, frame)
    study = read_json(path.parent / STUDY) or {}
    axes, tuned = (tuple(c for c in study.get(k, ()) if c in frame) for k in ("axes", "tuned"))
    rows = fitted_rows(frame, names, axes, tuned, config.where, config.arm_columns)
    trials = read_study_table(path.parent / TRIALS) if (path.parent / TRIALS).is_file() else pd.DataFrame()
    said = unfinished(path.parent, frame, trials, study), mixed_code(path.parent)
    return Source(path, rows, study, trials, tuned, axes, identity.data_fact(study, "classes"), *said)


def _why_no_runs(source: Source) -> str:
    """Why nothing can be said of single runs, as a sentence; empty where it can."""
    absent = STUDY if not source.study else TRIALS if source.trials.empty else ""
    if absent:
        return f"{source.folder} has no {absent}: there are only cells."
    if source.rows.seeds:
        return f"Rows are means over the seeds of their cell: fit one seed at a time with where='{SEED} == 0'."
    return ""


def tuned_cells(source: Source, arm: ArmRows) -> tuple[TunedCells | None, dict[str, Any], str]:
    """Losses of an arm's cells before and after tuning, the untuned setting, and why what tuning changed is unknown."""
    if why := _why_no_runs(source):
        return None, {}, why
    cells, axes, names = arm.frame, source.axes, source.rows.names
    untuned = untuned_runs(cells, source.trials, axes, source.tuned)
    roles = roles_of(cells, axes, names)
    why = untuned.why
    if roles.others and not why:
        why = f"The grid has further axes ({', '.join(roles.others)}): fit one value of each at a time with where=…."
    n, d, selected, tuned, se = (
        cells.reindex(columns=[c])[c].to_numpy(float) for c in (names["N"], names["D"], *TUNED_LOSSES)
    )
    levels = {
        k: cells[axis].to_numpy(float) if axis else np.zeros(len(cells))
        for k, axis in (("N", roles.size), ("D", roles.data))
    }
    before = untuned.runs or [{}] * len(cells)
    untuned_se = np.array([pd.Series(runs.values(), dtype=float).sem() for runs in before])
    after = repeat_losses(cells, source.trials, axes, source.tuned, TUNED_LOSSES[1])
    noise = None if after is None else pair_noise(zip(before, after, strict=True))
    losses = untuned.losses.to_numpy(float), selected, tuned, se, untuned_se
    return TunedCells(n, d, *losses, levels, noise), untuned.setting, why


def cell_trials(source: Source, arm: ArmRows) -> tuple[list[CellTrials], Mapping[str, bool], str]:
    """What was tried in each cell of an arm, the tuned keys as `setting_laws` takes them, and why there is neither."""
    if why := _why_no_runs(source) or ("" if source.tuned else "Nothing was tuned."):
        return [], {}, why
    cells, names = arm.frame, source.rows.names
    tried = tuned_trials(source.folder, cells, source.trials, source.axes)
    if tried.why:
        return [], {}, tried.why
    columns = {"N": names["N"], "D": names["D"], "steps": "steps", "loss": names["loss"]}
    there = {size: column for size, column in columns.items() if column in cells}
    sizes = [dict(zip(there, row, strict=True)) for row in cells[list(there.values())].to_numpy(float).tolist()]
    known = [replace(cell, sizes=of) for cell, of in zip(tried.cells, sizes, strict=True)]
    return known, tried.keys, ""


def repeats(source: Source, arm: ArmRows, rows: Iterable[int]) -> list[dict[int, float]] | None:
    """Loss of each repeat by seed, of these rows; None where only the means of cells are known."""
    if not source.study or source.rows.seeds or source.trials.empty:
        return None
    cells, loss = arm.frame.loc[list(rows)], str(source.rows.names["loss"])
    return repeat_losses(cells, source.trials, source.axes, source.tuned, loss)


REPLICATE = re.compile(r"seed|repeat|replica|\brep\b|run|trial|fold|draw|unnamed|^id$", re.IGNORECASE)
"""Columns that number the repeats of one cell."""

SETTING = re.compile(
    r"^(lr|.*learning.?rate|.*batch.?size|.*dropout|.*decay|.*momentum|.*warmup|.*optimi[sz]er.*)$", re.IGNORECASE
)
"""Columns of what is tuned."""

MOST_VALUES = 10
"""A column with more values, or with more than one for every two rows, is a measurement or a name."""


def mixed(source: Source, arm: ArmRows) -> list[Flag]:
    """Flags that rows of one arm may be of several kinds: a study's by their code, a table's by its columns.

    A column that nobody named, and that numbers no repeats, tells kinds apart if it has few values (`MOST_VALUES`), or
    is called like what is tuned (`SETTING`), however many it has. It is a warning where rows of one cell differ in it,
    and worth knowing where its values are words of which two cover the same sizes: else it is a name of the sizes.
    """
    if source.study is not None:
        return [Flag(MIXED_CODE, source.mixed_code)] if source.mixed_code else []
    names = source.rows.names
    rows = arm.frame[arm.frame[names["loss"]].notna()]
    sizes = [header for role in ("N", "D", "U") if (header := names.get(role))] or [str(names["C"])]
    named, flags = {*names.values(), *source.rows.by}, []
    for column in (c for c in rows.columns if c not in named and not REPLICATE.search(c)):
        values = rows[column].dropna().unique()
        few = len(values) <= min(MOST_VALUES, len(rows) // 2)
        pooled = rows.groupby(sizes)[column].nunique().max() > 1
        kinds = len(values) > 1 and (few or SETTING.search(column))
        if not kinds or not (pooled or _covers_same_sizes(rows, column, sizes)):
            continue
        some = ", ".join([*map(str, values[:3]), *["…"] * (len(values) > 3)])
        what = "taken for repeats of one cell" if pooled else "fitted as one law"
        said = f"Column {column} has {len(values)} values ({some}), and rows of several are {what}."
        apart = f"Tell them apart with by={column}, or" if few else "Give the best run of each cell alone, or"
        severity, remedy = WARNING if pooled else INFO, f"{apart} keep one {'' if few else 'value '}with where=…."
        flags.append(Flag(MIXED_COLUMN, said, severity=severity, remedy=remedy))
    return flags


def _covers_same_sizes(rows: pd.DataFrame, column: str, sizes: Sequence[str]) -> bool:
    """Whether two words of a column lie among each other along every size."""
    if pd.api.types.is_numeric_dtype(rows[column]):
        return False
    numbers = rows[sizes].apply(pd.to_numeric, errors="coerce").groupby(rows[column])
    low, high = numbers.min(), numbers.max()
    return all(any(a[1] > b[0] for a, b in pairwise(sorted(zip(low[s], high[s], strict=True)))) for s in sizes)

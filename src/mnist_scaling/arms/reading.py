"""The rows that `fit` and `compare` ask for, from a study or from anyone's table, arm by arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_scaling.config.fit_schema import FitConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.read import read_columns
from mnist_scaling.fitting.rows import Table
from mnist_scaling.study import provenance
from mnist_scaling.study.columns import CONVENTIONS
from mnist_scaling.study.files import read_json
from mnist_scaling.study.layout import CELLS, STUDY, TRIALS, study_folder
from mnist_scaling.study.missing import unfinished
from mnist_scaling.study.tables.fitted_rows import ArmRows, FittedRows, fitted_rows, study_columns
from mnist_scaling.study.tables.trials_and_cells import read_table

OLD_CLASSES = 10
"""Classes of a study that does not state them: every data set had ten when such studies were made."""


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

    @property
    def folder(self) -> Path:
        """Folder of the table."""
        return self.path.parent

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
        rows = fitted_rows(frame, wanted, where=config.where, by=config.arm_columns)
        return Source(path, rows, None)
    path = study_folder(config.name) / CELLS
    if not path.is_file():
        raise InputError(f"A study must have {path}, but there is none: check `name`, or run the study first.")
    names = study_columns(wanted, read_table(path).columns)
    frame = _other_counts(read_table(path, [header for header in names.values() if header]))
    study = read_json(path.parent / STUDY) or {}
    axes, tuned = (tuple(c for c in study.get(k, ()) if c in frame) for k in ("axes", "tuned"))
    rows = fitted_rows(frame, names, axes, tuned, config.where, config.arm_columns)
    trials = read_table(path.parent / TRIALS) if (path.parent / TRIALS).is_file() else pd.DataFrame()
    return Source(path, rows, study, tuned, axes, _classes(study), unfinished(path.parent, frame, trials, study))


def _classes(study: Mapping[str, Any]) -> int | None:
    """Number of classes that a study states; None where its data sets differ in it."""
    return provenance.classes(study) if provenance.DATA in study else OLD_CLASSES


def _other_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Conventions that are differences or multiples of a study's columns."""
    derived = {
        "n_params_without_output": ("n_params", "n_params_output", lambda a, b: a - b),
        "flops_without_output": ("flops", "flops_output", lambda a, b: a - b),
        "flops_3_forward": ("flops_forward", "flops_forward", lambda a, _: 3 * a),
    }
    there = {k: v for k, v in derived.items() if v[0] in frame and v[1] in frame}
    return frame.assign(**{k: make(frame[a], frame[b]) for k, (a, b, make) in there.items()})

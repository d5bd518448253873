"""A finished study in memory: its tables, its fits, and which axis of the grid means what."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.errors import InputError
from mnist_scaling.study import columns, layout, tables
from mnist_scaling.study.columns import label
from mnist_scaling.study.files import read_json
from mnist_scaling.study.roles import Roles, roles_of

REQUIRED = ("n_params", "n_seen", "flops", "val_loss", "test_loss", "test_loss_se", "n_trials", "n_repeats", "flags")
"""Columns of cells.csv that no report can do without; all others may be absent."""


@dataclass(frozen=True)
class Study:
    """What multirun/<name>/ holds."""

    name: str
    folder: Path
    cells: pd.DataFrame
    trials: pd.DataFrame
    axes: tuple[str, ...]
    tuned: tuple[str, ...]
    fits: Mapping[str, Any]
    """fits.json; docs/fitting.md says what each key is."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """study.json."""

    @property
    def roles(self) -> Roles:
        """Which axis sets N, which sets D, and which are left over."""
        return roles_of(self.cells, self.axes)

    def label(self, row: Mapping[Any, Any] | pd.Series) -> str:
        """A cell by its axes, such as ``width 8, data fraction 0.25``."""
        varying = [a for a in self.axes if self.cells[a].nunique(dropna=False) > 1] or list(self.axes)
        return ", ".join(f"{label(a)} {axis_value(row[a], a)}" for a in varying) or self.name


def load(folder: Path) -> Study:
    """Read a study's folder.

    Parameters
    ----------
    folder : Path
        multirun/<name>.

    Raises
    ------
    InputError
        When the study or its fits.json is absent, damaged, or of another grid than the table.
    """
    if not folder.is_dir():
        raise InputError(
            f"`name` must be a study in {folder.parent}, but there is no {folder}: {_known(folder.parent)}."
        )
    if not (folder / layout.CELLS).is_file():
        raise InputError(
            f"A study must have {folder / layout.CELLS}, but there is none: run it first with "
            f"`python -m mnist_scaling.train -m name={folder.name} …`."
        )
    cells = tables.read_table(folder / layout.CELLS, REQUIRED)
    if cells.empty:
        raise InputError(f"A study must have at least one cell, but {folder / layout.CELLS} has no row: run the study.")
    record = read_json(folder / layout.STUDY)
    if record is None:
        raise InputError(
            f"A study must have {folder / layout.STUDY}, which says what was swept and tuned, but there is none: "
            "start its sweep again, which writes it."
        )
    axes, tuned = _axes_and_tuned(record, cells)
    path = folder / layout.TRIALS
    trials = tables.read_table(path) if path.is_file() else pd.DataFrame()
    study = Study(
        name=folder.name,
        folder=folder,
        cells=_with(cells, columns.CELL_COLUMNS),
        trials=_with(trials, (*axes, *tuned, *columns.TRIAL_COLUMNS)),
        axes=axes,
        tuned=tuned,
        fits=_read_fits(folder),
        record=record,
    )
    _check_rows(study)
    return study


def axis_value(value: Any, axis: str = "") -> str:
    """A value of an axis, without the digits that nobody typed; a fraction as 1/64 where it is one."""
    if axis.endswith("fraction") and 0 < value < 1 and abs(1 / value - round(1 / value)) < 1e-6:
        return f"1/{round(1 / value)}"
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def _axes_and_tuned(record: Mapping[str, Any], cells: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    axes, tuned = record.get("axes", []), record.get("tuned", [])
    missing = [c for c in axes if c not in cells.columns]
    if missing:
        raise InputError(
            f"cells.csv must have the axes of study.json, but lacks {', '.join(missing)}: rerun the study."
        )
    return tuple(axes), tuple(c for c in tuned if c in cells.columns)


def _with(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The table with every column that the report may read; text columns are never NaN."""
    table = table.reindex(columns=list(dict.fromkeys([*table.columns, *columns])))
    for column in ("edges", "limits", "widened", "flags"):
        if column in table:
            table[column] = table[column].astype(object).where(table[column].notna(), "").astype(str)
    return table


def _read_fits(folder: Path) -> Mapping[str, Any]:
    path = folder / layout.FITS
    again = f"run `python -m mnist_scaling.fit name={folder.name}`"
    fits = read_json(path)
    if fits is None:
        raise InputError(f"A report needs the fits in {path}, but there are none: {again} first.")
    if fits.get("schema") != 1 or not isinstance(fits.get("laws"), dict):
        raise InputError(f"{path} must have schema 1 and laws, but has schema {fits.get('schema')}: {again} again.")
    return {"frontier": {}, "flags": [], "selected": None} | fits


def _check_rows(study: Study) -> None:
    """Refuse fits of another table: an exponent beside the wrong cells is worse than none."""
    settings = study.fits.get("settings", {})
    losses = study.cells[settings.get("columns", {}).get("loss") or "test_loss"]
    points = [p for m in study.fits["frontier"].values() for p in m.get("points", []) if "row" in p]
    same = all(p["row"] < len(losses) and np.isclose(losses[p["row"]], p["loss"], rtol=1e-6) for p in points)
    fitted = study.fits.get("data", {}).get("n")
    masked = len(study.fits.get("data", {}).get("masked", []))
    grown = fitted is not None and not study.fits["data"].get("notes") and int(losses.notna().sum()) > fitted + masked
    filtered = bool(study.fits.get("data", {}).get("left_out")) or bool(settings.get("where"))
    known = study.fits.get("data", {}).get("sha256")  # fits of before there was one lack it
    other = known is not None and known != hashlib.sha256((study.folder / layout.CELLS).read_bytes()).hexdigest()
    if other or not same or (grown and not filtered):
        raise InputError(
            f"fits.json must be made from the cells.csv beside it, but {study.folder / layout.CELLS} has changed "
            f"since: run `python -m mnist_scaling.fit name={study.name}` again."
        )


def _known(multirun: Path) -> str:
    names = sorted(p.parent.name for p in multirun.glob(f"*/{layout.CELLS}"))
    return f"there is {', '.join(names)}" if names else "run a study first"

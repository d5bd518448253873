"""python -m mnist_scaling.fit: fit scaling laws to a study's cells.csv or to anyone's table, write fits.json."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.config import build
from mnist_scaling.errors import InputError
from mnist_scaling.fit_config import FitConfig
from mnist_scaling.fitting.analysis import analyse
from mnist_scaling.fitting.coverage import coverage_of
from mnist_scaling.fitting.envelope import attach
from mnist_scaling.fitting.fits_json import coverage_record, document, sensitivity_record, tuning_change_record
from mnist_scaling.fitting.read import read_columns
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.sensitivity import sensitivity
from mnist_scaling.fitting.terminal import show
from mnist_scaling.fitting.tuning_change import TunedCells, tuning_change
from mnist_scaling.study import missing
from mnist_scaling.study.columns import CONVENTIONS, FITTED
from mnist_scaling.study.files import read_json, write_atomically
from mnist_scaling.study.layout import CELLS, CURVES, FITS, STUDY, TRIALS, study_folder
from mnist_scaling.study.roles import roles_of
from mnist_scaling.study.tables import read_table
from mnist_scaling.study.untuned import untuned_runs

CURVE_ROLES = {"row": "cell", "N": "n_params", "D": "n_seen", "C": "flops", "loss": "val_loss", "phase": "phase"}
"""Columns of a study's curves.csv."""

TUNED_LOSSES = ("val_loss", "repeat_val_loss", "repeat_val_loss_se")
"""Columns of cells.csv beside the untuned loss: selected, tuned and its error, all on validation images."""


@dataclass(frozen=True)
class Source:
    """The rows to fit, as they stand in their file."""

    path: Path
    frame: pd.DataFrame
    names: dict[str, str | None]
    """Header of each role."""
    study: bool

    def table(self) -> tuple[Table, list[dict[str, Any]]]:
        """What is fitted, and the rows left out of it."""
        frame = self.frame
        columns = {str(c): frame[c].astype(object).where(frame[c].notna(), None).tolist() for c in frame.columns}
        conventions = CONVENTIONS if self.study else None
        return read_columns(columns, self.names, conventions, str(self.path), frame.index.tolist())


def read(config: FitConfig) -> Source:
    """The rows that the config asks for, from a study's cells.csv or from a table."""
    names: dict[str, str | None]
    if config.name:
        path = study_folder(config.name) / CELLS
        if not path.is_file():
            raise InputError(f"A study must have {path}, but there is none: check `name`, or run the study first.")
        names = FITTED | {role: header for role, header in asdict(config.columns).items() if header}
    else:
        path, names = Path(str(config.table)), asdict(config.columns)
    frame = read_table(path, [header for header in names.values() if header])
    if config.name:
        frame = _other_counts(frame)
    if config.where:
        frame = _filter(frame, config.where, path)
    return Source(path, frame, names, bool(config.name))


def _with_curves(table: Table, config: FitConfig) -> tuple[Table, str]:
    """The table with its study's learning curves, if they can be used, and else why not.

    Raises
    ------
    InputError
        When curves=true asks for curves that can't be used.
    """
    if not config.name or config.curves is False:
        return table, ""
    path = study_folder(config.name) / CURVES
    if path.is_file():
        points = read_table(path, CURVE_ROLES.values())
        table, why = attach(table, {role: points[column].to_numpy() for role, column in CURVE_ROLES.items()})
    else:
        why = f"there is no {path}: set curve.points, or use regime=early_stopping"
        why = f"The learning curves are not used: {why}."
    if why and config.curves is True:
        raise InputError(f"`curves=true` needs learning curves at a constant rate. {why}")
    return table, why if path.is_file() else ""


def _other_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Conventions that are differences or multiples of a study's columns."""
    derived = {
        "n_params_without_output": ("n_params", "n_params_output", lambda a, b: a - b),
        "flops_without_output": ("flops", "flops_output", lambda a, b: a - b),
        "flops_3_forward": ("flops_forward", "flops_forward", lambda a, _: 3 * a),
    }
    there = {k: v for k, v in derived.items() if v[0] in frame and v[1] in frame}
    return frame.assign(**{k: make(frame[a], frame[b]) for k, (a, b, make) in there.items()})


def _filter(frame: pd.DataFrame, where: str, path: Path) -> pd.DataFrame:
    try:
        kept = frame.query(where, engine="python")
    except Exception as error:  # pandas raises whatever the expression raises
        raise InputError(
            f"`where` must be a condition on columns of {path}, but {where!r} is none ({error}): mend it."
        ) from error
    if kept.empty:
        raise InputError(f"`where` must keep some rows of {path}, but {where!r} keeps none: widen it.")
    return kept


def _tuning_change(source: Source, level: float) -> dict[str, Any]:
    """What tuning changed in a study: the record that stands in fits.json."""
    folder, cells = source.path.parent, source.frame
    study = read_json(folder / STUDY) or {}
    axes, tuned = (tuple(c for c in study.get(k, ()) if c in cells) for k in ("axes", "tuned"))
    path = folder / TRIALS
    if not study or not path.is_file():
        return tuning_change_record(None, why=f"{folder} has no {TRIALS if study else STUDY}: there are only cells.")
    found, roles = untuned_runs(cells, read_table(path), axes, tuned), roles_of(cells, axes)
    constant = np.zeros(len(cells))
    n, d = (cells[source.names[k]].to_numpy(float) for k in ("N", "D"))
    selected, tuned_loss, se = (cells.reindex(columns=[c])[c].to_numpy(float) for c in TUNED_LOSSES)
    grid = TunedCells(
        n, d, found.losses.to_numpy(float), selected, tuned_loss, se,
        {k: cells[a].to_numpy(float) if a else constant for k, a in (("N", roles.size), ("D", roles.data))},
    )  # fmt: skip
    why = found.why
    if roles.others and not why:
        why = f"The grid has further axes ({', '.join(roles.others)}): fit one value of each at a time with where=…."
    rows = cells.index.to_numpy()
    return tuning_change_record(grid, rows, None if why else tuning_change(grid, level), found.setting, why)


@hydra.main(config_path=cli.conf_dir(), config_name="fit")
def main(cfg: DictConfig) -> None:
    """Read, fit, write, show."""
    with cli.user_errors("fit"):
        run(build(FitConfig, cfg))


def run(config: FitConfig) -> None:
    """Fit one table, write fits.json and print what it says."""
    source = read(config)
    if config.name:
        missing.warn(source.path.parent)
    table, left_out = source.table()
    table, why_not = _with_curves(table, config)
    result = analyse(table, config.options())
    record = document(result)
    record["data"] |= {"left_out": left_out, "sha256": hashlib.sha256(source.path.read_bytes()).hexdigest()}
    record["settings"] |= {"columns": source.names, "where": config.where}
    if config.name:
        record["tuning_change"] = _tuning_change(source, config.bootstrap.level)
    if config.sensitivity:
        record["sensitivity"] = sensitivity_record(sensitivity(result))
    if config.coverage.draws:
        found = coverage_of(result, config.coverage.law, config.coverage.draws, config.coverage.bootstrap)
        record["coverage"] = coverage_record(*found)
    if why_not:
        record["data"]["notes"].append(why_not)
    path = (Path(config.out) if config.out else source.path.parent) / FITS
    write_atomically(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
    show(record, path)


if __name__ == "__main__":
    cli.run(main, "fit")

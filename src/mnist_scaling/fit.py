"""python -m mnist_scaling.fit: fit scaling laws to a study's cells.csv or to anyone's table, write fits.json."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.config import build
from mnist_scaling.config.fit_schema import CoverageConfig, FitConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fit_source import Source, read
from mnist_scaling.fitting.analysis import Result, analyse
from mnist_scaling.fitting.coverage import coverage_of
from mnist_scaling.fitting.frontier.envelope import attach
from mnist_scaling.fitting.inputs.rows import Table
from mnist_scaling.fitting.sensitivity import sensitivity
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.fits_json import CoverageRecord, Fits, LeftOut
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.documents.tuning_records import SettingsRecord, TuningRecord
from mnist_scaling.reporting.recording.fit_record import coverage_record, fit_record, not_fitted, of_arms
from mnist_scaling.reporting.recording.settings_record import settings_laws_record, tuning_change_record
from mnist_scaling.reporting.words.fit_summary import fit_summary
from mnist_scaling.settings.optimal_settings import Options as SettingsOptions
from mnist_scaling.settings.optimal_settings import TunedKey, optimal_settings
from mnist_scaling.settings.tuning_change import TunedCells, tuning_change
from mnist_scaling.settings.vertices import CellTrials
from mnist_scaling.study import missing
from mnist_scaling.study.columns import SEED
from mnist_scaling.study.files import write_atomically
from mnist_scaling.study.flags import TOO_FEW_CELLS
from mnist_scaling.study.layout import CURVES, FITS, STUDY, TRIALS
from mnist_scaling.study.tables.cell_runs import tuned_trials, untuned_runs
from mnist_scaling.study.tables.fitted_rows import Arm, roles_of
from mnist_scaling.study.tables.trials_and_cells import read_table

CURVE_ROLES = {"row": "cell", "N": "n_params", "D": "n_seen", "C": "flops", "loss": "val_loss", "phase": "phase"}
"""Columns of a study's curves.csv."""

TUNED_LOSSES = ("val_loss", "repeat_val_loss", "repeat_val_loss_se")
"""Columns of cells.csv beside the untuned loss: selected, tuned and its error, all on validation images."""

LARGER = 4.0
"""Best settings are predicted for a model that is so many times the largest, where no other is asked for."""


def _with_curves(table: Table, config: FitConfig, source: Source) -> tuple[Table, str]:
    """The table with its study's learning curves, if they can be used, and else why not.

    Raises
    ------
    InputError
        When curves=true asks for curves that can't be used.
    """
    if source.study is None or config.curves is False:
        return table, ""
    path = source.folder / CURVES
    if source.rows.seeds:
        why = "The learning curves are not used: a row is the mean over seeds, and a curve is that of one run."
    elif path.is_file():
        points = read_table(path, CURVE_ROLES.values())
        table, why = attach(table, {role: points[column].to_numpy() for role, column in CURVE_ROLES.items()})
    else:
        why = f"there is no {path}: set curve.points, or use regime=early_stopping"
        why = f"The learning curves are not used: {why}."
    if why and config.curves is True:
        raise InputError(f"`curves=true` needs learning curves at a constant rate. {why}")
    return table, why if path.is_file() else ""


def _tuning_change(source: Source, arm: Arm, level: float) -> TuningRecord:
    """What tuning changed in one arm of a study."""
    cells, axes, path = arm.frame, source.axes, source.folder / TRIALS
    if not source.study or not path.is_file():
        absent = TRIALS if source.study else STUDY
        return tuning_change_record(None, why=f"{source.folder} has no {absent}: there are only cells.")
    if source.rows.seeds:
        why = f"Rows are means over the seeds of their cell: fit one seed at a time with where='{SEED} == 0'."
        return tuning_change_record(None, why=why)
    found, roles = untuned_runs(cells, read_table(path), axes, source.tuned), roles_of(cells, axes)
    constant = np.zeros(len(cells))
    n, d = (cells[source.rows.names[k]].to_numpy(float) for k in ("N", "D"))
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


def _settings_laws(source: Source, arm: Arm, config: FitConfig) -> SettingsRecord:
    """How the best settings of one arm of a study move with its sizes."""
    cells, path, names = arm.frame, source.folder / TRIALS, source.rows.names
    if not source.tuned or not path.is_file():
        why = f"{source.folder} has no {TRIALS}." if source.tuned else "Nothing was tuned."
        return settings_laws_record(None, why=why)
    if source.rows.seeds:
        why = f"Rows are means over the seeds of their cell: fit one seed at a time with where='{SEED} == 0'."
        return settings_laws_record(None, why=why)
    found = tuned_trials(source.folder, cells, read_table(path), source.axes)
    if found.why:
        return settings_laws_record(None, why=found.why)
    columns = {"N": names["N"], "D": names["D"], "steps": "steps", "loss": names["loss"]}
    there = {size: cells[column].to_numpy(float) for size, column in columns.items() if column in cells}
    sizes = [{size: float(values[i]) for size, values in there.items()} for i in range(len(cells))]
    tried = [CellTrials(**vars(cell), sizes=of) for cell, of in zip(found.cells, sizes, strict=True)]
    keys = [TunedKey(name, log) for name, log in found.keys.items()]
    options = SettingsOptions(
        draws=min(config.bootstrap.draws, SettingsOptions.draws), level=config.bootstrap.level, seed=config.seed
    )
    laws = optimal_settings(tried, keys, options=options)
    return settings_laws_record(laws, cells.index.tolist(), at=_new_cell(config, there))


def _new_cell(config: FitConfig, sizes: Mapping[str, np.ndarray]) -> dict[str, float]:
    """N and D of the cell whose best settings are predicted: what `predict` asks for, else `LARGER` times the largest N
    on the most data."""
    asked = {"N": config.predict.N, "D": config.predict.D}
    usual = {"N": LARGER * float(np.nanmax(sizes["N"])), "D": float(np.nanmax(sizes["D"]))}
    return {size: usual[size] if value is None else value for size, value in asked.items()}


@hydra.main(config_path=cli.conf_dir(), config_name="fit")
def main(cfg: DictConfig) -> None:
    """Read, fit, write, show."""
    with cli.user_errors("fit"):
        run(build(FitConfig, cfg), HydraConfig.get().overrides.task)


def run(config: FitConfig, overrides: Sequence[str] = ()) -> None:
    """Fit every arm of one table, write fits.json and print what it says.

    Parameters
    ----------
    config : FitConfig
    overrides : sequence of str
        What was typed, for the report's page.
    """
    source = read(config)
    if config.name:
        missing.warn(source.folder)
    path = (Path(config.out) if config.out else source.folder) / FITS
    records = _arms(source, config)
    found = of_arms(records) if source.rows.by else records[0]
    data = replace(
        found.data,
        sha256=hashlib.sha256(source.path.read_bytes()).hexdigest(),
        table=os.path.relpath(source.path, path.parent),
        unfinished=source.unfinished,
    )
    settings = {"columns": source.rows.names, "where": config.where, "by": list(source.rows.by)}
    command = shlex.join(["python", "-m", "mnist_scaling.fit", *overrides]) if overrides else ""
    found = replace(found, data=data, settings={**found.settings, **settings}, config=asdict(config), command=command)
    write_atomically(path, json.dumps(plain(found), indent=1, allow_nan=False) + "\n")
    terminal.show(fit_summary(found))
    print(f"\nWritten: {path}")


def _arms(source: Source, config: FitConfig) -> list[Fits]:
    """The record of each arm; an arm that can't be fitted says why, unless none can.

    Raises
    ------
    InputError
        When no arm can be fitted.
    """
    records, errors = [], []
    for arm in source.rows.arms:
        try:
            record = _fit(source, arm, config)
        except InputError as error:
            sentence = f"{source.unfinished} {error}".strip()
            errors.append(InputError(f"{arm.name}: {sentence}" if arm.name else sentence))
            record = not_fitted(sentence)
        records.append(replace(record, name=arm.name, axes=dict(arm.axes)) if arm.name else record)
    if len(errors) == len(records):
        raise errors[0]
    return records


def _fit(source: Source, arm: Arm, config: FitConfig) -> Fits:
    """Everything that is asked for of one arm."""
    table, left_out = source.table(arm)
    table, why_not = _with_curves(table, config, source)
    result = analyse(table, config.options(source.classes))
    found = fit_record(result)
    seeds = f"{source.rows.seeds} rows are {sum(len(a.frame) for a in source.rows.arms)} means over seeds."
    notes = [note for note in (why_not, seeds if source.rows.seeds else "") if note]
    flags = [
        replace(flag, remedy=source.unfinished) if source.unfinished and flag.code == TOO_FEW_CELLS else flag
        for flag in found.flags
    ]
    of_study = source.study is not None
    return replace(
        found,
        data=replace(found.data, notes=[*found.data.notes, *notes], left_out=[LeftOut(**row) for row in left_out]),
        flags=flags,
        tuning_change=_tuning_change(source, arm, config.bootstrap.level) if of_study else None,
        settings_laws=_settings_laws(source, arm, config) if of_study else None,
        sensitivity=sensitivity(result) if config.sensitivity else None,
        coverage=_coverage(result, config.coverage) if config.coverage.draws else None,
    )


def _coverage(result: Result, config: CoverageConfig) -> CoverageRecord:
    return coverage_record(*coverage_of(result, config.law, config.draws, config.bootstrap))


if __name__ == "__main__":
    cli.run(main, "fit")

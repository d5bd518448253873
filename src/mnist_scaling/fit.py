"""python -m mnist_scaling.fit: fit scaling laws to a study's cells.csv or to anyone's table, write fits.json."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.arms.optuna_runs import write_runs
from mnist_scaling.arms.reading import Source, cell_trials, mixed, read, tuned_cells
from mnist_scaling.config import JSON, build
from mnist_scaling.config.fit_schema import FitConfig, RowsConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.ahead import Foreseen, leave_future_out
from mnist_scaling.fitting.analysis import Result, analyse
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.fit_record import fit_record, not_fitted, of_arms
from mnist_scaling.reporting.documents.fits_json import Fits
from mnist_scaling.reporting.documents.json_form import plain
from mnist_scaling.reporting.documents.tuning_records import SettingsRecord, settings_laws_record, tuning_change_record
from mnist_scaling.reporting.words.fit_sentences import fit_summary, left_out_of
from mnist_scaling.reporting.words.in_short import answer
from mnist_scaling.study import layout, missing
from mnist_scaling.study.columns import label
from mnist_scaling.study.files import DamagedFileError, checksum, read_json, write_atomically
from mnist_scaling.study.flags import TOO_FEW_CELLS, for_study
from mnist_scaling.study.tables.cell_runs import certified
from mnist_scaling.study.tables.fitted_rows import ArmRows, roles_of

PLANNED = {one.name for one in fields(RowsConfig)} - {"out", "format"}
"""Keys of the rows that were fitted, which `plan` takes, too."""

LARGER = 4.0
"""Best settings are predicted for a model that is so many times the largest, where no other is asked for."""


def _settings_laws(source: Source, arm: ArmRows, config: FitConfig) -> SettingsRecord:
    """How the best settings of one arm of a study move with its sizes."""
    tried, keys, why = cell_trials(source, arm)
    if why:
        return SettingsRecord(why)
    # Predicted are those of the cell that `predict` asks for, else of `LARGER` times the largest N on the most data.
    n, d = config.predict.N, config.predict.D
    largest = {size: float(np.nanmax([cell.sizes[size] for cell in tried])) for size in ("N", "D")}
    at = {"N": LARGER * largest["N"] if n is None else n, "D": largest["D"] if d is None else d}
    return settings_laws_record(tried, keys, config.bootstrap.level, arm.frame.index.tolist(), at)


@hydra.main(config_path=cli.conf_dir(), config_name="fit")
def main(cfg: DictConfig) -> None:
    """Read, fit, write, show."""
    with cli.user_errors("fit"):
        run(build(FitConfig, cfg), HydraConfig.get().overrides.task)


def run(config: FitConfig, overrides: Sequence[str] = ()) -> None:
    """Fit every arm of one table, write fits.json and print what it says; `overrides` were typed."""
    if config.optuna:
        table = write_runs(config.optuna, Path(str(config.out)))
        config = replace(config, optuna=None, table=str(table), best=config.best or "value")
    source = read(config)
    if config.name:
        missing.note_kept(source.folder)
        missing.warn(source.folder)
    path = (Path(config.out) if config.out else source.folder) / layout.FITS
    settings = {"columns": source.rows.names, "where": config.where, "by": list(source.rows.by)}
    settings |= {"cells": list(config.cell_columns), "best": config.best}
    records = [replace(one, settings={**one.settings, **settings}) for one in _arms(source, config)]
    fits = of_arms(records) if source.rows.by else records[0]
    data = replace(
        fits.data,
        sha256=checksum(source.path.read_bytes()),
        table=os.path.relpath(source.path, path.parent),
        unfinished=source.unfinished,
    )
    written = config.out is not None or not source.kept
    if written:
        _keep_another_tables(path, source.path)
    typed = [one for one in overrides if one != f"out={source.folder}"]  # it goes there unless that is a kept study
    command = shlex.join(["python", "-m", "mnist_scaling.fit", *typed]) if overrides else ""
    if fits.headline.laws and overrides:  # so a plan has a law of one arm to rest on
        rows = [one for one in overrides if re.split(r"[.=]", one)[0] in PLANNED]
        plan = shlex.join(["python", "-m", "mnist_scaling.plan", *rows])
        first = for_study(fits.answer.next, "")  # `plan` names its own resolve=true, and one command is enough here
        advised = f"{first} `{plan}` says which runs would narrow these numbers, and where.".strip()
        sizes = fits.headline.sizes
        if [*config.asked] == ["C"] and sizes and config.asked["C"] >= sizes[0].C:
            look = f"{plan} target.flops={config.asked['C']:g} register=false"
            advised += (
                f" `{look}` names a model that can be trained with it, what one run of it gives, and its settings."
            )
        fits = replace(fits, answer=replace(fits.answer, next=advised))
    fits = replace(fits, data=data, config=asdict(config), command=command)
    text = json.dumps(plain(fits), indent=1, allow_nan=False) + "\n"
    if written:
        write_atomically(path, text)
    if config.format == JSON:
        print(text, end="")
        return
    terminal.show(fit_summary(fits, config.details))
    print(f"Written: {path}" if written else f"{path} stays as it came with the repository: out=FOLDER keeps this fit.")


def _keep_another_tables(path: Path, table: Path) -> None:
    """Move the fits of another table aside, and say so: two tables of one folder share its fits.json."""
    with contextlib.suppress(DamagedFileError):
        before = ((read_json(path) or {}).get("data") or {}).get("table")
        if before and (other := (path.parent / before).resolve()) != table.resolve() and other.is_file():
            kept = path.replace(path.with_name(f"{path.stem}-{other.stem}{path.suffix}"))
            said = f"Note: {path} was the fit of {before}, and is kept as {kept.name}; out=FOLDER keeps them apart."
            print(said, file=sys.stderr)  # format=json is all that stdout holds


def _arms(source: Source, config: FitConfig) -> list[Fits]:
    """The record of each arm; an arm that can't be fitted says why, and InputError does when none can."""
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


def _fit(source: Source, arm: ArmRows, config: FitConfig) -> Fits:
    """Everything that is asked for of one arm."""
    table, left_out = source.table(arm)
    _act(config, [*table.inputs])
    try:
        result = analyse(table, config.options(source.classes))
    except InputError as error:
        raise InputError(f"{error} {left_out_of(left_out)}".strip()) from None
    of_study, level = source.study is not None, config.bootstrap.level
    record = fit_record(result, mixed(source, arm), certified(arm.frame) if of_study else None)
    if config.asked and result.model is not None and (off := result.headline.asked.why):
        raise InputError(f"`predict` must be a point that the model has. {off}")
    seeds = f"{source.rows.seeds} rows are {sum(len(a.frame) for a in source.rows.arms)} means over seeds."
    notes = [note for note in (seeds if source.rows.seeds else "", source.rows.note) if note]
    named = layout.name_argument(source.folder) if of_study and not source.kept else ""
    flags = [
        replace(flag, remedy=(flag.code == TOO_FEW_CELLS and source.unfinished) or for_study(flag.remedy, named))
        for flag in record.flags
    ]
    sizes, ahead = (_sizes(source, arm) if of_study else {}), _foreseen(result, config.leave_future_out, of_study)
    data = replace(record.data, notes=[*record.data.notes, *notes], left_out=left_out, sizes=sizes)
    record = replace(record, data=data, flags=flags, leave_future_out=ahead)
    if of_study:
        change = tuning_change_record(*tuned_cells(source, arm), arm.frame.index.to_numpy(), level)
        record = replace(record, tuning_change=change, settings_laws=_settings_laws(source, arm, config))
    return replace(record, answer=answer(record))


def _sizes(source: Source, arm: ArmRows) -> dict[str, float]:
    """N at each value of the axis that sets it, if that is a number."""
    axis, n = roles_of(arm.frame, source.axes, source.rows.names).size, source.rows.names.get("N")
    if axis is None or n is None or not pd.api.types.is_numeric_dtype(arm.frame[axis]):
        return {}
    sizes = arm.frame.dropna(subset=[n]).groupby(axis)[n].median().sort_values()
    return {f"{label(axis)} {value:g}": float(size) for value, size in sizes.items()}


def _foreseen(result: Result, wanted: bool | None, of_study: bool) -> list[Foreseen] | None:
    """Leave-future-out, where it is wanted; of a study without being asked for, unless its cells are too few."""
    if wanted or (wanted is None and of_study):
        with contextlib.suppress(*(() if wanted else (InputError,))):
            return leave_future_out(result.model, result.options.seed)
    return None


def _act(config: FitConfig, inputs: Sequence[str]) -> None:
    """Refuse options that need a column which the table does not name."""
    needs = {} if config.isoflop == FitConfig.isoflop else {"isoflop": "NC"}
    needs |= {f"predict.{k}": k for k in config.asked}
    for key, roles in needs.items():
        if lacking := [k for k in roles if k not in inputs]:
            raise InputError(
                f"`{key}` needs {' and '.join(roles)}, but the table names no {' and no '.join(lacking)}: give "
                f"columns.{lacking[0]}=…, or leave it out."
            )


if __name__ == "__main__":
    cli.run(main, "fit")

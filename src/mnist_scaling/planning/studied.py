"""One reading of a finished study, or of anyone's table: its rows, its fitted model, its noise, and what its runs cost.

    ln L = surface(N, D) + e        e: the noise of the cell's repeats, and what its tuning leaves to luck

The surface's draws are those behind the headline of `fit`, and the two sizes of e are those that these draws rest on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.arms.reading import Source, read
from mnist_scaling.config.fit_schema import FitConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.analysis import Result, analyse
from mnist_scaling.fitting.misfit.posterior import Model
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.noise import seed_noise
from mnist_scaling.study.columns import column_of
from mnist_scaling.study.identity import COMMAND, IDENTITY
from mnist_scaling.study.layout import cell_parts
from mnist_scaling.study.records import read_cells
from mnist_scaling.study.tables.fitted_rows import ArmRows, Roles, roles_of

Counts = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, float]]
"""From values of a run, defaults left out or not, and the config keys that differ to columns known before the run."""


@dataclass(frozen=True)
class Studied:
    """A study or table of one arm, and its fit; `counts` where the study's program can count a run before it starts."""

    source: Source
    arm: ArmRows
    result: Result
    counts: Counts | None = None

    @property
    def folder(self) -> Path:
        """Of the table."""
        return self.source.folder

    @property
    def is_study(self) -> bool:
        """Whether runs and cells stand behind the rows, and not a table from elsewhere."""
        return self.source.study is not None

    @property
    def table(self) -> Table:
        """The rows that were fitted; `table.rows` are their labels in `cells`."""
        return self.result.table

    @property
    def cells(self) -> pd.DataFrame:
        """The rows as they stand in the file, by their number there: all columns of cells.csv, or of the table."""
        return self.arm.frame

    @property
    def loss(self) -> str:
        """Column of the loss that is fitted."""
        return str(self.source.rows.names["loss"])

    @cached_property
    def roles(self) -> Roles:
        """Which axis sets the size of a model, and which the amount of data."""
        return roles_of(self.cells, self.source.axes, self.source.rows.names)

    @property
    def made_by(self) -> str:
        """The command that made the study; empty where nobody knows it."""
        return str((self.source.study or {}).get(COMMAND, ""))

    @property
    def can_grow(self) -> bool:
        """Whether it is a study of one's own, which `train` goes on with."""
        return bool(self.made_by) and not self.source.kept

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the cells of a study share, as its study.json has it."""
        return (self.source.study or {}).get(IDENTITY) or {}

    @cached_property
    def records(self) -> Mapping[Path, Mapping[str, Any]]:
        """Every cell.json by the cell's folder; none of a table from elsewhere."""
        return read_cells(self.folder) if self.is_study else {}

    def name_of(self, row: int) -> str:
        """A row by its axes, or by its number in a table that has none."""
        axes = [*self.source.axes]
        return " ".join(cell_parts(dict(self.cells.loc[row, axes].astype(object)))) if axes else f"row {row}"

    @property
    def model(self) -> Model:
        """The law with a misfit, whose draws everything rests on."""
        if self.result.model is None:
            rule = f"A plan must rest on a fit, but {self.source.path} has none ({self.result.why or 'too few rows'})"
            raise InputError(f"{rule}: add cells, or name columns that a law can be fitted to.")
        return self.result.model

    @property
    def seed_sd(self) -> float:
        """Standard deviation of ln loss between seeds of one setting; NaN where no row has repeats."""
        seeds = seed_noise(self.table)
        return float("nan") if seeds is None else seeds.scale * np.sqrt(self.repeats)

    @property
    def repeats(self) -> float:
        """Usual number of a row's repeats, 1 where none is known."""
        known = self.table.repeats
        return 1.0 if known is None or not np.isfinite(known).any() else float(np.nanmedian(known))

    @property
    def cell_sd(self) -> float:
        """Standard deviation of a cell's ln loss about the surface: its repeats' noise, and what its tuning leaves."""
        return float(np.median(self.model.posterior.scatter()))

    def range_of(self, column: str) -> Mapping[str, Any]:
        """The range that a tuned column was searched in: "low", "high", "log" …, and "limits"; empty if unknown."""
        ranges = {column_of(key): text for key, text in self.identity.get("ranges", {}).items()}
        shared = json.loads(ranges[column]) if column in ranges else None
        return {**shared.get("attributes", {}), "limits": shared.get("limits", [])} if shared else {}

    @cached_property
    def costs(self) -> pd.DataFrame:
        """Of each row of `cells` one run's "flops" (C, or 6 N D where the table has no C but N and D) and "seconds" of
        training, NaN where none is known, and its "runs", 1 if unknown."""
        names, cells = self.source.rows.names, self.cells
        n, d, c = (cells[h].astype(float) if (h := names.get(k)) else None for k in ("N", "D", "C"))
        flops = c if c is not None else 6 * n * d if n is not None and d is not None else None
        runs = cells.reindex(columns=["n_trials", "n_repeats"]).astype(float).sum(axis=1, min_count=1).fillna(1.0)
        seconds = cells.reindex(columns=["seconds"])["seconds"].astype(float) / runs
        return pd.DataFrame({"flops": flops, "seconds": seconds, "runs": runs}, index=cells.index, dtype=float)


def studied(config: FitConfig) -> Studied:
    """Read and fit the one arm that a config asks for."""
    source = read(config)
    if len(source.rows.arms) > 1:
        shown = ", ".join(arm.name for arm in source.rows.arms)
        fix = f'choose one, such as where="{source.rows.by[0]} == {source.rows.arms[0].axes[source.rows.by[0]]!r}".'
        raise InputError(f"A plan must be of one arm, but {source.path} has several ({shown}): {fix}")
    (arm,) = source.rows.arms
    table, _ = source.table(arm)
    return Studied(source, arm, analyse(table, config.options(source.classes)))

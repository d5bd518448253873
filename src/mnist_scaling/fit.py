"""python -m mnist_scaling.fit: fit scaling laws to a study's cells.csv or to anyone's table, write fits.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from omegaconf import DictConfig

from mnist_scaling import cli
from mnist_scaling.config import build
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.analysis import analyse
from mnist_scaling.fitting.coverage import coverage_of
from mnist_scaling.fitting.envelope import attach
from mnist_scaling.fitting.estimate import Settings
from mnist_scaling.fitting.fits_json import coverage_record, document, sensitivity_record
from mnist_scaling.fitting.fitted import Options
from mnist_scaling.fitting.read import read_columns
from mnist_scaling.fitting.sensitivity import sensitivity
from mnist_scaling.fitting.table import Table
from mnist_scaling.fitting.terminal import show
from mnist_scaling.study.columns import CONVENTIONS, FITTED
from mnist_scaling.study.files import write_atomically
from mnist_scaling.study.layout import CELLS, CURVES, FITS
from mnist_scaling.study.tables import read_table

CURVE_ROLES = {"row": "cell", "N": "n_params", "D": "n_seen", "C": "flops", "loss": "val_loss", "phase": "phase"}
"""Columns of a study's curves.csv."""

STUDY_CLASSES = 10


@dataclass(frozen=True)
class ColumnsConfig:
    """Headers of the table; null where it has no such column."""

    N: str | None = None
    D: str | None = None
    C: str | None = None
    U: str | None = None
    loss: str | None = None
    se: str | None = None
    repeats: str | None = None
    flags: str | None = None
    run: str | None = None


@dataclass(frozen=True)
class PredictConfig:
    """A point whose loss is wanted."""

    N: float | None = None
    D: float | None = None
    C: float | None = None
    U: float | None = None


@dataclass(frozen=True)
class BootstrapConfig:
    """Draws, kind and level of the one bootstrap."""

    draws: int = 1000
    kind: str = "auto"
    level: float = 0.95


@dataclass(frozen=True)
class CoverageConfig:
    """Simulated tables, the law that they obey, and the draws of each."""

    draws: int = 0
    law: str | None = None
    bootstrap: int = 200


@dataclass(frozen=True)
class FitConfig:
    """conf/fit.yaml, which says what each key is."""

    name: str | None = None
    table: str | None = None
    out: str | None = None
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    where: str | None = None
    curves: Any = "auto"
    laws: Any = "default"
    delta: Any = "auto"
    loss: str = "huber"
    weights: str = "equal"
    isoflop: str = "parabola"
    classes: int | None = None
    mask_chance: bool = False
    queries: float | None = None
    predict: PredictConfig = field(default_factory=PredictConfig)
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)
    seed: int = 0
    sensitivity: bool = False
    coverage: CoverageConfig = field(default_factory=CoverageConfig)

    def __post_init__(self) -> None:
        if (self.name is None) == (self.table is None):
            given = "both" if self.name else "neither"
            raise InputError(
                f"Exactly one of `name` and `table` must be given, but got {given}: name=STUDY or table=FILE.csv."
            )

        if self.curves not in ("auto", True, False):
            raise InputError(f"`curves` must be one of auto, true, false, but got {self.curves!r}: choose one of them.")

    def options(self) -> Options:
        """What the library is asked to do."""
        return Options(
            laws=self.laws if isinstance(self.laws, str) else tuple(self.laws),
            settings=Settings(delta=_delta(self.delta), loss=self.loss, weights=self.weights),
            draws=self.bootstrap.draws,
            kind=self.bootstrap.kind,
            level=self.bootstrap.level,
            seed=self.seed,
            classes=STUDY_CLASSES if self.name and self.classes is None else self.classes,
            mask_chance=self.mask_chance,
            isoflop=self.isoflop,
            queries=self.queries,
            predict={k: v for k, v in asdict(self.predict).items() if v is not None},
        )


def _delta(value: Any) -> float | str:
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def load(config: FitConfig) -> tuple[Table, list[dict[str, Any]], Path]:
    """The table, the rows left out of it, and the folder for fits.json."""
    if config.name:
        folder = Path("multirun") / config.name
        path = folder / CELLS
        if not path.is_file():
            raise InputError(f"A study must have {path}, but there is none: check `name`, or run the study first.")
        names = FITTED | {role: header for role, header in asdict(config.columns).items() if header}
    else:
        path = Path(str(config.table))
        folder, names = path.parent, asdict(config.columns)
    frame = read_table(path, [header for header in names.values() if header])
    if config.name:
        frame = _other_counts(frame)
    if config.where:
        frame = _filter(frame, config.where, path)
    columns = {str(c): frame[c].astype(object).where(frame[c].notna(), None).tolist() for c in frame.columns}
    table, left_out = read_columns(
        columns, names, CONVENTIONS if config.name else None, str(path), frame.index.tolist()
    )
    return table, left_out, Path(config.out) if config.out else folder


def _with_curves(table: Table, config: FitConfig) -> tuple[Table, str]:
    """The table with its study's learning curves, if they can be used, and else why not.

    Raises
    ------
    InputError
        When curves=true asks for curves that can't be used.
    """
    path = Path("multirun") / str(config.name) / CURVES
    if not config.name or config.curves is False:
        return table, ""
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


@hydra.main(config_path=cli.conf_dir(), config_name="fit")
def main(cfg: DictConfig) -> None:
    """Read, fit, write, show."""
    with cli.user_errors("fit"):
        run(build(FitConfig, cfg))


def run(config: FitConfig) -> None:
    """Fit one table, write fits.json and print what it says."""
    table, left_out, folder = load(config)
    table, why_not = _with_curves(table, config)
    result = analyse(table, config.options())
    record = document(result)
    record["data"]["left_out"] = left_out
    if config.sensitivity:
        record["sensitivity"] = sensitivity_record(sensitivity(result))
    if config.coverage.draws:
        found = coverage_of(result, config.coverage.law, config.coverage.draws, config.coverage.bootstrap)
        record["coverage"] = coverage_record(*found)
    if why_not:
        record["data"]["notes"].append(why_not)
    path = folder / FITS
    write_atomically(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
    show(record, path)


if __name__ == "__main__":
    cli.run(main, "fit")

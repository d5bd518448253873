"""Which rows and columns of a table a fit is made of: headers by role, a condition, arms, and seeds as replicates.

`fit` and `report` both ask this module, so that a figure shows the rows that its law was fitted to.

An arm is one combination of values of the axes that set neither the model's size nor the amount of data, such as
``optimizer=sgd``. Laws of different arms differ, so no fit pools them. A seed is no arm: it is a replicate of its cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb, exp
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import ALWAYS, BRANCH, FITTED, SEED
from mnist_scaling.study.tables.csv_table import rows_where

DATA_AXES = ("data_fraction", "budget", "passes", BRANCH)
"""Axes that set D by their nature. Others, such as a learning rate under early stopping, merely move it."""

STANDARD_ERROR = "_se"
"""Suffix of the column with a loss's standard error."""


VALIDATION = "repeat_val_loss"
"""What is fitted where no run was scored on test data."""


@dataclass(frozen=True)
class ArmRows:
    """The rows of one arm; a table without arms is one arm without a name."""

    frame: pd.DataFrame
    """Rows by their number in the file, counted from 0; a cell whose seeds were combined has its first row's."""
    name: str = ""
    """Such as ``optimizer=sgd, dropout=0.2``."""
    axes: Mapping[str, Any] = field(default_factory=dict)
    """Column to value."""


@dataclass(frozen=True)
class FittedRows:
    """All arms of a table."""

    arms: list[ArmRows]
    names: dict[str, str | None]
    """Header of each role; None where the table has no such column."""
    by: tuple[str, ...]
    """Columns that tell the arms apart."""
    seeds: int = 0
    """Rows that were combined over seeds, or 0."""
    note: str = ""
    """How the rows were made of runs, as a sentence."""
    selected: bool = False
    """Whether they are the best of several runs of a cell."""


@dataclass(frozen=True)
class Roles:
    """What each swept axis does to a run; only axes with more than one value have a role."""

    size: str | None
    """The axis that sets N, such as width."""
    data: str | None
    """The axis that sets D, such as data_fraction."""
    others: tuple[str, ...]
    """All further axes, such as optimizer: one panel per combination."""
    arms: tuple[str, ...] = ()
    """Those of the others that set neither N nor D and are no seed: laws of their values are never pooled."""


def roles_of(cells: pd.DataFrame, axes: Sequence[str], names: Mapping[str, str | None] = {}) -> Roles:
    """Roles of the swept columns of a grid; `names` has the header of N and D, where those are not measured."""
    varying = [a for a in axes if cells[a].nunique(dropna=False) > 1]
    counted = (("N", "n_params"), ("D", "n_seen"))
    n, d = (own if own in cells and cells[own].notna().any() else names.get(role) for role, own in counted)
    sizes = _axes_of(n, ("width",), varying, cells)
    size = sizes[0] if sizes else None
    amounts = _axes_of(d, DATA_AXES, [a for a in varying if a != size], cells)
    amounts = [a for a in amounts if a in DATA_AXES or _scales(cells, varying, a, str(d))]
    data = amounts[0] if amounts else None
    others = tuple(a for a in varying if a not in (size, data))
    return Roles(size, data, others, tuple(a for a in others if a not in (*sizes, *amounts, SEED)))


def _scales(cells: pd.DataFrame, axes: Sequence[str], axis: str, measured: str) -> bool:
    """Whether `measured` grows along an axis by the same factors wherever the other axes are: the axis sets it."""
    rest = [a for a in axes if a != axis]
    sizes = pd.DataFrame({a: cells[a] for a in (axis, *rest)} | {"logs": np.log(cells[measured].astype(float))})
    wide = sizes.pivot_table("logs", axis, rest, dropna=False) if rest else sizes.groupby(axis)[["logs"]].mean()
    steps = np.diff(wide.to_numpy(float), axis=0)
    return bool((steps > 0).all() and np.ptp(steps, axis=1).max() < 1e-6)


def _axes_of(measured: str | None, preferred: Sequence[str], axes: Sequence[str], cells: pd.DataFrame) -> list[str]:
    """The axes along which `measured` moves while all other axes stand still, the preferred ones first.

    On a ladder no axis moves alone, and the preferred ones count.
    """
    along: list[str] = []
    if measured not in cells:
        return along
    for axis in sorted(axes, key=lambda a: preferred.index(a) if a in preferred else len(preferred)):
        rest = [a for a in axes if a != axis]
        groups = cells.groupby(rest, dropna=False)[measured] if rest else None
        ladder = groups is not None and axis in preferred and groups.size().max() == 1
        most = cells[measured].nunique() if groups is None or ladder else groups.nunique().max()
        # Runs of different seeds stop at different D under early stopping, but no seed sets it.
        if axis != SEED and most > 1 and pd.api.types.is_numeric_dtype(cells[axis]):
            along.append(axis)
    return along


def study_columns(wanted: Mapping[str, str | None], headers: Iterable[str]) -> dict[str, str | None]:
    """Header of each role in a study's cells.csv: the usual one, or the one that was asked for.

    A loss brings its own standard error, ``<loss>_se``, or none: that of another column says nothing about it.
    """
    given = {role: header for role, header in wanted.items() if header}
    names: dict[str, str | None] = {**dict.fromkeys(wanted), **FITTED, **given}
    if names["loss"] != FITTED["loss"] and "se" not in given:
        own = f"{names['loss']}{STANDARD_ERROR}"
        names["se"] = own if own in headers else None
        if names["se"] is None and "repeats" not in given:
            names["repeats"] = None
    return names


def measured_columns(
    names: Mapping[str, str | None], wanted: Mapping[str, str | None], cells: pd.DataFrame
) -> dict[str, str | None]:
    """Headers of those roles of `study_columns` that a study's program fills: what it did not measure plays none.

    Where no run was scored on test data, the repeats' validation loss is fitted, which no selection has touched.
    """

    def has(column: str | None) -> bool:
        return column in cells and bool(cells[column].notna().any())

    # A table of our own training that lacks the column has lost it: it is refused, and no other loss taken.
    lost = names["loss"] not in cells and {*ALWAYS} <= {*cells}
    if not has(names["loss"]) and not wanted.get("loss") and has(VALIDATION) and not lost:
        names = study_columns({**wanted, "loss": VALIDATION}, cells.columns)
    if not has(names["loss"]):
        return dict(names)
    kept = {role for role, column in names.items() if wanted.get(role) or has(column) or role == "flags"}
    return {role: column if role in kept else None for role, column in names.items()}


def fitted_rows(
    frame: pd.DataFrame,
    names: Mapping[str, str | None],
    axes: Sequence[str] = (),
    tuned: Sequence[str] = (),
    where: str | None = None,
    by: Sequence[str] = (),
    cells: Sequence[str] = (),
    best: str | None = None,
) -> FittedRows:
    """The rows that meet a condition, split into arms.

    It raises InputError when the condition is none, keeps no row, or a column of `by` is not there.

    The whole table `frame` has one row per cell, or, where `cells` are columns whose values make a cell, one per run:
    the run of each cell that is `best` by that column, the loss by default, is kept. `names` has the header of each
    role, `axes` and `tuned` the columns of a study, and `by` further columns that tell arms apart.
    """
    _check_named(by, frame, "`by`")
    if where:
        columns = {str(header): frame[header].to_numpy() for header in frame.columns}
        frame = frame[rows_where(where, columns)]
        if frame.empty:
            raise InputError(f"`where` must keep some rows, but {where!r} keeps none: widen it.")
    note, selected = "", False
    if cells:
        best = best or str(names["loss"])
        runs, (frame, note) = frame, best_runs(frame, cells, best)
        selected = bool(runs.groupby(list(cells), dropna=False)[best].count().max() > 1)
        if best == names["loss"]:
            note += (
                f" What is fitted, {best}, has selected the rows itself, which biases it down: select by another loss, "
                "such as best=val_loss columns.loss=test_loss."
            )
    arm_columns = dict.fromkeys((*roles_of(frame, axes, names).arms, *by))
    split = [column for column in arm_columns if frame[column].nunique(dropna=False) > 1]
    seeds = 0
    headers = dict(names)
    if SEED in axes and SEED not in split and frame[SEED].nunique() > 1:
        seeds = len(frame)
        frame, headers = _over_seeds(frame, headers, [a for a in axes if a != SEED], tuned)
    if not split:
        return FittedRows([ArmRows(frame)], headers, (), seeds, note, selected)
    arms = []
    for key, rows in frame.groupby(split, sort=True, dropna=False):
        values = {c: v.item() if hasattr(v, "item") else v for c, v in zip(split, key, strict=True)}
        arms.append(ArmRows(rows, arm_name(values), values))
    return FittedRows(arms, headers, tuple(split), seeds, note, selected)


def _check_named(columns: Iterable[str], table: pd.DataFrame, keys: str) -> None:
    if absent := [column for column in columns if column not in table]:
        raise InputError(
            f"{keys} must name columns of the table, but it has no {', '.join(absent)}: it has "
            f"{', '.join(map(str, table.columns))}."
        )


def best_runs(runs: pd.DataFrame, cells: Sequence[str], best: str) -> tuple[pd.DataFrame, str]:
    """The run with the least loss `best` of each cell, the first of equals; and what is known of their tuning.

    `cells` are the columns whose values make a cell. InputError tells of a column that is not there, or that no run has
    a loss.
    """
    _check_named((*cells, best), runs, "`cells` and `best`")
    known = runs.assign(**{best: pd.to_numeric(runs[best], errors="coerce")})
    known = known[np.isfinite(known[best].astype(float)) & (known[best] > 0)]
    if known.empty:
        raise InputError(f"`best` must name a column with a positive number, but {best} has none: name another column.")
    groups = known.groupby(list(cells), sort=False, dropna=False)
    kept = known.loc[sorted(groups[best].idxmin())]
    counts, saved = groups.size(), []
    for _, losses in groups[best]:
        y = np.log(np.sort(losses.to_numpy(float)))
        saved.append(exp(expected_least(y, max(len(y) // 2, 1)) - y[0]) - 1)
    said = (
        f"A row is the best of its cell's runs by {best}: {counts.min()} to {counts.max()} runs, median "
        f"{counts.median():g}. With half as many, the best would be {100 * float(np.median(saved)):.1f} % higher on "
        "average in the middle cell: a large share says that cells need more runs."
    )
    return kept, said


def expected_least(y: np.ndarray, k: int) -> float:
    """E[least of k of n ascending values, drawn without replacement] = sum_i y_(i) C(n - i, k - 1) / C(n, k)."""
    n = len(y)
    return sum(y[i] * comb(n - i - 1, k - 1) for i in range(n - k + 1)) / comb(n, k)


def arm_name(values: Mapping[str, Any]) -> str:
    """``optimizer=sgd, dropout=0.2``."""
    return ", ".join(f"{c}={f'{v:g}' if isinstance(v, int | float) else v}" for c, v in values.items())


def _over_seeds(
    frame: pd.DataFrame, names: dict[str, str | None], axes: Sequence[str], tuned: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str | None]]:
    """One row per cell: the mean over its seeds, whose scatter is the standard error.

    se = std(loss of each seed, ddof=1) / sqrt(seeds). It holds all that differs between seeds: the subset of the
    images, the initial weights, and the tuning itself. A cell with one seed keeps its row as it is.
    """
    names = {**names, "se": names.get("se") or f"{names['loss']}{STANDARD_ERROR}"}
    loss, se, repeats = (str(names[role]) for role in ("loss", "se", "repeats"))
    frame = frame.assign(**{se: frame[se].astype(float) if se in frame else np.nan})
    rows = []
    for _, cell in frame.groupby(list(axes), sort=False, dropna=False) if axes else [((), frame)]:
        measured = cell[cell[loss].notna()]
        first = (cell if measured.empty else measured).iloc[0].astype(object).rename(cell.index[0])
        if len(measured) > 1:
            numbers = measured.select_dtypes("number").drop(columns=[*axes, *tuned], errors="ignore")
            first[numbers.columns] = numbers.mean()
            for key in (k for k in tuned if measured[k].nunique(dropna=False) > 1):
                first[key] = np.nan
            first[se] = measured[loss].std(ddof=1) / np.sqrt(len(measured))
            if names.get("repeats"):
                first[repeats] = len(measured)
        rows.append(first)
    return pd.DataFrame(rows, columns=frame.columns).infer_objects(), names

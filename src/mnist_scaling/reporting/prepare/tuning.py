"""How tuning went: winner's curse, history, and what it selected over the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.reporting.documents.loading import Study, axis_value
from mnist_scaling.reporting.prepare import Missing
from mnist_scaling.reporting.prepare.change import losses
from mnist_scaling.reporting.text import count, number
from mnist_scaling.study import vocabulary
from mnist_scaling.study.columns import label


@dataclass(frozen=True)
class Curse:
    """How much better the selected trial looked than its setting is."""

    cells: pd.DataFrame
    """Columns selected, ratio (repeats / selected), low, high (one standard error; NaN without), level, label."""
    size: str | None
    median: float
    """Median of ratio - 1."""
    note: str


def curse(study: Study) -> Curse | Missing:
    """Validation loss of repeats over that of the selected trial: above 1 where selection was lucky."""
    cells = study.cells.dropna(subset=["val_loss", "repeat_val_loss"])
    if cells.empty:
        return Missing("No cell has both a selected trial and repeats with a validation loss.")
    size = study.roles.size
    ratio = cells["repeat_val_loss"] / cells["val_loss"]
    error = cells["repeat_val_loss_se"].astype(float) / cells["val_loss"]
    table = pd.DataFrame({"selected": cells["val_loss"], "ratio": ratio, "low": ratio - error, "high": ratio + error})
    table["level"] = np.nan if size is None else cells[size].astype(float)
    table["label"] = "" if size is None else cells[size].map(axis_value)
    median, above = float(ratio.median() - 1), int((ratio > 1).sum())
    note = f"Median {number(100 * median, 2)} %; the repeats are worse in {above} of {len(table)} cells." + (
        "" if error.notna().any() else " With one repeat per cell there is no standard error."
    )
    return Curse(table.sort_values(["level", "selected"]), size, median, note)


@dataclass(frozen=True)
class History:
    """Best validation loss so far over the number of trials, relative to the cell's final best."""

    lines: pd.DataFrame
    """Columns cell, trial (from 1), ratio (best so far / final best), level, label; NaN ratio before the first loss."""
    median: pd.DataFrame
    """Columns trial, ratio."""
    size: str | None
    note: str


def history(study: Study) -> History | Missing:
    """How fast each cell's best came down."""
    trials = study.trials[study.trials["stage"] == vocabulary.TRIAL]
    if trials.empty or trials["val_loss"].notna().sum() == 0:
        return Missing("trials.csv holds no trial with a validation loss.")
    size, parts = study.roles.size, []
    groups = trials.groupby(list(study.axes), dropna=False) if study.axes else [((), trials)]
    for cell, (_, rows) in enumerate(groups):
        rows = rows.sort_values("number")
        best = rows["val_loss"].where(rows["state"] == vocabulary.COMPLETE).astype(float).cummin().ffill()
        level = np.nan if size is None else float(rows[size].iloc[0])
        ratio = (best / best.iloc[-1]).to_numpy()
        parts.append(
            pd.DataFrame(
                {
                    "cell": cell,
                    "trial": np.arange(1, len(rows) + 1),
                    "ratio": ratio,
                    "level": level,
                    "label": axis_value(level),
                }
            )
        )
    lines = pd.concat(parts, ignore_index=True)
    most = int(lines["trial"].max())
    if most < 2:
        return Missing("Every cell has a single trial, so there is no history.")
    median = lines.groupby("trial", as_index=False)["ratio"].median()
    late = lines.groupby("cell")["ratio"].apply(lambda r: bool(len(r) > 1 and (r.iloc[-2] > 1 or not r.iloc[-2] > 0)))
    note = f"In {int(late.sum())} of {len(late)} cells the last trial of {count(most)} still found something better."
    return History(lines, median, size, note)


@dataclass(frozen=True)
class Grid:
    """One number for each cell."""

    title: str
    values: pd.DataFrame
    """Rows are the size axis from largest to smallest, columns the data axis; NaN where no cell is."""
    edges: pd.DataFrame
    """Same shape: whether the selected value lies at the edge of its search range."""
    logarithmic: bool
    percent: bool = False


@dataclass(frozen=True)
class Grids:
    """Tuned hyperparameters, and what tuning gained, over the grid."""

    grids: list[Grid]
    rows: str | None
    columns: str | None
    note: str


def hyperparameters(study: Study) -> Grids | Missing:
    """The selected value of every numeric tuned key across the grid."""
    roles = study.roles
    if roles.others:
        return Missing("The grid has further axes: the selected values stand in the table of cells.")
    numeric = [k for k in study.tuned if pd.api.types.is_numeric_dtype(study.cells[k]) and study.cells[k].notna().any()]
    if not numeric:
        return Missing("No numeric setting was tuned.")
    grids = [_hyperparameter(study, key) for key in sorted(numeric, key=lambda k: k != "lr")]
    both = losses(study).reindex(study.cells.index)
    gain = 1 - both["tuned"] / both["untuned"]
    if gain.notna().any():
        values = _pivot(study, 100 * gain)
        grids.append(Grid("loss saved by tuning (%)", values, values.isna() & False, False, percent=True))
    at_edge = int((study.cells["edges"] != "").sum())
    notes = (
        [f"{at_edge} of {len(study.cells)} cells have a selected value at the edge of its range."] if at_edge else []
    )
    return Grids(grids, roles.size, roles.data, " ".join([*notes, *_carried_over(study)]))


def _carried_over(study: Study) -> list[str]:
    """How many selected settings were tuned in the cell itself: a carried-over one says nothing of its own cell."""
    keys = [*study.axes, *study.tuned]
    settings = study.cells[study.cells["val_loss"].notna()]
    tried = study.trials[(study.trials["stage"] == vocabulary.TRIAL) & (study.trials["origin"] == vocabulary.TRANSFER)]
    if settings.empty or tried.empty:
        return []
    carried = settings[keys].merge(tried[keys].drop_duplicates(), on=keys)
    distinct = len(settings[list(study.tuned)].drop_duplicates())
    return [
        f"{len(carried)} of {len(settings)} selected settings were carried over from another cell, and {distinct} "
        "settings are distinct: equal values beside one another need not be a trend."
    ]


def _hyperparameter(study: Study, key: str) -> Grid:
    values = study.cells[key].astype(float)
    edge = study.cells["edges"].map(lambda text: key in text.split(";"))
    positive = bool((values.dropna() > 0).all()) and values.max() > 3 * values.min()
    return Grid(label(key), _pivot(study, values), _pivot(study, edge.astype(float)).fillna(0) > 0, positive)


def _pivot(study: Study, values: pd.Series) -> pd.DataFrame:
    roles = study.roles
    rows = study.cells[roles.size] if roles.size else pd.Series("", study.cells.index)
    columns = study.cells[roles.data] if roles.data else pd.Series("", study.cells.index)
    long = pd.DataFrame({"row": rows, "column": columns, "value": values.astype(float)})
    wide = long.pivot_table(index="row", columns="column", values="value", dropna=False)
    return wide.sort_index(ascending=False).sort_index(axis=1)

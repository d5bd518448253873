"""What tuning changed: one untuned setting in every cell against the tuned one, on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mnist_scaling.reporting.loading import Study, axis_value
from mnist_scaling.reporting.prepare import Missing
from mnist_scaling.reporting.prepare.slopes import exponent, exponents
from mnist_scaling.reporting.text import Interval
from mnist_scaling.study import vocabulary
from mnist_scaling.study.columns import label as columns_label

SOURCES = {"untuned": "untuned", "selected": "selected trial", "tuned": "tuned, repeats"}
"""Validation losses of a cell: columns of `comparison`, and their names for readers."""


def untuned_setting(study: Study) -> dict[str, object] | None:
    """The setting that was tried in every cell, the earliest such; None where there is none.

    The tuner starts every cell from the config's own values, so this is what an untuned grid would use.
    """
    trials = study.trials[study.trials["stage"] == "trial"]
    if trials.empty or not study.tuned:
        return None
    cells = trials.groupby(list(study.axes), dropna=False).ngroups if study.axes else 1
    candidates = []
    for key, rows in trials.groupby(list(study.tuned), dropna=False):
        tried = rows.groupby(list(study.axes), dropna=False).ngroups if study.axes else 1
        if tried == cells:
            candidates.append((rows["number"].mean(), dict(zip(study.tuned, key, strict=True))))
    return min(candidates, key=lambda c: c[0])[1] if candidates else None


def comparison(study: Study) -> pd.DataFrame:
    """Validation losses of every cell, untuned and tuned, side by side.

    Returns
    -------
    pandas.DataFrame
        The rows of cells.csv with N, D, and columns ``untuned`` (one run of the common setting),
        ``selected`` (the best trial: biased low), ``tuned`` (mean of the repeats), ``tuned_se``.
    """
    cells = study.cells
    table = cells[list(study.axes)].assign(
        N=cells["n_params"], D=cells["n_seen"], selected=cells["val_loss"],
        tuned=cells["repeat_val_loss"], tuned_se=cells["repeat_val_loss_se"],
    )  # fmt: skip
    setting = untuned_setting(study)
    if setting is None:
        return table.assign(untuned=np.nan)
    runs = study.trials[(study.trials["stage"] == "trial") & (study.trials["state"] == vocabulary.COMPLETE)]
    same = np.logical_and.reduce([_equal(runs[k], v) for k, v in setting.items()])
    first = runs[same].sort_values("number")
    if not study.axes:
        return table.assign(untuned=first["val_loss"].iloc[0] if len(first) else np.nan)
    first = first.groupby(list(study.axes), dropna=False)["val_loss"].first().rename("untuned").reset_index()
    return table.reset_index().merge(first, on=list(study.axes), how="left").set_index("index")


def _equal(column: pd.Series, value: object) -> pd.Series:
    return column.isna() if pd.isna(value) else column == value  # type: ignore[call-overload]


@dataclass(frozen=True)
class Direction:
    """One variable: untuned and tuned loss along it, and the exponents at every level of the other."""

    variable: str
    """N or D."""
    other: str | None
    """Axis whose levels the exponents are listed by."""
    curves: dict[str, pd.DataFrame]
    """By level of the other axis, its smallest and its largest: columns x, untuned, tuned, tuned_se."""
    slopes: pd.DataFrame
    """Columns level, label, points, and value / low / high behind each of untuned_, selected_, tuned_, change_."""


@dataclass(frozen=True)
class Change:
    """What tuning changed."""

    directions: list[Direction]
    plane: dict[str, dict[str, Interval]]
    """By source and "change", then by N and D: exponents of one plane through all cells."""
    cells: pd.DataFrame
    """Output of `comparison`, cells with both losses only."""
    setting: str
    note: str


def change(study: Study) -> Change | Missing:
    """Untuned against tuned, on the cells that have both."""
    if not study.tuned:
        return Missing("Nothing was tuned in this study, so there is nothing to compare.")
    setting = untuned_setting(study)
    if setting is None:
        return Missing("No setting was tried in every cell, so there is no untuned grid to compare with.")
    both = comparison(study).dropna(subset=["untuned", "tuned"])
    roles = study.roles
    if roles.others:
        return Missing(
            "The grid has further axes; untuned and tuned slopes are compared on a grid of model and data size only."
        )
    pairs = [("D", roles.data, roles.size), ("N", roles.size, roles.data)]
    directions = [_direction(both, variable, other) for variable, axis, other in pairs if axis is not None]
    directions = [d for d in directions if len(d.slopes)]
    if not directions:
        return Missing("Fewer than three cells in a line have both an untuned run and repeats of the tuned setting.")
    dropped = len(study.cells) - len(both)
    lost = f"{dropped} of {len(study.cells)} cells lack one of the two and are left out." if dropped else ""
    return Change(directions, _planes(both), both, describe(setting), lost)


def describe(setting: dict[str, object]) -> str:
    """A setting in words: lr 0.003, batch size 32, dropout 0."""
    return ", ".join(f"{columns_label(k)} {axis_value(v)}" for k, v in sorted(setting.items(), reverse=True))


def _direction(both: pd.DataFrame, variable: str, other: str | None) -> Direction:
    groups = [("", both)] if other is None else [(level, rows) for level, rows in both.groupby(other)]
    rows, curves = [], {}
    for level, part in groups:
        part = part.sort_values(variable)
        if part[variable].nunique() < 3:
            continue
        label = "" if other is None else f"{columns_label(other)} {axis_value(level, other)}"
        curves[label] = part[[variable, "untuned", "tuned", "tuned_se"]].rename(columns={variable: "x"})
        rows.append({"level": float(level or np.nan), "label": label, "points": len(part)} | _slopes(part, variable))
    ends = list(dict.fromkeys([*list(curves)[:1], *list(curves)[-1:]]))
    return Direction(variable, other, {k: curves[k] for k in ends}, pd.DataFrame(rows))


def _slopes(part: pd.DataFrame, variable: str) -> dict[str, float]:
    """Exponents by source; the change is fitted to the ratio, so that what both share cancels."""
    found = {source: exponent(part[source], part[variable]) for source in SOURCES}
    found["change"] = exponent(part["tuned"] / part["untuned"], part[variable])
    return {f"{source}_{end}": number for source, i in found.items() for end, number in vars(i).items()}


def _planes(both: pd.DataFrame) -> dict[str, dict[str, Interval]]:
    """One plane log L = c - alpha log N - beta log D through all cells, by source, and of the ratio."""
    used = [v for v in ("N", "D") if both[v].nunique() > 1]
    losses = {source: both[source] for source in SOURCES} | {"change": both["tuned"] / both["untuned"]}
    return {k: dict(zip(used, exponents(y, *(both[v] for v in used)), strict=True)) for k, y in losses.items()}

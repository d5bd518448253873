"""A cell that was never run: its sizes, its best settings, and the loss and the error that it should reach.

    ln L = surface(N, D) + e        a draw of the surface, and one of e: noise of the repeats, and what tuning leaves

Sizes are counted by the study's own program where that can count them before a run. What it can't, such as the length
of a run that decides itself when to stop, or the size of a program that is not ours, goes on along the axes of the
grid: a plane in logs, or a parabola where that predicts each row from the others with at most half of the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.arms.reading import cell_trials
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.planning.studied import Studied
from mnist_scaling.settings.optimal_settings import SettingsOptions, optimal_settings
from mnist_scaling.settings.setting_laws import prior
from mnist_scaling.study import records
from mnist_scaling.study.layout import RESULT
from mnist_scaling.study.tables.fitted_rows import roles_of

Counts = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, float]]
"""From all values of a recorded run and the config keys that differ to columns that are known before the new run."""

NEAREST = 3
"""Cells whose selected settings stand in where a key has no law."""

BENT = 4.0
"""Squared error of a parabola counts so many times against that of a plane: beyond the rows a bend costs."""

LARGER = 16.0
"""Sizes up to this many times the largest are tried for a budget."""

FEWEST_ERRORS = 6
"""Cells that say how the error goes with the loss."""


@dataclass(frozen=True)
class NewCell:
    """Where a cell lies."""

    axes: Mapping[str, Any]
    """Column to value; empty for a table that is no study's."""
    keys: Mapping[str, Any]
    """The same by config key."""
    at: Mapping[str, float]
    """N, D and C, as far as the table has them."""
    counted: str
    """How they are known, in words."""


@dataclass(frozen=True)
class Expected:
    """What a cell should give."""

    loss: Interval
    error: Interval
    log_loss: Array
    """Draws of ln L, noise and luck included."""
    settings: Mapping[str, Any]
    """Tuned column to its recommended value."""
    by_law: tuple[str, ...]
    """Those of them that a law of the settings gives; the others are those of the nearest cells."""


def extrapolated(cells: pd.DataFrame, column: str, axes: Mapping[str, float]) -> float:
    """A column's value where the axes have these values, by a plane or a parabola in logs through the rows.

    Parameters
    ----------
    cells : pandas.DataFrame
    column : str
    axes : mapping
        Numeric columns and their values.
    """
    known = cells[[column, *axes]].astype(float)
    known = known[(np.isfinite(known) & (known > 0)).all(axis=1)]
    y, x = np.log(known[column].to_numpy()), np.log(known[list(axes)].to_numpy())
    u, at = x - x.mean(axis=0), np.log(np.array([float(v) for v in axes.values()])) - x.mean(axis=0)
    bent = [i for i in range(len(at)) if len(np.unique(u[:, i])) > 3]
    found = []
    for powers, times in (([], 1.0), (bent, BENT)):
        design, place = (np.column_stack([np.ones(len(p)), p, p[:, powers] ** 2]) for p in (u, at[None]))
        solve = np.linalg.pinv(design)
        left_out = (y - design @ solve @ y) / np.maximum(1 - np.diag(design @ solve), 1e-9)
        found.append((times * float((left_out**2).sum()), float((place @ solve @ y)[0])))
    return float(np.exp(min(found)[1]))


def place_of(of: Studied, target: Mapping[str, Any], counts: Counts | None) -> NewCell:
    """Where a target lies: the axes of a study, N and D (or C), or "flops" for the best cell of that compute."""
    if "flops" in target:
        if len(target) > 1:
            raise InputError("`target.flops` must stand alone, because it chooses the rest: leave the others out.")
        return _of_compute(of, float(target["flops"]), counts)
    if set(target) <= {"N", "D", "C"}:
        return _checked(of, NewCell({}, {}, _with_cost(of, {k: float(v) for k, v in target.items()}), "as given"))
    return _checked(of, _on_grid(of, target, counts))


def _on_grid(of: Studied, target: Mapping[str, Any], counts: Counts | None) -> NewCell:
    cells, axes = of.cells, [a for a in of.source.axes if a in of.cells]
    if unknown := [k for k in target if k not in axes]:
        raise InputError(
            f"`target` must name axes of the study ({', '.join(axes) or 'it has none'}), N, D, C or flops, but got "
            f"{', '.join(unknown)}: mend it."
        )
    only = {a: cells[a].iloc[0] for a in axes if cells[a].nunique(dropna=False) == 1}
    if lacking := [a for a in axes if a not in {*target, *only}]:
        raise InputError(
            f"`target` must give every axis of the study, but lacks {', '.join(lacking)}: add target.{lacking[0]}=…."
        )
    values = {a: target.get(a, only.get(a)) for a in axes}
    keys, known = _measured(of, values, counts)
    numeric = {a: v for a, v in values.items() if pd.api.types.is_numeric_dtype(cells[a]) and a not in only}
    at: dict[str, float] = {}
    along: list[str] = []
    for role in ("N", "D", "C"):
        column = of.source.rows.names.get(role)
        if column is None:
            continue
        if column in known:
            at[role] = float(known[column])
        else:
            at[role] = extrapolated(cells, column, numeric)
            along.append(column)
    said = f"{', '.join(along)} extrapolated along {', '.join(numeric)}" if along else "counted by the program"
    return NewCell(values, keys, at, said)


def _measured(
    of: Studied, values: Mapping[str, Any], counts: Counts | None
) -> tuple[dict[str, Any], Mapping[str, float]]:
    """Config keys of the axes, and what the program counts of such a run; nothing where no run is on record."""
    for folder, cell in records.read_cells(of.folder).items():
        names = dict(zip(cell["axes"], cell["keys"], strict=True))
        keys = {names[a]: v for a, v in values.items() if a in names}
        same = all(cell["axes"][a] == v for a, v in values.items() if a in names and isinstance(v, str))
        run = next(folder.glob(f"*/{RESULT}"), None)
        if same and run is not None and len(keys) == len(values):
            record = records.read_run(run.parent)
            return keys, counts(record["config"], keys) if counts is not None and record else {}
    return {}, {}


def _with_cost(of: Studied, at: dict[str, float]) -> dict[str, float]:
    """The same with C where the table's own cost says it."""
    cost = of.result.cost
    if cost is not None and "C" not in at and {"N", "D"} <= at.keys():
        at["C"] = float(np.exp(cost.log_c(np.log(at["N"]), np.log(at["D"]))))
    return at


def _of_compute(of: Studied, flops: float, counts: Counts | None) -> NewCell:
    """The cell of this compute whose loss is lowest by the model's median."""
    costs = of.costs["flops"]
    if costs.notna().any() and flops <= costs.max():
        raise InputError(
            f"`target.flops` must lie beyond the largest compute that was measured, {costs.max():.4g}, but got "
            f"{flops:.4g}: raise it; within the data `fit` gives the loss."
        )
    if not of.is_study:
        return _on_frontier(of, flops)
    roles = roles_of(of.cells, of.source.axes, of.source.rows.names)
    if roles.size is None or roles.data is None:
        raise InputError(
            "`target.flops` needs an axis that sets N and one that sets D, but the study has only "
            f"{roles.size or roles.data or 'none'}: give the axes of the cell, such as target.{of.source.axes[0]}=…."
        )
    levels = of.cells[roles.size].astype(float)
    tried = np.geomspace(levels.min(), LARGER * levels.max(), 32)
    whole = bool((levels % 1 == 0).all())
    others = {a: of.cells[a].iloc[0] for a in of.source.axes if a not in (roles.size, roles.data)}
    found = []
    for size in np.unique(tried.round()) if whole else tried:
        share, cell = float(of.cells[roles.data].max()), None
        try:
            for _ in range(3):
                value = {roles.size: int(size) if whole else float(size), roles.data: float(f"{share:.4g}")}
                cell = _on_grid(of, others | value, counts)
                share *= flops / cell.at["C"]
        except InputError:  # the program has no such cell, such as more data than there are
            continue
        if cell is not None and abs(np.log(cell.at["C"] / flops)) < 0.02:
            found.append((float(np.median(log_loss(of, cell.at))), cell))
    if not found:
        raise InputError(f"No cell of the study takes {flops:.4g} FLOPs: its data or its sizes end before.")
    return _checked(of, min(found, key=lambda pair: pair[0])[1])


def _on_frontier(of: Studied, flops: float) -> NewCell:
    if of.model.inputs == ("C",):
        return NewCell({}, {}, {"C": flops}, "as given")
    if of.result.cost is None or len(of.model.inputs) < 2:
        raise InputError("`target.flops` needs N and D, or C alone: give columns.N=… and columns.D=…, or target.N=….")
    log_n = of.model.posterior.frontier(of.result.cost, np.log([flops])).log_n[:, 0]
    if np.isfinite(log_n).mean() <= 0.5:
        raise InputError(f"The model has no best size at {flops:.4g} FLOPs: give target.N=… and target.D=….")
    cost, n = of.result.cost, float(np.nanmedian(log_n))
    log_d = (np.log(flops) - cost.constant - cost.kappa_n * n) / cost.kappa_d
    return NewCell({}, {}, {"N": float(np.exp(n)), "D": float(np.exp(log_d)), "C": flops}, "the model's best size")


def _checked(of: Studied, cell: NewCell) -> NewCell:
    """Refuse a cell that is known already, or that the model says nothing of."""
    if lacking := [k for k in of.model.inputs if k not in cell.at]:
        raise InputError(
            f"The model is of {' and '.join(of.model.inputs)}, but the target lacks {' and '.join(lacking)}: give "
            f"target.{lacking[0]}=…."
        )
    if of.model.ray is not None and not of.model.ray.holds({k: float(np.log(v)) for k, v in cell.at.items()}):
        raise InputError(
            f"The rows are all near {of.model.ray.words}, and say nothing of a loss off that line: give a target on it."
        )
    if (rows := matching(of.cells, cell, of.source.rows.names)).any():
        raise InputError(
            f"A cell must be predicted before it is run, but row {of.cells.index[rows][0]} of {of.source.path} is that "
            "cell: give another target."
        )
    return cell


def matching(cells: pd.DataFrame, cell: NewCell, names: Mapping[str, str | None]) -> np.ndarray:
    """Mask of the rows that are a cell: of its axes, else within 1 % of its N and D (or C)."""
    found = np.ones(len(cells), bool)
    for axis, value in cell.axes.items():
        if axis not in cells:
            return np.zeros(len(cells), bool)
        same = np.isclose(cells[axis].astype(float), value, rtol=1e-6) if _is_number(value) else cells[axis] == value
        found &= np.asarray(same, bool)
    inputs = [] if cell.axes else [k for k in ("N", "D") if k in cell.at] or ["C"]
    for role in inputs:
        column = names.get(role)
        values = cells[column].astype(float).to_numpy() if column in cells else np.full(len(cells), np.nan)
        found &= np.abs(np.log(values / cell.at[role])) < 0.01
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def log_loss(of: Studied, at: Mapping[str, float]) -> Array:
    """Draws of ln L of the surface at a point, shape (draws,)."""
    return of.model.posterior.log_loss({k: np.log([at[k]]) for k in of.model.inputs})[:, 0]


def expect(of: Studied, cell: NewCell, rng: np.random.Generator) -> Expected:
    """What a cell should give, with an interval that holds the law, what it misses, noise and luck.

    Parameters
    ----------
    of : Studied
    cell : NewCell
    rng : numpy.random.Generator
        Of the draws of noise.
    """
    draws = log_loss(of, cell.at)
    draws = draws + of.model.posterior.scatter() * rng.standard_normal(len(draws))
    settings, by_law = _settings(of, cell)
    loss, error = (_interval(np.exp(d), of.model.level) for d in (draws, _log_error(of, draws, rng)))
    return Expected(loss, error, draws, settings, by_law)


def _interval(draws: Array, level: float) -> Interval:
    if not np.isfinite(draws).all():
        return Interval()
    return Interval(*(float(q) for q in np.quantile(draws, [0.5, 0.5 - level / 2, 0.5 + level / 2])))


def _log_error(of: Studied, log_loss: Array, rng: np.random.Generator) -> Array:
    """Draws of the log error rate, by its line in ln L through the half of the cells of lower loss."""
    unknown, loss = np.full(len(log_loss), np.nan), of.source.rows.names["loss"]
    if "test_error" not in of.cells or loss == "test_error":
        return unknown
    both = of.cells[[loss, "test_error"]].astype(float)
    both = np.log(both[(both > 0).all(axis=1)]).sort_values(loss)
    x, y = both.iloc[: max(FEWEST_ERRORS, len(both) // 2)].to_numpy().T
    if len(x) < FEWEST_ERRORS:
        return unknown
    design = np.column_stack([np.ones(len(x)), x])
    solve = np.linalg.pinv(design)
    sd = float(np.sqrt(((y - design @ solve @ y) ** 2).sum() / (len(x) - 2)))
    line = solve @ (y[:, None] + sd * rng.standard_normal((len(x), len(log_loss))))
    return line[0] + line[1] * log_loss + sd * rng.standard_normal(len(log_loss))


def _settings(of: Studied, cell: NewCell) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Best value of each tuned key: by its law against N and D, else as the nearest cells have it."""
    if not of.is_study or not of.source.tuned:
        return {}, ()
    tried, keys, why = cell_trials(of.source, of.arm)
    sizes = {k: v for k, v in cell.at.items() if k in ("N", "D")}
    laws = [] if why else optimal_settings(tried, keys, options=SettingsOptions(level=of.model.level)).keys
    found: dict[str, Any] = {name: guess.value for name, guess in prior(laws, of.model.level, **sizes).items()}
    by_law, rows = tuple(found), _nearest(of, cell)
    for key in (k for k in of.source.tuned if k not in found and k in rows):
        values = rows[key].dropna()
        numbers = pd.to_numeric(values, errors="coerce")
        if not len(values) or numbers.isna().any():
            found |= {key: values.mode().iloc[0]} if len(values) else {}
        else:
            found[key] = float(np.exp(np.log(numbers).mean()) if (numbers > 0).all() else numbers.mean())
    whole = [k for k in found if _is_number(found[k]) and (rows[k].dropna() % 1 == 0).all()]
    return found | {k: max(round(found[k]), 1) for k in whole}, by_law


def _nearest(of: Studied, cell: NewCell) -> pd.DataFrame:
    names = {k: str(of.source.rows.names[k]) for k in ("N", "D") if k in cell.at and of.source.rows.names.get(k)}
    apart = sum(np.log(of.cells[column].astype(float) / cell.at[k]) ** 2 for k, column in names.items())
    return of.cells.loc[pd.Series(apart, of.cells.index).nsmallest(NEAREST).index]

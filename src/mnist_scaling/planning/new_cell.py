"""Where a cell lies that was never run: its N, D and C, by the axes of a study, by sizes, or by the compute it takes.

They are counted by the study's own program where that can count them before a run. What it can't, such as the length
of a run that decides itself when to stop, or the size of a program that is not ours, goes on along the axes of the
grid: a plane in logs, or a parabola where that predicts each row from the others with at most half of the error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import make_interp_spline

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.uncertainty.least_squares import plane
from mnist_scaling.planning.studied import Studied, at_axes
from mnist_scaling.study import records
from mnist_scaling.study.layout import RESULT

BENT = 4.0
"""Squared error of a parabola counts so many times against that of a plane: beyond the rows a bend costs."""

LARGER, TRIED = 16.0, 32
"""For a budget so many sizes are tried, up to this many times the largest."""

SAME = 0.02
"""Difference in log C at which a cell takes a budget."""


@dataclass(frozen=True)
class NewCell:
    """A cell, run or not."""

    axes: Mapping[str, Any]
    """Column to value; empty for a table that is no study's."""
    keys: Mapping[str, Any]
    """The same by config key, where a run is on record."""
    at: Mapping[str, float]
    """N, D and C, as far as the table has them."""
    counted: str
    """How they are known, in words."""


def place_of(of: Studied, target: Mapping[str, Any]) -> NewCell:
    """Where a target lies: values of a study's axes; or N and D (or C); or "flops", for the best cell of that compute.

    Raises
    ------
    InputError
        When the cell is there already, or is not what the study or its model could say anything of.
    """
    if "flops" in target:
        cell = _of_compute(of, target)
    elif set(target) <= {"N", "D", "C"}:
        cell = NewCell({}, {}, _with_cost(of, {k: float(v) for k, v in target.items()}), "as given")
    else:
        cell = on_grid(of, target)
    _check(of, cell)
    return cell


def _with_cost(of: Studied, at: dict[str, float]) -> dict[str, float]:
    """The same with C where the table's own cost gives it; 6 N D where the table has none."""
    if of.result.cost is None or "C" in at or not {"N", "D"} <= at.keys():
        return at
    return at | {"C": per_example(of)(at["N"]) * at["D"]}


def per_example(of: Studied) -> Callable[[float], float]:
    """C / D as a function of N: 6 N where the table has no C.

    Between a study's sizes, and up to `LARGER` times the largest, it is the program's own count; else a line in logs
    through the rows, which says less the farther it goes, because C / D is seldom a power of N over decades.
    """
    if of.source.rows.names.get("C") is None:
        return lambda n: 6 * n
    if of.counts is not None and of.roles.size and of.roles.data:
        most = float(of.cells[of.roles.data].max())
        counted = [cell.at for size in _sizes(of) if (cell := at_levels(of, size, most))]
        x, place = np.unique(np.log([at["N"] for at in counted]), return_index=True)
        line = make_interp_spline(x, np.log([at["C"] / at["D"] for at in counted])[place], k=1)
    else:
        n, d, c = (of.table.inputs[k] for k in "NDC")
        line = np.poly1d(np.polyfit(np.log(n), np.log(c / d), 1))
    return lambda n: float(np.exp(line(np.log(n))))


def _check(of: Studied, cell: NewCell) -> None:
    model = of.model
    if lacking := [k for k in model.inputs if k not in cell.at]:
        raise InputError(
            f"The model is of {' and '.join(model.inputs)}, but the target lacks {' and '.join(lacking)}: give "
            f"target.{lacking[0]}=…."
        )
    if model.ray is not None and not model.ray.holds({k: float(np.log(v)) for k, v in cell.at.items()}):
        raise InputError(
            f"The rows are all near {model.ray.words}, and say nothing of a loss off that line: give a target on it."
        )
    if (rows := matching(of.cells, cell, of.source.rows.names)).any():
        raise InputError(
            f"A cell must be predicted before it is run, but row {of.cells.index[rows][0]} of {of.source.path} is that "
            "cell: give another target."
        )


def on_grid(of: Studied, target: Mapping[str, Any]) -> NewCell:
    """The cell of a study at these values of its axes, wherever it lies."""
    cells, axes = of.cells, of.source.axes
    if unknown := [k for k in target if k not in axes]:
        raise InputError(
            f"`target` must name axes of the study ({', '.join(axes) or 'it has none'}), N, D, C or flops, but got "
            f"{', '.join(unknown)}: mend it."
        )
    first = {a: None if pd.isna(cells[a].iloc[0]) else cells[a].iloc[0] for a in axes}
    only = {a: v for a, v in first.items() if cells[a].nunique(dropna=False) == 1}
    if lacking := [a for a in axes if a not in {*target, *only}]:
        raise InputError(
            f"`target` must give every axis of the study, but lacks {', '.join(lacking)}: add target.{lacking[0]}=…."
        )
    values = {a: target.get(a, only.get(a)) for a in axes}
    keys, known = _counted(of, values)
    moving = {a: v for a, v in values.items() if pd.api.types.is_numeric_dtype(cells[a]) and a not in only}
    names = {k: c for k in ("N", "D", "C") if (c := of.source.rows.names.get(k))}
    along = [c for c in names.values() if c not in known]
    at = {k: float(known[c]) if c in known else extrapolated(cells, c, moving) for k, c in names.items()}
    said = f"{', '.join(along)} extrapolated along {', '.join(moving)}" if along else "counted by the program"
    return NewCell(values, keys, _with_cost(of, at), said)


def _counted(of: Studied, values: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, float]]:
    """Config keys of the axes, and what the program counts of such a run; nothing where no run is on record."""
    for folder, cell in of.records.items():
        names = dict(zip(cell["axes"], cell["keys"], strict=True))
        alike = all(cell["axes"].get(a) == v for a, v in values.items() if isinstance(v, str))
        run = next(folder.glob(f"*/{RESULT}"), None)
        if alike and run is not None and names.keys() >= values.keys():
            keys, record = {names[a]: v for a, v in values.items()}, records.read_run(run.parent)
            return keys, of.counts(record["config"], keys) if of.counts is not None and record else {}
    return {}, {}


def extrapolated(cells: pd.DataFrame, column: str, axes: Mapping[str, float]) -> float:
    """A column's value where numeric axes have these values, by a plane or a parabola in logs through the rows."""
    known = cells[[column, *axes]].astype(float)
    known = np.log(known[(np.isfinite(known) & (known > 0)).all(axis=1)])
    y, x = known[column].to_numpy(), known[list(axes)].to_numpy()
    u, at = x - x.mean(axis=0), np.log(np.array([float(v) for v in axes.values()])) - x.mean(axis=0)
    bent = [i for i in range(len(at)) if len(np.unique(u[:, i])) > 3]
    found = []
    for powers, times in (([], 1.0), (bent, BENT)):
        through = plane(y, *u.T, *(u[:, powers] ** 2).T)
        left_out = through.residual / np.maximum(1 - through.leverage, 1e-9)
        found.append((times * float((left_out**2).sum()), float(through.at(*at, *at[powers] ** 2)[0])))
    return float(np.exp(min(found)[1]))


def _of_compute(of: Studied, target: Mapping[str, Any]) -> NewCell:
    """The cell whose loss is lowest, by the model's median, of those that take no more than this compute."""
    flops, costs = float(target["flops"]), of.costs["flops"]
    if len(target) > 1:
        raise InputError("`target.flops` must stand alone, because it chooses the rest: leave the others out.")
    if costs.notna().any() and flops <= costs.max():
        raise InputError(
            f"`target.flops` must lie beyond the largest compute that was measured, {costs.max():.4g}, but got "
            f"{flops:.4g}: raise it; within the data `fit` gives the loss."
        )
    if of.model.inputs == ("C",):
        return NewCell({}, {}, {"C": flops}, "as given")
    found = list(_grid_of(of, flops) if of.is_study else _sizes_of(of, flops))
    if not found:
        raise InputError(
            f"A cell must take the {flops:.4g} FLOPs that were asked for, but none does within the study's data and "
            f"{LARGER:g} times its sizes: give fewer, or the cell itself by target.N=… target.D=… or the study's axes."
        )
    return min(found, key=lambda cell: float(np.median(log_loss(of, cell.at))))


def _sizes_of(of: Studied, flops: float) -> Iterator[NewCell]:
    """Sizes of a table, each with the data that its compute leaves."""
    if of.result.cost is None or "N" not in of.model.inputs:
        return
    cost = per_example(of)
    for n in np.geomspace(of.table.inputs["N"].min(), LARGER * of.table.inputs["N"].max(), TRIED):
        yield NewCell({}, {}, {"N": float(n), "D": flops / cost(n), "C": flops}, "the model's best size")


def _sizes(of: Studied) -> Array:
    """Levels of a study's axis of size, up to `LARGER` times the largest; whole where all of them are."""
    sizes = of.cells[of.roles.size].astype(float)
    tried = np.geomspace(sizes.min(), LARGER * sizes.max(), TRIED)
    return np.unique(tried.round()) if (sizes % 1 == 0).all() else tried


def _grid_of(of: Studied, flops: float) -> Iterator[NewCell]:
    """Cells of a study along its axis of size, each with the data that its compute leaves, or as many as it has."""
    if of.roles.size is None or of.roles.data is None:
        return
    largest = float(of.cells[of.roles.data].max())
    for size in _sizes(of):
        cell = most = at_levels(of, size, largest)
        amount = largest
        for _ in range(2):  # C is nearly proportional to the amount of data
            if cell is not None:
                amount *= flops / cell.at["C"]
                cell = at_levels(of, size, float(f"{amount:.4g}"))
        found = [one for one in (cell, most) if one is not None and one.at["C"] <= flops * (1 + SAME)]
        yield from found[:1]


def at_levels(of: Studied, size: float, amount: float) -> NewCell | None:
    """The cell of a size and an amount of data, whole where those of the study are; None where there is no such cell.

    The program may have none, such as one of more data than there are. Further axes are as in the study's first cell.
    """
    values = {axis: of.cells[axis].iloc[0] for axis in of.source.axes}
    for axis, level in ((of.roles.size, size), (of.roles.data, amount)):
        values[str(axis)] = round(level) if (of.cells[axis].astype(float) % 1 == 0).all() else float(level)
    with contextlib.suppress(InputError):
        return on_grid(of, values)
    return None


def matching(cells: pd.DataFrame, cell: NewCell, names: Mapping[str, str | None]) -> np.ndarray:
    """Mask of the rows that are a cell: of its axes, else within 1 % of its N and D (or C)."""
    if cell.axes:
        return at_axes(cells, cell.axes)
    found = np.ones(len(cells), bool)
    for role in [k for k in ("N", "D") if k in cell.at] or ["C"]:
        values = cells.reindex(columns=[names.get(role)]).to_numpy(float)[:, 0]
        found &= np.abs(np.log(values / cell.at[role])) < 0.01
    return found


def log_loss(of: Studied, at: Mapping[str, float]) -> Array:
    """Draws of ln L of the surface at a point, shape (draws,)."""
    return of.model.posterior.log_loss({k: np.log([at[k]]) for k in of.model.inputs})[:, 0]

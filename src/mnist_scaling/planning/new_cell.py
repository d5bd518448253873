"""A cell that was never run: its N, D and C, and what it should give: loss, error, and settings to train it with.

    ln L = surface(N, D) + e        a draw of the surface, and one of e: noise of the repeats, and what tuning leaves

N, D and C are counted by the study's own program where that can count them before a run. What it can't, such as the
length of a run that decides itself when to stop, goes on along the axes of the grid in logs.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mnist_scaling.arms.reading import cell_trials
from mnist_scaling.config import DataConfig
from mnist_scaling.config.plan_schema import SIZES
from mnist_scaling.errors import InputError, nearest, require
from mnist_scaling.fitting.ahead import placed
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.misfit.posterior import Model
from mnist_scaling.fitting.uncertainty.interval import MAJORITY, UNKNOWN, Interval, median_of
from mnist_scaling.fitting.uncertainty.least_squares import carried_on, plane
from mnist_scaling.planning.studied import Studied
from mnist_scaling.settings.setting_laws import prior, setting_laws
from mnist_scaling.study import layout, records
from mnist_scaling.study.tables.csv_table import at_axes

LARGER, TRIED, MOST_WHOLE, SAME = 16.0, 32, 200, 0.02
"""For a budget so many sizes are tried, up to so many times the largest, and whole ones of the grid where they are no
more than that; difference in C at which a cell takes it."""

LARGEST, FINER, USED = 1e7, 9, 0.95
"""Parameters up to which still larger sizes are tried where a budget holds them with all the data: those are counted
at once; sizes that are tried around the best; share of a budget from which on the rest is not worth a word."""

NEAREST, FEWEST = 3, 6
"""Cells whose selected settings stand in where a key has no law; cells that say how the error goes with the loss."""


@dataclass(frozen=True)
class NewCell:
    """A cell, run or not: its axes by column (none for a table from elsewhere) and, where a run is on record, by config
    key; N, D and C as far as the table has them; and in words how these are known, and why compute is left."""

    axes: Mapping[str, Any]
    keys: Mapping[str, Any]
    at: Mapping[str, float]
    counted: str
    unspent: str = ""


def place_of(of: Studied, target: Mapping[str, Any]) -> NewCell:
    """Where a target lies: values of a study's axes; N and D (or C); or "flops", for the best cell of that compute."""
    if "flops" in target:
        cell = _of_compute(of, target)
    elif set(target) <= {"N", "D", "C"}:
        cell = NewCell({}, {}, {k: float(v) for k, v in target.items()}, "as given")
    else:
        cell = on_grid(of, target)
    # The program's own count of C need not be that of the table's plane.
    point = {k: float(np.log(v)) for k, v in cell.at.items() if k != "C" or not cell.axes}
    whole = placed(of.model, of.result.cost, point, "target")
    cell = replace(cell, at={**{k: float(np.exp(v)) for k, v in whole.items()}, **cell.at})
    if (rows := matching(of.cells, cell, of.source.rows.names)).any():
        row = f"row {of.cells.index[rows][0]} of {of.source.path}"
        named = " ".join(layout.cell_parts(cell.axes))
        known = f"{row} is that cell{f' ({named})' if named else ''}, with its loss and settings"
        raise InputError(f"A cell must be predicted before it is run, but {known}: give another target.")
    return cell


def on_grid(of: Studied, target: Mapping[str, Any]) -> NewCell:
    """The cell of a study at these values of its axes, wherever it lies."""
    cells, axes = of.cells, of.source.axes
    if unknown := [k for k in target if k not in axes]:
        rule = "`target` must name axes of the study, N, D, C or flops"
        raise InputError(f"{rule}, but got {', '.join(unknown)}: {nearest(unknown[0], [*axes, *SIZES])}")
    first = {a: None if pd.isna(cells[a].iloc[0]) else cells[a].iloc[0] for a in axes}
    only = {a: v for a, v in first.items() if cells[a].nunique(dropna=False) == 1}
    if lacking := [a for a in axes if a not in {*target, *only}]:
        raise InputError(f"`target` must give every axis, but lacks {', '.join(lacking)}: add target.{lacking[0]}=….")
    for axis, value in target.items():
        number = pd.api.types.is_numeric_dtype(cells[axis])
        fine = axis not in only and (not number or (not isinstance(value, str) and value > 0))
        rule = f"{only[axis]}, as in all cells, which say nothing of another" if axis in only else "a positive number"
        tried = fine or pd.isna(value) or (cells[axis] == value).any()
        require(tried, f"`target.{axis}` must be {rule}, but got {value}: mend it.")
    values = {a: target.get(a, only.get(a)) for a in axes}
    values = {a: v.item() if isinstance(v, np.generic) else v for a, v in values.items()}
    if of.counts is not None and values.get("data_fraction"):
        DataConfig(fraction=float(values["data_fraction"]))  # our program's own rule, where no run of it is on record
    keys, known = _counted(of, values)
    moving = {a: v for a, v in values.items() if pd.api.types.is_numeric_dtype(cells[a]) and a not in only}
    names = {k: c for k in ("N", "D", "C") if (c := of.source.rows.names.get(k))}
    along = [c for c in names.values() if c not in known]
    at = {k: float(known[c]) if c in known else extrapolated(cells, c, moving) for k, c in names.items()}
    if of.result.cost is not None and "C" not in at and {"N", "D"} <= at.keys():
        at["C"] = float(np.exp(of.result.cost.log_c(np.log(at["N"]), np.log(at["D"]))))
    said = f"{', '.join(along)} read off along {', '.join(moving)}" if along else "counted by the program"
    return NewCell(values, keys, at, said)


def _counted(of: Studied, values: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, float]]:
    """Config keys of the axes, and what the program counts of such a run, by one on record, or by study.json alone."""
    for folder, cell in of.records.items():
        names = dict(zip(cell["axes"], cell["keys"], strict=True))
        alike = all(cell["axes"].get(a) == v for a, v in values.items() if isinstance(v, str))
        run = next(folder.glob(f"*/{layout.RESULT}"), None)
        if alike and (run is not None or not folder.is_dir()) and names.keys() >= values.keys():
            keys, shared = {names[a]: v for a, v in values.items()}, {"config": of.identity.get("settings", {})}
            record = shared if run is None else records.read_run(run.parent)
            return keys, of.counts(record["config"], keys) if of.counts is not None and record else {}
    return {}, {}


def extrapolated(cells: pd.DataFrame, column: str, axes: Mapping[str, float]) -> float:
    """A column's value where numeric axes have these values, by a plane or a parabola in logs through the rows."""
    known = cells[[column, *axes]].astype(float)
    known = np.log(known[(np.isfinite(known) & (known > 0)).all(axis=1)])
    at = np.log(np.array([*axes.values()], float))
    return float(np.exp(carried_on(known[column].to_numpy(), known[list(axes)].to_numpy(), at)))


def _of_compute(of: Studied, target: Mapping[str, Any]) -> NewCell:
    """The cell of the lowest predicted loss of those that take no more than this compute."""
    flops, costs = float(target["flops"]), of.costs["flops"]
    others = ", ".join(f"target.{k}" for k in target if k != "flops")
    rule = "`target.flops` must stand alone, because it chooses the rest"
    require(not others, f"{rule}, but got {others}, too: leave that out.")
    rule = f"`target.flops` must not lie below the smallest compute that was measured, {costs.min():.4g}"
    require(not flops < costs.min(), f"{rule}, but got {flops:.4g}: raise it.")
    if of.model.inputs == ("C",) or (of.model.ray is not None and not of.is_study):
        return NewCell({}, {}, {"C": flops}, "as given")
    tried = _sizes(of, flops)
    cells = list(_cells_of(of, flops, tried))
    rule = f"A cell must take the {flops:.4g} FLOPs that were asked for"
    beyond = f"none does within the study's data and {LARGER:g} times its sizes"
    require(bool(cells), f"{rule}, but {beyond}: give fewer, or the cell itself by N and D or the study's axes.")

    def lowest(cells: Iterable[NewCell]) -> NewCell:
        return min(cells, key=lambda cell: float(np.median(loss_draws(of.model, cell.at, np.random.default_rng(0)))))

    if not (best := lowest(cells)).axes:
        return best
    place = int(np.searchsorted(tried, best.axes[size := str(of.roles.size)]))
    around = np.linspace(tried[max(place - 1, 0)], tried[min(place + 1, len(tried) - 1)], FINER)
    best = lowest([best, *_cells_of(of, flops, around)])
    larger = any(cell.axes[size] > best.axes[size] for cell in cells)
    why = (
        "larger models fit with less data alone, and none should have a lower loss"
        if larger
        else "larger models were not tried"
    )
    used = best.at["C"] / flops
    return best if used > USED else replace(best, unspent=f"It uses {100 * used:.2g} % of the compute: {why}.")


def _sizes(of: Studied, flops: float) -> Array:
    """Sizes that are tried for a compute, ascending; none where the rows have none, or no compute."""
    by_axes, cost = of.is_study and None not in (of.roles.size, of.roles.data), of.result.cost
    sizes = of.cells[of.roles.size].to_numpy(float) if by_axes else of.table.inputs.get("N")
    if sizes is None or (not by_axes and (of.is_study or cost is None)):
        return np.empty(0)
    low, top = sizes.min(), LARGER * sizes.max()
    density = TRIED / np.log(top / low)
    while by_axes and (most := at_levels(of, top, of.cells[of.roles.data].astype(float).max())) is not None:
        if most.at["C"] > flops or not most.at.get("N", np.inf) < LARGEST:
            break
        top *= 2
    tried = np.geomspace(low, top, round(density * np.log(top / low)))
    if by_axes and (sizes % 1 == 0).all():  # each whole size within the grid, if these are few, and some beyond
        inside = np.arange(low, sizes.max() + 1)
        tried = np.union1d(tried.round(), inside if len(inside) <= MOST_WHOLE else [])
    return tried


def _cells_of(of: Studied, flops: float, tried: Array) -> Iterator[NewCell]:
    """Cells of these sizes, each with the data that its compute leaves, or in a study with as many as it has."""
    cost = of.result.cost
    if not of.is_study and cost is not None:
        without_data = cost.log_c(np.log(tried), np.zeros(len(tried)))
        for n, d in zip(tried, np.exp((np.log(flops) - without_data) / cost.kappa_d), strict=True):
            yield NewCell({}, {}, {"N": float(n), "D": float(d), "C": flops}, "the model's best size")
        return
    for size in tried:
        amount = float(of.cells[of.roles.data].astype(float).max())
        cell = most = at_levels(of, size, amount)
        for _ in range(2):  # C is nearly proportional to the amount of data
            if cell is not None:
                amount *= flops / cell.at["C"]
                cell = at_levels(of, size, float(f"{amount:.4g}"))
        yield from [one for one in (cell, most) if one is not None and one.at["C"] <= flops * (1 + SAME)][:1]


def at_levels(of: Studied, size: float, amount: float) -> NewCell | None:
    """The cell of a size and an amount of data, whole where those of the study are, further axes as in its first cell;
    None where the program has none, such as one of more data than there are."""
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
    roles = [k for k in ("N", "D") if k in cell.at] or ["C"]
    sizes = np.column_stack([cells.reindex(columns=[names.get(k)]).to_numpy(float) for k in roles])
    return np.asarray((np.abs(np.log(sizes / [cell.at[k] for k in roles])) < 0.01).all(axis=1))


def log_loss(of: Studied, at: Mapping[str, float]) -> Array:
    """Draws of ln L of the surface at a point, shape (draws,)."""
    return of.model.posterior.log_loss({k: np.log([at[k]]) for k in of.model.inputs})[:, 0]


def loss_draws(model: Model, at: Mapping[str, float], rng: np.random.Generator) -> Array:
    """Draws of a cell's ln L, noise and luck included, by the surfaces that fall there unless most of them rise.

    Only a misfit carried beyond its rows rises with N or D. Intervals without such surfaces are narrower by an eighth
    and hold nearly as much (benchmarks/planned_losses.py)."""
    point, surfaces = {k: float(np.log(at[k])) for k in model.inputs}, model.posterior
    at_point, scatter = surfaces.log_loss({k: np.array([v]) for k, v in point.items()})[:, 0], surfaces.scatter()
    draws = at_point + scatter * rng.standard_normal(len(scatter))
    falls = np.all([surfaces.slope(point, k) >= 0 for k in point], axis=0)
    return draws[falls] if falls.mean() > MAJORITY else draws


@dataclass(frozen=True)
class Expected:
    """What a cell should give: loss, error of the test images (unknown where the table has none), draws of ln L with
    noise and luck, a value of each tuned column, and those that a law gives (the others are as in the nearest cells);
    and the loss of one run where that of a cell is a mean of repeats."""

    loss: Interval
    error: Interval
    log_loss: Array
    settings: Mapping[str, Interval | str]
    by_law: tuple[str, ...]
    one_run: Interval = UNKNOWN


def expect(of: Studied, cell: NewCell, rng: np.random.Generator) -> Expected:
    """What a cell should give, with an interval that holds the law, what it misses, noise and luck."""
    draws = loss_draws(of.model, cell.at, rng)
    loss, error = (median_of(found, of.model.level).exp() for found in (draws, _log_error(of, draws, rng)))
    return Expected(loss, error, draws, *_settings(of, cell), _of_one_run(of, loss))


def _of_one_run(of: Studied, loss: Interval) -> Interval:
    """The loss of a run where that of a cell is a mean of repeats: the rest of the seeds' noise widens both sides."""
    if not (of.repeats > 1 and np.isfinite(of.seed_sd)):
        return UNKNOWN
    return loss.of_one(of.seed_sd * math.sqrt(1 - 1 / of.repeats), of.model.level)


def _log_error(of: Studied, log_loss: Array, rng: np.random.Generator) -> Array:
    """Draws of the log error rate, by its line in ln L through the cells of lower loss; NaN where there is none."""
    both = of.cells.reindex(columns=[of.loss, "test_error"]).astype(float)
    both = np.log(both[(both > 0).all(axis=1)]).sort_values(both.columns[0])
    x, y = both.iloc[: max(FEWEST, len(both) // 2)].to_numpy().T
    if len(x) < FEWEST:
        return np.full(len(log_loss), np.nan)
    line = plane(y, x)
    sd = float(np.sqrt((line.residual**2).sum() / line.free))
    drawn = plane(y[:, None] + sd * rng.standard_normal((len(x), len(log_loss))), x).coefficients
    return drawn[0] + drawn[1] * log_loss + sd * rng.standard_normal(len(log_loss))


def _settings(of: Studied, cell: NewCell) -> tuple[dict[str, Interval | str], tuple[str, ...]]:
    """Best value of each tuned key: by its law, else as the nearest cells have it; within its limits."""
    tuned = [key for key in of.source.tuned if key in of.cells]
    if not tuned:
        return {}, ()
    tried, keys, why = cell_trials(of.source, of.arm)
    laws = {} if why else setting_laws(tried, keys, of.model.level)
    sizes = {k: v for k, v in cell.at.items() if k in ("N", "D")}
    by_law = prior(laws, of.model.level, **sizes)
    columns = [str(of.source.rows.names[k]) for k in sizes if of.source.rows.names.get(k)]
    apart = np.log(of.cells[columns].astype(float) / list(sizes.values())).pow(2).sum(axis=1)
    near = of.cells.loc[apart.nsmallest(NEAREST).index]
    found: dict[str, Interval | str] = {}
    for key in tuned:
        values = near[key].dropna()
        if pd.api.types.is_numeric_dtype(values) and values.dtype != bool and len(values):
            mean = np.exp(np.log(values).mean()) if (values > 0).all() else values.mean()
            nearest = Interval(*map(float, (mean, values.min(), values.max())))
            found[key] = _within(of.range_of(key), by_law.get(key) or nearest, values)
        elif len(values):
            found[key] = str(values.mode().iloc[0])
    return found, tuple(by_law)


def _within(searched: Mapping[str, Any], found: Interval, values: pd.Series) -> Interval:
    """Within the ends of the range that are limits, and whole where the cells' values are."""
    low, high = (searched[end] if end in searched.get("limits", ()) else None for end in ("low", "high"))
    ends = np.array([found.value, found.low, found.high])
    ends = ends if low is None and high is None else np.clip(ends, low, high)
    # A dropout of 0 in every cell is no whole number by nature, as a batch size is.
    whole = (values % 1 == 0).all() and values.min() >= 1
    return Interval(*map(float, np.maximum(ends.round(), 1) if whole else ends))

"""The rows that are fitted, as plain arrays: loss, and any of N, D, C, U, with standard errors and flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mnist_scaling.errors import InputError, line_of
from mnist_scaling.fitting.laws.base import Array, Logs

SMALLEST_LOSS, LARGEST_LOSS = 1e-30, 1e30
"""Losses that can be fitted: beyond them the bounds of the laws' scales, which are absolute, would decide the fit."""

SAME_LEVEL = 0.0125
"""Gap in a log below which sizes are one level: amounts of data in whole batches differ by 0.2 to 1.2 %."""

SAME_SIZE = 1e-6
"""Gap in a log below which sizes differ by rounding alone."""

SAME_COST = 0.1
"""Gap in log C beyond which runs of the same N and D are no repeats of each other."""

VARIABLES = ("N", "D", "C", "U")
MEANINGS = {
    "N": "parameters",
    "D": "examples or tokens processed",
    "C": "training FLOPs",
    "U": "unique examples or tokens",
}


@dataclass(frozen=True)
class Table:
    """Rows to fit; every array has shape (n,)."""

    loss: Array
    """Loss, positive, in nats for the diagnostics to make sense."""
    inputs: Mapping[str, Array]
    """Positive arrays by name: "N", "D", "C", "U", as many as there are."""
    se: Array | None = None
    """Standard error of the loss over repeats; NaN where unknown."""
    repeats: Array | None = None
    """Number of repeats behind each loss; NaN where unknown."""
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    """Number of each row in the file it came from, counted from 0."""
    flags: tuple[tuple[str, ...], ...] = ()
    """Flag codes that the rows bring with them."""
    conventions: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    """Other ways to count: {"N": {"hidden": …}, "C": {"6ND": …}}."""
    examples: float | None = None
    """The largest D that there are data for; None where that is not known."""
    tuned: bool | None = None
    """Whether each row has the best of several settings, which leaves something to luck; None where it isn't known."""

    def __post_init__(self) -> None:
        n = len(self.loss)
        if not len(self.rows):
            object.__setattr__(self, "rows", np.arange(n))
        if not self.flags:
            object.__setattr__(self, "flags", ((),) * n)

    def __len__(self) -> int:
        return len(self.loss)

    def has(self, inputs: Sequence[str]) -> bool:
        """Whether every one of these inputs is known."""
        return all(name in self.inputs for name in inputs)

    def logs(self, inputs: Sequence[str]) -> Logs:
        """Natural logarithms of these inputs."""
        return {name: np.log(self.inputs[name]) for name in inputs}

    def log_cost(self, inputs: Sequence[str]) -> Array:
        """log C, or what stands for it: the log of the product of these inputs without U, shape (n,)."""
        if "C" in self.inputs:
            return np.log(self.inputs["C"])
        return sum((np.log(self.inputs[k]) for k in inputs if k != "U"), np.zeros(len(self)))

    @property
    def y(self) -> Array:
        """Natural logarithm of the loss."""
        return np.log(self.loss)

    def take(self, index: np.ndarray) -> Table:
        """The rows at these positions (an index or a mask), in this order."""
        where = np.flatnonzero(index) if index.dtype == bool else index

        def cut(a: Array | None) -> Array | None:
            return None if a is None else a[where]

        return replace(
            self,
            loss=self.loss[where],
            inputs={k: v[where] for k, v in self.inputs.items()},
            se=cut(self.se),
            repeats=cut(self.repeats),
            rows=self.rows[where],
            flags=tuple(self.flags[i] for i in where),
            conventions={k: {c: v[where] for c, v in group.items()} for k, group in self.conventions.items()},
        )

    def spans(self, place: Mapping[str, float]) -> bool:
        """Whether every size of a place lies in the range of the rows, or so near to it that it is the same level."""
        ends = {k: (x.min() / (1 + SAME_LEVEL), x.max() * (1 + SAME_LEVEL)) for k, x in self.inputs.items()}
        return all(ends[k][0] <= x <= ends[k][1] for k, x in place.items())

    def folded(self, keys: Sequence[str] = ()) -> Table:
        """One row for each cell: rows of the same N and D (and U) are its repeats, which are not independent cells.

        The loss is their mean and its standard error their scatter over the root of their number; copies, which agree
        in the loss, too, count once. A cell of one row stays as it is. Rows whose C differs by more than
        `SAME_COST` are other cells, and with C and without N or D nothing is folded: runs of one budget may be of
        different models.

        Parameters
        ----------
        keys : sequence of str, optional
            Inputs whose equality makes rows one cell, instead of that rule: what two arms are compared by.
        """
        if not keys and "C" in self.inputs and not self.has(("N", "D")):
            return self
        names = keys or [k for k in VARIABLES if k in self.inputs and k != "C"]
        sizes: Array = np.asarray(np.log(np.stack([self.inputs[k] for k in names], axis=1)).round(9), float)
        if not keys and "C" in self.inputs:
            sizes = _split_by_cost(sizes, np.log(self.inputs["C"]))
        _, first, cell = np.unique(sizes, axis=0, return_index=True, return_inverse=True)
        if len(first) == len(self):
            return self
        order = np.argsort(first)
        cell = np.argsort(order)[np.asarray(cell).ravel()]
        kept = np.zeros(len(self), bool)
        kept[np.unique(np.column_stack([cell, self.loss]), axis=0, return_index=True)[1]] = True
        return _mean_cells(self, first[order], cell, kept)

    def by_level(self, name: str) -> dict[float, np.ndarray]:
        """Positions of the rows at each level of an input, by its middle value, ascending.

        Values nearer than `SAME_LEVEL` are one level, unless they go on from one to the next, as scattered ones do.
        """
        order, starts = _levels(np.log(self.inputs[name]))
        return dict(zip(self.levels(name).tolist(), map(np.sort, np.split(order, starts[1:])), strict=True))

    def levels(self, name: str) -> Array:
        """The levels of an input (`by_level`), ascending."""
        order, starts = _levels(np.log(self.inputs[name]))
        middle = (starts + np.append(starts[1:], len(order))) // 2
        return np.asarray(self.inputs[name][order[middle]], float)

    def cell(self, i: int) -> dict[str, float | int]:
        """One row as a record: its number in the file, its inputs, its loss."""
        record: dict[str, float | int] = {"row": int(self.rows[i])}
        record.update({k: float(v[i]) for k, v in self.inputs.items()})
        return record | {"loss": float(self.loss[i])}


def _levels(x: Array) -> tuple[np.ndarray, np.ndarray]:
    """Positions of log sizes in ascending order, and where in them each level begins (`Table.by_level`)."""
    order = np.argsort(x, kind="stable")
    steps = np.diff(x[order])
    group = np.concatenate([[0], np.cumsum(steps > SAME_LEVEL)])
    first = np.searchsorted(group, np.arange(group[-1] + 1))
    last = np.append(first[1:], len(order)) - 1
    wide = (x[order[last]] - x[order[first]] > SAME_LEVEL)[group]
    return order, np.concatenate([[0], 1 + np.flatnonzero((steps > SAME_LEVEL) | (wide[1:] & (steps > SAME_SIZE)))])


def level_of(x: Array) -> np.ndarray:
    """Number of the level (`Table.by_level`) of each of some log sizes, from 0, shape (n,)."""
    order, starts = _levels(x)
    level = np.empty(len(x), int)
    level[order] = np.searchsorted(starts, np.arange(len(x)), side="right") - 1
    return level


def places(x: Array, arm: np.ndarray | None = None) -> np.ndarray:
    """Place of each cell on the grid: the number of its level of each log size, shape (cells, variables).

    Where two cells of one arm would share a place, equal sizes alone are one level. Cells of several arms share the
    places where they are the same.
    """
    levels = np.stack([level_of(column) for column in x.T], axis=1)
    apart = levels if arm is None else np.column_stack([levels, arm])
    if len(np.unique(apart, axis=0)) == len(x):
        return levels
    return np.stack([np.unique(np.round(c / SAME_SIZE), return_inverse=True)[1] for c in x.T], axis=1)


def _mean_cells(table: Table, first: np.ndarray, cell: np.ndarray, kept: np.ndarray) -> Table:
    """`Table.folded`: `first` row of each cell, the `cell` of each row, and the rows that are `kept`."""
    number = np.bincount(cell[kept], minlength=len(first)).astype(float)

    def mean(values: Array) -> Array:
        return np.bincount(cell[kept], values[kept], len(first)) / number

    loss = mean(table.loss)
    square = np.bincount(cell[kept], (table.loss - loss[cell])[kept] ** 2, len(first))
    several = number > 1
    alone = np.full(len(first), np.nan) if table.se is None else table.se[first]
    se = np.where(several, np.sqrt(square / np.maximum(number - 1, 1) / number), alone)
    one = np.ones(len(first)) if table.repeats is None else table.repeats[first]
    marks: list[dict[str, None]] = [{} for _ in first]
    for row in np.flatnonzero([bool(f) for f in table.flags]):
        marks[cell[row]] |= dict.fromkeys(table.flags[row])
    inputs = {k: np.exp(mean(np.log(v))) if k == "C" else v[first] for k, v in table.inputs.items()}
    return replace(
        table,
        loss=loss,
        inputs=inputs,
        se=se if np.isfinite(se).any() else None,
        repeats=np.where(several, number, one),
        rows=table.rows[first],
        flags=tuple(tuple(m) for m in marks),
        conventions={k: {c: np.exp(mean(np.log(v))) for c, v in g.items()} for k, g in table.conventions.items()},
    )


def _split_by_cost(sizes: Array, log_c: Array) -> Array:
    """Numbers of the cells, shape (n, 1): rows of the same sizes, but not across a gap of `SAME_COST` in log C."""
    _, group = np.unique(sizes, axis=0, return_inverse=True)
    group = np.asarray(group).ravel()
    order = np.lexsort((log_c, group))
    begins = (np.diff(group[order]) != 0) | (np.diff(log_c[order]) > SAME_COST)
    cell = np.empty(len(order))
    cell[order] = np.concatenate([[0], np.cumsum(begins)])
    return cell[:, None]


def make_table(
    loss: Array,
    inputs: Mapping[str, Array],
    se: Array | None = None,
    repeats: Array | None = None,
    flags: Sequence[Sequence[str]] = (),
    conventions: Mapping[str, Mapping[str, Array]] | None = None,
    source: str = "the table",
    rows: np.ndarray | None = None,
    headers: Mapping[str, str] | None = None,
) -> Table:
    """Check plain arrays and make a `Table` of them; rows with an empty number are left out by the caller.

    Parameters
    ----------
    loss, inputs, se, repeats, flags, conventions
        As in `Table`.
    source : str
        What errors call the table.
    rows : array of int, optional
        Number of each row in its file, which errors name by its line.
    headers : mapping of str to str, optional
        What the file calls "loss", "N", …

    Raises
    ------
    InputError
        When lengths differ, a value is not finite and positive, or nothing is left to fit.
    """
    loss, inputs = np.asarray(loss, float), {k: np.asarray(v, float) for k, v in inputs.items()}
    if not inputs:
        raise InputError(f"{source} must have at least one of N, D and C, but none is named: give columns.N=…, say.")
    shapes = {"loss": loss.shape} | {k: v.shape for k, v in inputs.items()}
    spare = {"se": se, "repeats": repeats, "flags": flags if len(flags) else None}
    for name, shape in (shapes | {k: (len(v),) for k, v in spare.items() if v is not None}).items():
        if shape != (len(loss),):
            size = " x ".join(map(str, shape))
            raise InputError(f"Every column of {source} must have {len(loss)} values, but {name} has {size}.")
    for name, values in {"loss": loss, **inputs}.items():
        _check_positive(values, name, (headers or {}).get(name, name), source, rows)
    return Table(
        loss,
        inputs,
        None if se is None else np.asarray(se, float),
        None if repeats is None else np.asarray(repeats, float),
        np.arange(len(loss)) if rows is None else rows,
        tuple(tuple(f) for f in flags),
        {k: {c: np.asarray(v, float) for c, v in g.items()} for k, g in (conventions or {}).items()},
    )


def _check_positive(values: Array, role: str, header: str, source: str, rows: np.ndarray | None) -> None:
    least, most = (SMALLEST_LOSS, LARGEST_LOSS) if role == "loss" else (0.0, np.inf)
    bad = np.flatnonzero(~((values > 0) & np.isfinite(values) & (values >= least) & (values <= most)))
    if not len(bad):
        return
    worst = values[bad[0]]
    meaning = "A logarithm is taken of it" if role != "loss" else "A cross-entropy or an error rate is positive"
    rule, fix = f"{header} > 0", f"{meaning}: mend or remove the row."
    if worst > 0:
        rule = f"{header} < inf" if role != "loss" else f"{least:g} <= {header} <= {most:g}"
        fix = "Leave the field empty where a run diverged" if np.isinf(worst) else "Give it in a unit of its own size"
        fix += ", or remove the row."
    raise InputError(broken(rule, source, values, bad, rows, fix))


def broken(rule: str, source: str, values: Array, bad: np.ndarray, rows: np.ndarray | None, fix: str) -> str:
    """The sentence that a rule does not hold where numbers are `bad`; `rows` and `fix` are as in `make_table`."""
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    where = f"row {bad[0]}" if rows is None else f"line {line_of(rows[bad[0]])}"
    return f"`{rule}` must hold in every row of {source}, but {where} has {values[bad[0]]:g}{more}. {fix}"

"""Which cells two arms are compared on: the same cells of both, or the range of sizes that both cover.

Arms of one study, or of two studies of one grid, share cells and seeds. Then the subset of the images, the initial
weights and the order are the same on both sides, so that much of the noise cancels in the ratio of their losses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import SAME_LEVEL, Table, places
from mnist_scaling.fitting.slices import ray_of
from mnist_scaling.fitting.uncertainty.interval import OMITTED, UNKNOWN, Interval

FEWEST_CELLS = 4
"""Cells that a comparison needs of each arm: a plane in two variables has three coefficients, and one is noise."""


@dataclass(frozen=True)
class Arm:
    """One way to train, and the losses that it gave."""

    name: str
    table: Table
    runs: Sequence[Mapping[int, float]] | None = None
    """Loss of each repeat by its seed, one mapping per row of the table; None where only means are known."""

    @property
    def tuned(self) -> bool:
        """Whether its cells hold luck in tuning: unless it is known that they don't."""
        return self.table.tuned is not False


@dataclass(frozen=True)
class Difference:
    """One quantity in both arms, and b's minus a's."""

    a: Interval = UNKNOWN
    b: Interval = UNKNOWN
    difference: Interval = UNKNOWN
    why: str = field(default="", metadata=OMITTED, kw_only=True)
    """Why there is none."""
    inside: Sequence[int] = field(default=(), metadata=OMITTED, kw_only=True)
    """Of a frontier: at how many budgets each arm has its best size inside its grid."""


@dataclass(frozen=True)
class PairNoise:
    """Noise of the mean log losses of two arms in one cell, as their repeats show it."""

    covariance: Array
    """Of (a, b), shape (2, 2)."""
    dof: float
    shared: bool = True
    """Whether repeats have the same seeds in both arms."""


def of_ratio(covariance: Array) -> float:
    """Variance of log(b / a) by the covariance of (log a, log b), shape (2, 2)."""
    ratio = np.array([-1.0, 1.0])
    return float(ratio @ covariance @ ratio)


@dataclass(frozen=True)
class Cells:
    """The rows of two arms that are compared."""

    a: Table
    b: Table
    """In the order of `a` where the rows are paired."""
    paired: bool
    variables: tuple[str, ...]
    """What moves over the rows of both arms: "N", "D", or "C" where a table has neither."""
    seeds: PairNoise | None
    """None where no cell has two repeats in both arms, of the same seeds or of none that are the same."""
    left_out: tuple[int, int]
    """Cells of each arm that are not compared."""
    tuned: bool
    """Whether the cells of one arm or of both were tuned."""
    by_seed: tuple[Array, Array] | None = None
    """Of each arm what every seed adds to the mean log loss of its cells, shape (seeds, rows): the means have the
    covariance `by_seed.T @ by_seed`, which holds what a seed gives to all cells. None where a cell lacks a second."""

    @property
    def tables(self) -> tuple[Table, Table]:
        """The rows of a and of b."""
        return self.a, self.b

    @property
    def x(self) -> tuple[Array, Array]:
        """Logarithms of the variables of each arm, shape (rows, variables)."""
        a, b = (np.column_stack([np.log(t.inputs[k]) for k in self.variables]) for t in self.tables)
        return a, b

    @property
    def y(self) -> tuple[Array, Array]:
        """Log losses of each arm, shape (rows,)."""
        return self.a.y, self.b.y

    @property
    def corners(self) -> tuple[Array, Array]:
        """Smallest and largest log value of each variable that both arms cover, shape (variables,) each."""
        a, b = self.x
        return np.maximum(a.min(axis=0), b.min(axis=0)), np.minimum(a.max(axis=0), b.max(axis=0))


def match(a: Arm, b: Arm) -> Cells:
    """The cells of both arms where enough of them are the same, else the rows in the range that both cover.

    Cells that are the same by chance, such as those of one size that families have in common, don't vary as the rows in
    that range do, and are no pairs.

    It raises InputError when the arms share no variable, their ranges miss each other, or too few cells are left.
    """
    shared_roles = [k for k in ("N", "D", "C") if k in a.table.inputs and k in b.table.inputs]
    roles = [k for k in shared_roles if k != "C"] or shared_roles
    if not roles:
        raise InputError(
            f"Arms must share a column of sizes, but {a.name} has {', '.join(a.table.inputs)} and {b.name} has "
            f"{', '.join(b.table.inputs)}: name the same columns.N=…, columns.D=… or columns.C=… for both."
        )
    one, two = _folded(a, roles), _folded(b, roles)
    keys_a, keys_b = _keys(one.table, two.table, roles)
    where = {key: i for i, key in enumerate(keys_b)}
    shared = [(i, where[key]) for i, key in enumerate(keys_a) if key in where]
    rows_a, rows_b = (np.array([pair[k] for pair in shared], int) for k in (0, 1))
    variables = _moving(one.table.take(rows_a), two.table.take(rows_b), roles) if shared else ()
    kept = _inside(one, two, roles)
    moving = _moving(one.table.take(kept[0]), two.table.take(kept[1]), roles) if shared else ()
    if len(shared) >= max(FEWEST_CELLS, len(variables) + 2) and variables == moving != ():
        table_a, table_b, seeds = _by_seed(one, two, rows_a, rows_b)
        left_out = (len(one.table) - len(shared), len(two.table) - len(shared))
        runs = [[(arm.runs or ())[row] for row in rows] for arm, rows in ((one, rows_a), (two, rows_b)) if seeds]
        common = [set.intersection(*map(set, of_arm)) for of_arm in runs]
        if seeds and seeds.shared:
            common = [common[0] & common[1]] * 2
        own = [_added(of_arm, sorted(numbers)) for of_arm, numbers in zip(runs, common, strict=True)]
        by_seed = (own[0], own[1]) if own and min(len(o) for o in own) > 1 else None
        return Cells(table_a, table_b, True, variables, seeds, left_out, a.tuned or b.tuned, by_seed)
    return _overlapping(one, two, kept, roles)


def match_twin(arm: Arm, twin: Arm, variables: Sequence[str]) -> Cells:
    """The cells of an arm and of itself tuned again.

    It raises InputError when the twin has cells that the arm has not, or too few, or its cells do not vary as those
    compared do.
    """
    cells = match(arm, twin)
    other = cells.left_out[1] if cells.paired else len(twin.table)
    if other or cells.variables != tuple(variables):
        unlike = f"{other} of other sizes" if other else f"{' and '.join(cells.variables)} alone vary in them"
        raise InputError(
            f"A twin must have the cells of the arm that was tuned again, but of {twin.name}'s {len(twin.table)} cells "
            f"{unlike}: run it on the grid of {arm.name}."
        )
    return cells


def _folded(arm: Arm, roles: Sequence[str]) -> Arm:
    """The arm with one row for each cell, its runs forgotten where rows were folded (`Table.folded`)."""
    table = arm.table.folded(roles)
    return arm if len(table) == len(arm.table) else Arm(arm.name, table)


def _keys(a: Table, b: Table, roles: Sequence[str]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Place of each cell of either arm on the grid of both."""
    x = np.log(np.column_stack([np.concatenate([t.inputs[k] for t in (a, b)]) for k in roles]))
    keys = [tuple(row) for row in places(x, np.repeat([0, 1], (len(a), len(b)))).tolist()]
    return keys[: len(a)], keys[len(a) :]


def _moving(a: Table, b: Table, roles: Sequence[str]) -> tuple[str, ...]:
    """The roles that have several levels in both arms; one of them where they move together, as on a ladder."""
    varying = [k for k in roles if min(len(a.levels(k)), len(b.levels(k))) > 1]
    if len(varying) > 1 and any(ray_of(table) is not None for table in (a, b)):
        varying = varying[:1]
    return tuple(varying)


def _by_seed(a: Arm, b: Arm, rows_a: np.ndarray, rows_b: np.ndarray) -> tuple[Table, Table, PairNoise | None]:
    """Shared cells with the mean loss over the seeds that both arms have, and the noise of these means."""
    table_a, table_b = a.table.take(rows_a), b.table.take(rows_b)
    if a.runs is None or b.runs is None:
        return table_a, table_b, None
    loss_a, loss_b = table_a.loss.copy(), table_b.loss.copy()
    for i, (j, k) in enumerate(zip(rows_a, rows_b, strict=True)):
        seeds = sorted(set(a.runs[j]) & set(b.runs[k]))
        if not seeds:
            continue
        pair = np.array([[a.runs[j][seed], b.runs[k][seed]] for seed in seeds])
        if set(a.runs[j]) != set(b.runs[k]):  # else the tables hold these very means
            loss_a[i], loss_b[i] = pair.mean(axis=0)
    noise = pair_noise((a.runs[j], b.runs[k]) for j, k in zip(rows_a, rows_b, strict=True))
    return replace(table_a, loss=loss_a), replace(table_b, loss=loss_b), noise


def _added(runs: Sequence[Mapping[int, float]], seeds: Sequence[int]) -> Array:
    """What each of these seeds adds to the mean log losses of the rows, shape (seeds, rows): see `Cells`."""
    logs = np.log([[run[seed] for run in runs] for seed in seeds]).reshape(len(seeds), len(runs))
    return (logs - logs.mean(axis=0)) / np.sqrt(max(len(seeds) * (len(seeds) - 1), 1))


def pair_noise(runs: Iterable[tuple[Mapping[int, float], Mapping[int, float]]]) -> PairNoise | None:
    """The noise that repeats of both show, of each cell the losses by seed on both sides; None where none has two.

    Seeds of both give them noise in common, seeds of their own do not.
    """
    cells = list(runs)
    shared = any(set(one) & set(two) for one, two in cells)
    scatter, dof = np.zeros((2, 2)), 0.0
    for one, two in cells:
        seeds = [(s, s) for s in sorted(set(one) & set(two))] if shared else list(zip(one, two, strict=False))
        if len(seeds) > 1:
            logs = np.log([[one[a], two[b]] for a, b in seeds])
            off = logs - logs.mean(axis=0)
            scatter += off.T @ off / len(seeds)
            dof += len(seeds) - 1
    return PairNoise(scatter * (1.0 if shared else np.eye(2)) / dof, dof, shared) if dof else None


def _inside(a: Arm, b: Arm, roles: Sequence[str]) -> list[np.ndarray]:
    """Masks of the rows of each arm inside the range of sizes that both cover."""
    kept = [np.ones(len(arm.table), bool) for arm in (a, b)]
    for role in roles:
        one, two = sizes = a.table.inputs[role], b.table.inputs[role]
        low, high = max(one.min(), two.min()), min(one.max(), two.max())
        if low > high * (1 + SAME_LEVEL):
            raise InputError(
                f"Arms must cover a common range of {role}, but {a.name} has {one.min():g} to {one.max():g} and "
                f"{b.name} has {two.min():g} to {two.max():g}: run one of them at sizes of the other."
            )
        for mask, x in zip(kept, sizes, strict=True):
            mask &= (x >= low * (1 - SAME_LEVEL)) & (x <= high * (1 + SAME_LEVEL))
    return kept


def _overlapping(a: Arm, b: Arm, kept: Sequence[np.ndarray], roles: Sequence[str]) -> Cells:
    """The rows of each arm inside the range of sizes that both cover."""
    for arm, mask in zip((a, b), kept, strict=True):
        if mask.sum() < FEWEST_CELLS:
            raise InputError(
                f"A comparison needs at least {FEWEST_CELLS} cells of each arm in the range that both cover, but "
                f"{arm.name} has {mask.sum()}: run it on cells of the other arm."
            )
    table_a, table_b = (arm.table.take(mask) for arm, mask in zip((a, b), kept, strict=True))
    variables = _moving(table_a, table_b, roles)
    if not variables:
        raise InputError(
            f"A comparison needs {' or '.join(roles)} to vary in both arms, but in the range that both cover it "
            f"does not: add cells to {a.name} or to {b.name}."
        )
    left_out = len(a.table) - len(table_a), len(b.table) - len(table_b)
    return Cells(table_a, table_b, False, variables, None, left_out, a.tuned or b.tuned)

"""The grid: which overrides are axes, which are tuned, which are fixed; and the cells that follow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import PurePosixPath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from optuna.distributions import BaseDistribution

from mnist_scaling import config
from mnist_scaling.config import RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study import identity, layout
from mnist_scaling.study.columns import BRANCH, CELL_COLUMNS, RUN_SEED, SEED, TRIAL_COLUMNS, column_of
from mnist_scaling.tuning.grid import search_space
from mnist_scaling.tuning.grid.composition import Compose, Composed, Composer
from mnist_scaling.tuning.grid.search_space import NUISANCE

_NO_AXES = ("name",)
"""Config keys that belong to a sweep as a whole, beside Hydra's own."""

_NO_WORDS = (
    "", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None",
)  # fmt: skip
"""Words that pandas takes for an empty field of a CSV file."""


@dataclass(frozen=True)
class Partition:
    """A sweep's overrides by their role."""

    fixed: tuple[str, ...]
    """Passed on to every run as they are."""
    axes: dict[str, tuple[str, ...]]
    """Override key, with its + or ++, to the values of the axis as override text."""
    space: dict[str, str | None]
    """Config key to a sweep for the search space; None takes the key out, because it is fixed."""

    @property
    def keys(self) -> set[str]:
        """Config keys that the sweep sets, to one value or to several."""
        return {text.split("=", 1)[0].lstrip("+~") for text in (*self.fixed, *self.axes)}


@dataclass(frozen=True)
class Cell:
    """One point of the grid: all runs in it differ in nuisance hyperparameters and seeds only."""

    keys: dict[str, Any]
    """Swept config keys and their values, in canonical order."""
    overrides: tuple[str, ...]
    """Hydra overrides that compose the cell's config."""
    run: RunConfig
    """The cell's config with its own values of the tuned keys."""
    space: dict[str, BaseDistribution]
    """What is tuned, by config key."""
    price: Callable[[RunConfig], float]
    """Relative cost of one run of a config."""
    limits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Ends of ranges that are declared limits, by config key."""
    following: tuple[str, ...] = ()
    """Config keys whose values follow other ones, such as a tuned one."""

    def on(self, sha256: str | None) -> Cell:
        """The cell, bound to a data file of that checksum, if there is one: its jobs refuse another."""
        if sha256 is None:
            return self
        run = replace(self.run, data=replace(self.run.data, sha256=sha256))
        return replace(self, run=run, overrides=(*self.overrides, f"data.sha256='{sha256}'"))

    def starting_at(self, sha256: str) -> Cell:
        """The cell, bound to weights to start from of that checksum: its jobs refuse others."""
        run = replace(self.run, init_sha256=sha256)
        return replace(self, run=run, overrides=(*self.overrides, f"init_sha256='{sha256}'"))

    @cached_property
    def cost(self) -> float:
        """Relative cost of one run.

        It is computed when it is first asked for, because that imports torch, and a finished study never asks.

        Raises
        ------
        InputError
            When the run can't be trained.
        """
        return self.price(self.run)

    @cached_property
    def axes(self) -> dict[str, Any]:
        """Column name to value."""
        return {column_of(key): value for key, value in self.keys.items()}

    @cached_property
    def name(self) -> str:
        """The study's name: ``width=16 data_fraction=0.25``."""
        return " ".join(layout.cell_parts(self.axes))

    @cached_property
    def folder(self) -> PurePosixPath:
        """Where the cell's runs go, relative to the study's folder."""
        return PurePosixPath(*layout.cell_parts(self.axes))

    @cached_property
    def values(self) -> dict[str, Any]:
        """Every config key of a run and the cell's own value of it."""
        return config.flatten(asdict(self.run))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What the cell's runs share and the defaults lack: its part of the study's identity."""
        return identity.settings(self.values, self.defaults, self.space)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Every config key of a run at its default."""
        return config.flatten(asdict(config.defaults_like(self.run)))

    @cached_property
    def ranges(self) -> dict[str, str]:
        """What is tuned, by config key, as text."""
        return search_space.describe(self.space, self.limits)


def partition(arguments: Sequence[str], space_keys: Iterable[str]) -> Partition:
    """Sort a sweep's overrides into fixed values, axes of the grid and the search space.

    A plain value is fixed, and leaves the search space if it was there. A swept key is tuned when it
    is in the search space or tagged `nuisance`; any other swept key is an axis. Of several overrides
    of one key the last counts.

    Parameters
    ----------
    arguments : sequence of str
        Hydra overrides, the experiment's first, the command line's last.
    space_keys : iterable of str
        Keys of the config's `search_space`.

    Raises
    ------
    InputError
        For an interval on an axis, because a grid needs a list of values, and for an axis that is no key of a run.
    """
    tuned = set(space_keys)
    last: dict[str, Override] = {}
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        if override.type == OverrideType.EXTEND_LIST:
            last[str(override.input_line)] = override
        else:
            last.pop(override.key_or_group, None)
            last[override.key_or_group] = override

    fixed: list[str] = []
    axes: dict[str, tuple[str, ...]] = {}
    space: dict[str, str | None] = {}
    for override in last.values():
        key = override.key_or_group
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
            if key in tuned:
                space[key] = None
        elif key in tuned or NUISANCE in search_space.tags(override):
            space[key] = override.get_value_string()
        elif override.is_interval_sweep():
            raise InputError(
                f"An axis of the grid takes a list of values, but got `{override.input_line}`: write "
                f"`{key}=a,b,c`, or `{key}=tag({NUISANCE}, {override.get_value_string()})` to tune it in every cell."
            )
        elif key in _NO_AXES or key.startswith(("hydra.", "hydra/")):
            raise InputError(
                f"An axis must be a key of a run, but `{key}` is one of the whole sweep: give it one value, and each "
                "further value a sweep of its own."
            )
        else:
            axes[override.get_key_element()] = tuple(dict.fromkeys(override.sweep_string_iterator()))
    return Partition(tuple(fixed), axes, space)


def cells(
    parts: Partition,
    compose: Compose,
    cost: Callable[[RunConfig], float],
    max_values_per_axis: int | None = None,
    listed: Sequence[Mapping[str, str]] = ({},),
) -> list[Cell]:
    """Every cell of the grid, composed and checked.

    Parameters
    ----------
    parts : Partition
        The sweep's overrides.
    compose : callable
        Overrides to a composed config.
    cost : callable
        Relative cost of one run of a config.
    max_values_per_axis : int, optional
        Keep only that many values of each axis, evenly spread with both ends.
    listed : sequence of mapping
        Settings of an explicit list (`cell_list.read`), its keys being axes too: each is crossed with the axes.

    Raises
    ------
    InputError
        When a config breaks a rule, a key is both axis and tuned, a value of an axis has no place in a table, or two
        cells have no names of their own.
    """
    axes = {key: thinned(values, max_values_per_axis) for key, values in parts.axes.items()}
    composer = Composer(compose, parts.fixed, parts.space)
    found: dict[str, Cell] = {}
    for one, values in itertools.product(listed, itertools.product(*axes.values())):
        chosen = {**one, **dict(zip(axes, values, strict=True))}
        overrides = (*parts.fixed, *(f"{key}={value}" for key, value in chosen.items()))
        cell = _cell(composer(chosen), overrides, cost)
        # Some file systems don't tell upper from lower case.
        same = found.setdefault(cell.name.casefold(), cell)
        if same.keys != cell.keys:  # 1 and 1.0 are one cell
            raise InputError(
                "Two cells must differ by more than upper and lower case, or the type of a value, but "
                f"{same.keys} and {cell.keys} do not: choose values whose text differs."
            )
    return list(found.values())


def _cell(composed: Composed, overrides: tuple[str, ...], cost: Callable[[RunConfig], float]) -> Cell:
    both = [key for key in composed.keys if key in composed.space]
    if both:
        raise InputError(
            f"A key is an axis or is tuned, but `{both[0]}` is both in this cell: set `search_space.{both[0]}=null` "
            "to make it an axis."
        )
    _check_columns(composed.keys, composed.space)
    for key, value in composed.keys.items():
        _check_value(key, value)
    cell = Cell(composed.keys, overrides, composed.run, composed.space, cost, composed.limits, composed.following)
    assert cell.name, "a name that is too long for a folder is refused here, before anything is trained"
    return cell


def _check_value(key: str, value: Any) -> None:
    """A value of an axis is one field of a table, and comes back from it."""
    if value is not None and not isinstance(value, bool | int | float | str):
        raise InputError(
            f"A value of an axis must be a number, a word, true, false or null, but one of `{key}` is {value}: give "
            "each such value a file of a config group, and sweep the group."
        )
    if isinstance(value, float) and not isfinite(value):
        raise InputError(f"A value of an axis must be finite, but one of `{key}` is {value}: take it out.")
    if isinstance(value, str) and value.strip() in _NO_WORDS:
        raise InputError(
            f"A word on an axis must not read as an empty field of a table, but one of `{key}` is {value!r}: choose "
            "another word, or null for no value."
        )


def _check_columns(axes: Iterable[str], tuned: Iterable[str]) -> None:
    """Every axis and every tuned key needs a column of its own in the tables."""
    owners: dict[str, str] = {}
    for key in (*axes, *tuned):
        column = column_of(key)
        if column in {*TRIAL_COLUMNS, *CELL_COLUMNS, BRANCH, RUN_SEED} and not (key == SEED and key in axes):
            raise InputError(
                f"A swept key must not take the column of something that is measured, but `{key}` would fill "
                f"`{column}`: fix it, and give each of its values a study of its own (`name=`)."
            )
        if column in owners:
            raise InputError(
                f"Every swept key must have a column of its own, but `{owners[column]}` and `{key}` would both fill "
                f"`{column}`: fix one of them."
            )
        owners[column] = key


def thinned(values: tuple[str, ...], most: int | None) -> tuple[str, ...]:
    """At most so many of the values of an axis, evenly spread with both ends; all of them for None."""
    if most is None or len(values) <= most:
        return values
    if most == 1:
        return values[:1]
    return tuple(values[round(i * (len(values) - 1) / (most - 1))] for i in range(most))

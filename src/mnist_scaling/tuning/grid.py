"""The grid: which overrides are axes, which are tuned, which are fixed; and the cells that follow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution

from mnist_scaling import config
from mnist_scaling.config import RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study import identity
from mnist_scaling.study.columns import BRANCH, CELL_COLUMNS, RUN_SEED, SEED, TRIAL_COLUMNS, column_of
from mnist_scaling.tuning import search_space
from mnist_scaling.tuning.search_space import NUISANCE


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
    cost: float
    """Relative cost of one run."""
    limits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Ends of ranges that are declared limits, by config key."""

    def on(self, sha256: str | None) -> Cell:
        """The cell, bound to a data file of that checksum, if there is one: its jobs refuse another."""
        if sha256 is None:
            return self
        run = replace(self.run, data=replace(self.run.data, sha256=sha256))
        return replace(self, run=run, overrides=(*self.overrides, f"data.sha256='{sha256}'"))

    @property
    def axes(self) -> dict[str, Any]:
        """Column name to value."""
        return {column_of(key): value for key, value in self.keys.items()}

    @property
    def name(self) -> str:
        """The study's name: ``width=16 data_fraction=0.25``."""
        return " ".join(f"{column}={_text(value)}" for column, value in self.axes.items()) or "all"

    @property
    def folder(self) -> PurePosixPath:
        """Where the cell's runs go, relative to the study's folder."""
        return PurePosixPath(*self.name.split(" "))

    @property
    def values(self) -> dict[str, Any]:
        """Every config key of a run and the cell's own value of it."""
        return config.flatten(asdict(self.run))

    @property
    def settings(self) -> dict[str, Any]:
        """What the cell's runs share and the defaults lack: its part of the study's identity."""
        return identity.settings(self.values, self.defaults, self.space)

    @property
    def defaults(self) -> dict[str, Any]:
        """Every config key of a run at its default."""
        return config.flatten(asdict(config.defaults_like(self.run)))

    @property
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
        For an interval on an axis: a grid needs a list of values.
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
        else:
            axes[override.get_key_element()] = tuple(dict.fromkeys(override.sweep_string_iterator()))
    return Partition(tuple(fixed), axes, space)


def cells(
    parts: Partition,
    compose: Callable[[list[str]], DictConfig],
    cost: Callable[[RunConfig], float],
    max_values_per_axis: int | None = None,
    listed: Sequence[Mapping[str, str]] = ({},),
) -> list[Cell]:
    """Every cell of the grid, checked and composed.

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
        When a config breaks a rule, or a key is both axis and tuned.
    """
    axes = {key: thinned(values, max_values_per_axis) for key, values in parts.axes.items()}
    found: dict[str, Cell] = {}
    for one, values in itertools.product(listed, itertools.product(*axes.values())):
        chosen = {**one, **dict(zip(axes, values, strict=True))}
        overrides = (*parts.fixed, *(f"{key}={value}" for key, value in chosen.items()))
        cell = _cell(compose(list(overrides)), [key.lstrip("+") for key in chosen], overrides, parts.space, cost)
        found.setdefault(cell.name, cell)  # 1 and 1.0 are one cell
    return list(found.values())


def _cell(
    cfg: DictConfig,
    keys: list[str],
    overrides: tuple[str, ...],
    space_overrides: Mapping[str, str | None],
    cost: Callable[[RunConfig], float],
) -> Cell:
    run = config.build(RunConfig, cfg)
    values = config.flatten(asdict(run))
    specs = config.flatten(cfg.get("search_space") or {}) | dict(space_overrides)
    unknown = [key for key, spec in specs.items() if spec is not None and key not in values]
    if unknown:
        raise InputError(
            f"A tuned key must be one of a run's own, but `{unknown[0]}` is not: see `--cfg job` for them."
        )
    space = search_space.distributions(specs, values)
    both = [key for key in keys if key in space]
    if both:
        raise InputError(
            f"A key is an axis or is tuned, but `{both[0]}` is both in this cell: set `search_space.{both[0]}=null` "
            "to make it an axis."
        )
    _check_columns(keys, space)
    # Canonical order, whatever the order on the command line, so that a resume finds its studies.
    order = {name: place for place, name in enumerate(cfg)}
    keys = sorted(keys, key=lambda key: (order.get(key.split(".")[0], len(order)), key))
    limits = search_space.declared_limits(specs)
    return Cell({key: _value(cfg, key) for key in keys}, overrides, run, space, cost(run), limits)


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


def _value(cfg: DictConfig, key: str) -> Any:
    """The typed value of a swept key; a config group's is the name of the chosen option."""
    node = OmegaConf.select(cfg, key)
    return cfg.hydra.runtime.choices[key] if isinstance(node, DictConfig) else node


def _text(value: Any) -> str:
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def thinned(values: tuple[str, ...], most: int | None) -> tuple[str, ...]:
    """At most so many of the values of an axis, evenly spread with both ends; all of them for None."""
    if most is None or len(values) <= most:
        return values
    if most == 1:
        return values[:1]
    return tuple(values[round(i * (len(values) - 1) / (most - 1))] for i in range(most))

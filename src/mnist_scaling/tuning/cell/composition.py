"""The cells of a grid and their configurations: composed by Hydra once per choice of config groups, not once per cell.

Hydra takes about 100 ms per composition, because it reads and merges every file again. Cells that differ in plain
values of a run's own keys share all files, so these values can be set afterwards: Hydra sets them last too, with the
same conversion to the types of the schema. Whatever is not that simple is composed by Hydra, cell by cell.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution

from mnist_scaling import config
from mnist_scaling.errors import InputError
from mnist_scaling.study import identity, layout
from mnist_scaling.study.columns import column_of
from mnist_scaling.tuning.cell import partitioning, search_space
from mnist_scaling.tuning.cell.partitioning import Partition
from mnist_scaling.tuning.task import Task, Values

Compose = Callable[[list[str]], DictConfig]
"""Overrides to a composed config, with Hydra's own node."""


@dataclass(frozen=True)
class Cell:
    """One point of the grid: all runs in it differ in nuisance hyperparameters and seeds only."""

    keys: dict[str, Any]
    """Swept config keys and their values, in canonical order."""
    overrides: tuple[str, ...]
    """Hydra overrides that compose the cell's config."""
    values: dict[str, Any]
    """Every config key of a run and the cell's own value of it, also of the tuned keys."""
    space: dict[str, BaseDistribution]
    """What is tuned, by config key."""
    task: Task
    """What is trained."""
    limits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Ends of ranges that are declared limits, by config key."""
    following: tuple[str, ...] = ()
    """Config keys whose values follow other ones, such as a tuned one."""
    effort: Mapping[str, Any] = field(default_factory=dict)
    """Its own n_trials and n_repeats, where a list of cells gives them."""

    def bound(self, changes: Values) -> Cell:
        """The cell, bound to facts of its files, such as checksums: its jobs refuse others."""
        if not changes:
            return self
        given = (f"{key}={config.literal(value)}" for key, value in changes.items())
        values = self.task.checked({**self.values, **changes})
        return replace(self, values=values, overrides=(*self.overrides, *given))

    @property
    def seed(self) -> int:
        """The seed of its trials."""
        return int(self.values[self.task.seed])

    @cached_property
    def cost(self) -> float:
        """Relative cost of one run; InputError when it can't be trained. Late, because it imports torch."""
        return self.task.cost(self.values)

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
    def settings(self) -> dict[str, Any]:
        """What the cell's runs share and the defaults lack: its part of the study's identity."""
        return identity.settings(self.values, self.defaults, (*self.space, *self.task.no_effect))

    @cached_property
    def defaults(self) -> Values:
        """Every config key of a run at its default."""
        return self.task.defaults(self.values)

    @cached_property
    def ranges(self) -> dict[str, str]:
        """What is tuned, by config key, as text."""
        return search_space.describe(self.space, self.limits)


def cells(
    parts: Partition,
    compose: Compose,
    task: Task,
    max_values_per_axis: int | None = None,
    listed: Sequence[Mapping[str, str]] = ({},),
) -> list[Cell]:
    """Every cell of the grid, composed and checked: `listed` settings (`read_cell_list`) crossed with the axes.

    It raises InputError when a config breaks a rule, a key is both axis and tuned, a value of an axis has no place in a
    table, or two cells have no names of their own.
    """
    axes = {key: partitioning.thinned(values, max_values_per_axis) for key, values in parts.axes.items()}
    composer = _Composer(compose, parts, task)
    by_name: dict[str, Cell] = {}
    for one, values in itertools.product(listed, itertools.product(*axes.values())):
        own = {key.rpartition(".")[2]: int(one[key]) for key in partitioning.EFFORT if key in one}
        chosen = {key: text for key, text in one.items() if key not in partitioning.EFFORT}
        cell = replace(composer({**chosen, **dict(zip(axes, values, strict=True))}), effort=own)
        partitioning.check_axes(cell.keys, cell.space)
        # A name that is too long for a folder is refused here. Some file systems don't tell upper from lower case.
        same = by_name.setdefault(cell.name.casefold(), cell)
        if same.keys != cell.keys:  # 1 and 1.0 are one cell
            raise InputError(
                "Two cells must differ by more than upper and lower case, or the type of a value, but "
                f"{same.keys} and {cell.keys} do not: choose values whose text differs."
            )
    return list(by_name.values())


class _Composer:
    """Composes the cells of one sweep, from their values by override key, with its + or ++."""

    def __init__(self, compose: Compose, parts: Partition, task: Task) -> None:
        self._compose, self._parts, self._task = compose, parts, task
        self._simple: frozenset[str] | None = None
        """Axes whose values can be set afterwards."""
        self._bases: dict[tuple[tuple[str, str], ...], tuple[Cell, DictConfig]] = {}
        """Composed cells, from which others follow, and the parts of the config that they are made of."""

    def __call__(self, chosen: Mapping[str, str]) -> Cell:
        base = self._bases.get(self._rest(chosen))
        cell = None if base is None else self._shifted(*base, chosen)
        if cell is not None:
            return cell
        cell, node, simple = self._whole(chosen)
        if self._simple is None:  # known only now: the first composition tells groups from values
            self._simple = simple
        if simple == self._simple:
            self._bases.setdefault(self._rest(chosen), (cell, node))
        return cell

    def _rest(self, chosen: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The values that Hydra must compose."""
        return tuple(item for item in chosen.items() if self._simple is None or item[0] not in self._simple)

    def _overrides(self, chosen: Mapping[str, str]) -> tuple[str, ...]:
        return (*self._parts.fixed, *(f"{key}={text}" for key, text in chosen.items()))

    def _whole(self, chosen: Mapping[str, str]) -> tuple[Cell, DictConfig, frozenset[str]]:
        """A cell as Hydra composes it, its parts of the config, and its axes whose values can be set afterwards."""
        cfg = self._compose([*self._overrides(chosen)])
        values = self._task.values(cfg)
        specs = config.flatten(cfg.get("search_space") or {}) | dict(self._parts.space)
        unknown = [key for key, spec in specs.items() if spec is not None and key not in values]
        if unknown:
            raise InputError(
                f"A tuned key must be one of a run's own, but `{unknown[0]}` is not: see `--cfg job` for them."
            )
        space, limits = search_space.distributions(specs, values), search_space.declared_limits(specs)
        _check_ranges(self._task, values, space)
        node = OmegaConf.masked_copy(cfg, [*self._task.nodes(cfg), *(k for k in ["search_space"] if k in cfg)])
        order = {name: place for place, name in enumerate(cfg)}
        # Canonical order, whatever the order on the command line, so that a resume finds its studies.
        axes = sorted(
            (key.lstrip("+") for key in chosen), key=lambda key: (order.get(key.split(".")[0], len(order)), key)
        )
        choices = cfg.hydra.runtime.choices
        following = _following(node)
        simple = () if following else (k for k in chosen if k in values and k not in choices)
        keys = {key: choices[key] if key in choices else _of(cfg, key) for key in axes}
        cell = Cell(keys, self._overrides(chosen), values, space, self._task, limits, following)
        return cell, node, frozenset(simple) - {*self._task.structural}

    def _shifted(self, like: Cell, node: DictConfig, chosen: Mapping[str, str]) -> Cell | None:
        """A cell from another one with the same config groups; None where Hydra must compose it."""
        node, simple = copy.deepcopy(node), self._simple or ()
        try:
            for key in simple:
                value = OverridesParser.create().parse_override(f"{key}={chosen[key]}").value()
                if not isinstance(value, bool | int | float | str | None) or "${" in str(value):
                    return None
                OmegaConf.update(node, key, value, merge=True)
            values = self._task.values(node)
        except (InputError, OmegaConfBaseException):
            return None
        keys = like.keys | {key: _of(node, key) for key in simple}
        return replace(like, keys=keys, overrides=self._overrides(chosen), values=values)


def _check_ranges(task: Task, values: Values, space: Mapping[str, BaseDistribution]) -> None:
    """Refuse a range that holds a value which no run may have: its trials would fail one by one."""
    for key, distribution in space.items():
        for value in search_space.extremes(distribution):
            try:
                task.checked({**values, key: value})
            except (InputError, TypeError) as error:
                said = str(error) if isinstance(error, InputError) else "it is of another type"
                raise InputError(
                    f"Every value of a range must be one that a run may have, but `search_space.{key}` holds {value}: "
                    f"{said}"
                ) from None


def _of(cfg: DictConfig, key: str) -> Any:
    """The value of a key; a member of an enumeration by its name."""
    value = OmegaConf.select(cfg, key)
    return value.name if isinstance(value, Enum) else value


def _following(node: DictConfig) -> tuple[str, ...]:
    """Dotted keys whose values are interpolations."""
    written = config.flatten(OmegaConf.to_container(node, resolve=False))
    return tuple(key for key, value in written.items() if "${" in str(value))

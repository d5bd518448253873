"""The configs of a grid's cells: composed by Hydra once per choice of config groups, not once per cell.

Hydra takes about 100 ms per composition, because it reads and merges every file again. Cells that differ in plain
values of a run's own keys share all files, so these values can be set afterwards: Hydra sets them last too, with the
same conversion to the types of the schema. Whatever is not that simple is composed by Hydra, cell by cell.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution

from mnist_scaling import config
from mnist_scaling.config import RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.tuning.grid import search_space

Compose = Callable[[list[str]], DictConfig]
"""Overrides to a composed config, with Hydra's own node."""

_NODES = (*(f.name for f in fields(RunConfig)), "search_space")
"""Parts of a config that a cell is made of."""


@dataclass(frozen=True)
class Composed:
    """What a grid needs of one cell's config."""

    run: RunConfig
    space: dict[str, BaseDistribution]
    """What is tuned, by config key."""
    limits: dict[str, tuple[str, ...]]
    """Ends of ranges that are declared limits, by config key."""
    keys: dict[str, Any]
    """Config keys of the axes and their values, in the order of the config: a group's is the name of its option."""
    node: DictConfig
    """The config's `_NODES`."""
    simple: frozenset[str]
    """Axes whose values can be set afterwards."""
    following: tuple[str, ...]
    """Config keys whose values follow other ones."""


class Composer:
    """Composes the cells of one sweep.

    Parameters
    ----------
    compose : callable
        Hydra's own composition.
    fixed : tuple of str
        The overrides that all cells share; they come first.
    space : mapping
        Config key to Hydra sweep: what the sweep changes about the config's search space (`grid.Partition.space`).
    """

    def __init__(self, compose: Compose, fixed: tuple[str, ...], space: Mapping[str, str | None]) -> None:
        self._compose, self._fixed, self._space = compose, fixed, space
        self._simple: frozenset[str] | None = None
        self._bases: dict[tuple[tuple[str, str], ...], Composed] = {}
        self._values: dict[tuple[int, str, str], tuple[Any, Any]] = {}

    def __call__(self, chosen: Mapping[str, str]) -> Composed:
        """The config of the cell with these values.

        Parameters
        ----------
        chosen : mapping
            Override key of an axis, with its + or ++, to the text of a value; the same keys in every call.

        Raises
        ------
        InputError
            When the config breaks a rule, or its search space can't be read.
        """
        rest = tuple(item for item in chosen.items() if self._simple is None or item[0] not in self._simple)
        base = self._bases.get(rest)
        found = None if base is None else self._shifted(base, chosen)
        if found is not None:
            return found
        found = self._whole(chosen)
        if self._simple is None:  # known only now: the first composition tells groups from values
            self._simple = found.simple
            rest = tuple(item for item in rest if item[0] not in found.simple)
        if found.simple == self._simple:
            self._bases.setdefault(rest, found)
        return found

    def _whole(self, chosen: Mapping[str, str]) -> Composed:
        """A cell's config as Hydra composes it."""
        cfg = self._compose([*self._fixed, *(f"{key}={text}" for key, text in chosen.items())])
        run = config.build(RunConfig, cfg)
        values = config.flatten(asdict(run))
        specs = config.flatten(cfg.get("search_space") or {}) | dict(self._space)
        unknown = [key for key, spec in specs.items() if spec is not None and key not in values]
        if unknown:
            raise InputError(
                f"A tuned key must be one of a run's own, but `{unknown[0]}` is not: see `--cfg job` for them."
            )
        space, limits = search_space.distributions(specs, values), search_space.declared_limits(specs)
        node = OmegaConf.masked_copy(cfg, [name for name in _NODES if name in cfg])
        order = {name: place for place, name in enumerate(cfg)}
        # Canonical order, whatever the order on the command line, so that a resume finds its studies.
        keys = sorted(
            (key.lstrip("+") for key in chosen), key=lambda key: (order.get(key.split(".")[0], len(order)), key)
        )
        choices = cfg.hydra.runtime.choices
        following = _following(node)
        simple = () if following else (k for k in chosen if k in values and k not in choices)
        found = {key: choices[key] if key in choices else OmegaConf.select(cfg, key) for key in keys}
        return Composed(run, space, limits, found, node, frozenset(simple) - {"model.name"}, following)

    def _shifted(self, base: Composed, chosen: Mapping[str, str]) -> Composed | None:
        """A cell's config from that of another one with the same config groups; None where Hydra must compose it."""
        keys, values = dict(base.keys), {}
        try:
            for key in base.simple:
                keys[key], values[key] = self._value(base, key, chosen[key])
            return replace(base, run=config.with_values(base.run, values), keys=keys)
        except (InputError, OmegaConfBaseException, _NotPlain):
            return None

    def _value(self, base: Composed, key: str, text: str) -> tuple[Any, Any]:
        """The value of a key in a config and in the run that is built of it, each converted as its schema says."""
        known = (id(base.node), key, text)
        if known not in self._values:
            value = OverridesParser.create().parse_override(f"{key}={text}").value()
            if not isinstance(value, bool | int | float | str | None) or "${" in str(value):
                raise _NotPlain
            node = copy.deepcopy(base.node)
            OmegaConf.update(node, key, value, merge=True)
            run = config.build(RunConfig, node)
            self._values[known] = OmegaConf.select(node, key), operator.attrgetter(key)(run)
        return self._values[known]


class _NotPlain(Exception):  # noqa: N818, it never leaves this file
    """A value is a list, a mapping or an interpolation."""


def _following(node: DictConfig) -> tuple[str, ...]:
    """Dotted keys whose values are interpolations."""
    written = config.flatten(OmegaConf.to_container(node, resolve=False))
    return tuple(key for key, value in written.items() if "${" in str(value))

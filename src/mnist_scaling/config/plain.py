"""A run as plain values by dotted keys, as jobs and records have it: from nested nodes, and back to a `RunConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig

from mnist_scaling.config.family import model_config
from mnist_scaling.config.run import RunConfig

T = TypeVar("T")

_hints = lru_cache(get_type_hints)


def flatten(values: Any, prefix: str = "", empty: bool = False) -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys: {"a": {"b": 1}} gives {"a.b": 1}; an `empty` one if wanted."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict | DictConfig) and (value or not empty):
            flat.update(flatten(value, f"{name}.", empty))
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value  # as JSON gives it back
    return flat


def unflatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """The way back of `flatten`: {"a.b": 1} gives {"a": {"b": 1}}."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        node = nested
        for name in path:
            node = node.setdefault(name, {})
        node[last] = value
    return nested


def literal(value: object) -> str:
    """A value as Hydra's override grammar reads it back."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    return repr(value)


def with_values(run: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """A run with other values of some dotted keys: {"optim.lr": 0.1, "seed": 2}."""
    return from_values({**flatten(asdict(run)), **values})


def from_values(values: Mapping[str, Any]) -> RunConfig:
    """The run of `flatten`'s keys and values, a hundred times as fast as `build`; InputError when they break a rule."""
    nodes = unflatten(values)
    return _made(RunConfig, nodes | {"model": _made(model_config(nodes["model"]["name"]), nodes["model"])})


def _made(cls: type[T], node: Mapping[str, Any]) -> T:
    """A dataclass from plain values, each converted to its field's type as OmegaConf does."""
    hints: Mapping[str, Any] = _hints(cls)  # type: ignore[arg-type]
    values = {}
    for key, value in node.items():
        hint = hints.get(key)
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        if isinstance(value, Mapping) and is_dataclass(hint):
            value = _made(hint, value)  # type: ignore[arg-type]
        elif isinstance(value, list):
            value = tuple(value)
        elif type(value) is int and float in kinds and int not in kinds:
            value = float(value)
        elif value is not None and str in kinds:
            value = str(value)
        values[key] = value
    return cls(**values)

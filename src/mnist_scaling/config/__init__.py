"""The schema of conf/train.yaml: what one training run is, as frozen dataclasses with their defaults and rules.

Each default stands here once and conf/ holds what differs from it; a key that no class declares is refused.
`build` is the border: above it lives Hydra's DictConfig, below it nothing but what is declared here. `register` makes a
class the schema that a command composes onto.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from mnist_scaling.config.family import MODEL_CONFIGS, ModelConfig, model_config, model_names
from mnist_scaling.config.plain import flatten, from_values, literal, unflatten, with_values
from mnist_scaling.config.run import (
    ARRAYS,
    AUGMENT,
    CurveConfig,
    DataConfig,
    OptimConfig,
    RegimeConfig,
    ReportsConfig,
    RunConfig,
    TrainConfig,
    TrialConfig,
)  # fmt: skip
from mnist_scaling.errors import InputError, nearest, one_of, require

__all__ = [
    "ARRAYS", "AUGMENT", "JSON", "MODEL_CONFIGS", "PRINTED", "SCHEMAS", "TEXT", "CurveConfig", "DataConfig",
    "ModelConfig", "OptimConfig", "RegimeConfig", "ReportsConfig", "RunConfig", "TrainConfig", "TrialConfig", "build",
    "flatten", "from_values", "literal", "model_config", "model_names", "one_of", "register", "require", "typed",
    "unflatten", "with_values",
]  # fmt: skip

T = TypeVar("T")

PRINTED = TEXT, JSON = "text", "json"
"""What a command can print: for people, or for scripts."""

SCHEMAS: dict[str, type] = {}
"""The dataclass of each command's keys, once its module is imported."""


def register(name: str, cls: type, open_keys: Sequence[str] = ()) -> None:
    """Make a dataclass, with its defaults, the schema that conf/<name>.yaml composes onto, as ``schema/<name>``.

    `open_keys` are fields that hold a mapping whose keys the schema doesn't know, such as the axes of a study.
    """
    SCHEMAS[name] = cls
    node = _schema(cls)
    for key in open_keys:
        OmegaConf.set_struct(node[key], False)
    ConfigStore.instance().store(group="schema", name=name, node=node, package="_global_")


def build(cls: type[T], cfg: DictConfig) -> T:
    """A frozen dataclass from a command's composed configuration, interpolations resolved.

    A run leaves out the keys of its sweep, and its model node is of its family's own class. It raises InputError when a
    value breaks a rule of `cls`, or a key was added that it lacks. It raises omegaconf.errors.ValidationError when a
    value has the wrong type.
    """
    _check_added(cfg, TrainConfig if cls is RunConfig else cls)
    schema = _schema(cls)
    # Node by node: Hydra's own part of a sweep's config has values that only a job can resolve.
    values = {f.name: _plain(cfg[f.name]) for f in fields(cls) if f.name in cfg}  # type: ignore[arg-type]
    if cls is RunConfig and "name" in values.get("model", {}):
        schema.model = _schema(model_config(values["model"]["name"]))
    return OmegaConf.to_object(OmegaConf.merge(schema, values))  # type: ignore[return-value]


def typed(cls: type[T], values: Mapping[str, Any], owner: str) -> T:
    """A frozen dataclass from a user's own file, whose values are nested as its fields are and whose ``${`` are text.

    InputError tells of a key of `owner` that is unknown or lacks its value, and of a value of another type.
    """
    literal = json.loads(json.dumps(values).replace("${", r"\\${"))
    try:
        return OmegaConf.to_object(OmegaConf.merge(_schema(cls), literal))  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key, where = str(error.key), f"`{error.full_key}`"
        if isinstance(error, ConfigKeyError) and error.object_type is not None:
            fix = nearest(key, (f.name for f in fields(error.object_type)))  # type: ignore[arg-type]
            raise InputError(f"Every key must be known, but {owner} has {where}: {fix}") from None
        if isinstance(error, MissingMandatoryValue):
            raise InputError(f"Every key without a default must be given, but {owner} lacks {where}: add it.") from None
        said = str(error).strip().splitlines()[0]
        raise InputError(f"A key must have a value of its type, but {owner} has {where} ({said}): mend it.") from None


def _check_added(cfg: DictConfig, cls: type) -> None:
    """Refuse a key that a ``+`` on the command line added and that nothing reads, not even an interpolation."""
    known = {"hydra", *(f.name for f in fields(cls))}
    for key in (str(key) for key in cfg if key not in known):
        if f"${{{key}" not in OmegaConf.to_yaml(cfg, resolve=False):
            fix = nearest(key, known, "`--cfg job` prints every key there is.")
            raise InputError(f"Every key must exist in the configuration, but got `{key}`: {fix}")


def _plain(node: Any) -> Any:
    """A node without interpolations, which can't be followed once it has left its tree."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _schema(cls: type) -> DictConfig:
    schema: DictConfig = OmegaConf.structured(cls)
    _make_writable(schema)
    return schema


def _make_writable(node: DictConfig) -> None:
    """OmegaConf reads ``frozen=True`` as a read-only node; only the finished object is to be frozen."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _make_writable(child)


register("train", TrainConfig)

"""The border between Hydra and the rest: schemas to compose onto, objects built of what it composed, and --help."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, fields, is_dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from mnist_scaling.config.family import model_config
from mnist_scaling.config.run import RunConfig, TrainConfig
from mnist_scaling.errors import InputError, nearest

T = TypeVar("T")


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

    It raises InputError when a key is unknown or lacks its value, or a value is of another type; `owner` is what has
    them.
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


def with_values(run: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """A run with other values of some dotted keys: {"optim.lr": 0.1, "seed": 2}."""
    return from_values({**flatten(asdict(run)), **values})


def from_values(values: Mapping[str, Any]) -> RunConfig:
    """The run that `flatten` made these dotted keys and values of: the way back, a hundred times as fast as `build`.

    It raises InputError when they break a rule.
    """
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


@lru_cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def defaults_like(run: RunConfig) -> RunConfig:
    """A run at all defaults, with nodes of the same classes: what a run's settings are told apart from."""
    fresh: dict[str, Any] = {}
    for f in fields(run):
        if is_dataclass(node := getattr(run, f.name)):
            kind: Any = type(node)  # a family's own class
            fresh[f.name] = kind()
    return replace(RunConfig(), **fresh | {"model": replace(fresh["model"], name=run.model.name)})


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


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys: {"a": {"b": 1}} gives {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict | DictConfig):
            flat.update(flatten(value, f"{name}."))
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


_WIDTH = 100

_INTERNAL = ("trial", "init_sha256", "data.sha256")
"""Keys that only a sweep sets."""


def help_page(schema: type, file: Path) -> str:
    """The help of a command, from the dataclass of its keys and the first comment of conf/<command>.yaml."""
    lines = file.read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("#").removeprefix(" ") for line in lines[: lines.index("")]]
    parts = [*head, "", "Keys, each as key=default:", ""]
    for key, value, meaning in described_keys(schema):
        parts += [f"  {key}={_typed_text(value)}", *textwrap.wrap(meaning, _WIDTH, initial_indent=" " * 6, **_INDENT)]
    return "\n".join(parts)


_INDENT: dict[str, Any] = {"subsequent_indent": " " * 6, "break_on_hyphens": False}


def described_keys(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every dotted key of a schema, its default, and what the text below its field says."""
    texts = _texts(schema)
    for one in fields(schema):
        key, value = f"{prefix}{one.name}", _default(one)
        if key in _INTERNAL:
            continue
        # A sweep's `model` is a mapping, because every family has keys of its own; those of all stand in its base.
        bases = [_default(f) for base in schema.__mro__[1:-1] for f in fields(base) if f.name == one.name]
        value = next((older for older in bases if is_dataclass(older)), value)
        if is_dataclass(value):
            yield from described_keys(type(value), f"{key}.")
        else:
            yield key, value, " ".join(texts.get(one.name, "").split())


def _default(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return None if one.default is MISSING else one.default


def _texts(schema: type) -> dict[str, str]:
    """Field to the string below it, which Python itself does not keep; a subclass's goes before its base's."""
    found = {}
    for base in reversed([base for base in schema.__mro__ if is_dataclass(base)]):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(node, ast.ClassDef)
        for one, below in pairwise(node.body):
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(one, ast.AnnAssign) and is_text:
                found[ast.unparse(one.target)] = str(ast.literal_eval(ast.unparse(below)))
    return found


def _typed_text(value: Any) -> str:
    """A default as one types it."""
    if value is None:
        return "null"
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_typed_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)

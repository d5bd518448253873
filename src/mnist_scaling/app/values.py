"""An application's configuration as plain values, and back: what a job takes along, and what a run is called with."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_scaling.config import flatten, unflatten
from mnist_scaling.tuning.task import Values

_LATE = re.compile(r"\$\{(hydra|now):")
"""Interpolations that only a run can resolve: in values they are kept as they are written."""

_EMPTY = object()


def values_of(node: DictConfig, enums: dict[str, Enum] | None = None) -> dict[str, Any]:
    """Every dotted key of a configuration and its value, as JSON has it; what only a run can resolve stays as written.

    Parameters
    ----------
    node : DictConfig
        Without Hydra's own.
    enums : dict, optional
        Is given the members of enums, by key, whose values are their names.
    """
    values = {}
    for key, text in flatten(_filled(_plain(node, resolve=False))).items():
        try:
            if text is _EMPTY or (isinstance(text, str) and _LATE.search(text)):
                values[key] = {} if text is _EMPTY else text
                continue
            value = OmegaConf.select(node, key)
            values[key] = _resolved(value, text)
            if isinstance(value, Enum) and enums is not None:
                enums[key] = value
        except OmegaConfBaseException:  # it follows something that only a run can resolve
            if not isinstance(text, str):
                raise
            values[key] = text
    return values


def _filled(nested: Any) -> Any:
    """Mappings with a mark in place of each that is empty, which would be lost with dotted keys."""
    return {key: (_filled(value) or _EMPTY) if isinstance(value, dict) else value for key, value in nested.items()}


def _plain(node: Any, resolve: bool) -> Any:
    return OmegaConf.to_container(node, resolve=resolve, enum_to_str=True) if OmegaConf.is_config(node) else node


def _resolved(value: Any, text: Any) -> Any:
    """A value as JSON has it; `text` is how it was written."""
    value = _plain(value, resolve=True)
    if value is None and text == "???":
        return text
    if isinstance(value, Enum):
        return value.name
    return _as_json(value) if isinstance(value, bool | int | float | str | list | dict | None) else str(value)


def _as_json(value: Any) -> Any:
    """A value without numbers that JSON lacks: infinity and NaN are written so that OmegaConf reads them again."""
    if isinstance(value, dict):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    return f"${{oc.decode:'{value}'}}" if isinstance(value, float) and not isfinite(value) else value


def config_of(values: Values) -> DictConfig:
    """The configuration of an application from its values."""
    cfg = OmegaConf.create(unflatten(values))
    OmegaConf.set_struct(cfg, True)
    return cfg


@contextlib.contextmanager
def in_hydra(hydra: DictConfig | None, cfg: DictConfig, folder: Path) -> Iterator[DictConfig]:
    """Let an application find in `HydraConfig`, and in `${hydra:…}`, what Hydra says of a run: above all its folder."""
    if hydra is None:
        yield cfg
        return
    setup_globals()  # Hydra's resolvers, which a process that Hydra did not start lacks
    whole = copy.deepcopy(cfg)
    OmegaConf.set_struct(whole, False)
    whole.hydra = copy.deepcopy(hydra.hydra)
    OmegaConf.set_readonly(whole.hydra, False)
    whole.hydra.runtime.output_dir = str(folder.absolute())
    HydraConfig.instance().set_config(whole)
    with contextlib.chdir(folder) if whole.hydra.job.chdir else contextlib.nullcontext():
        yield cfg

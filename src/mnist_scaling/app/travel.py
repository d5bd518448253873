"""How an application comes to a worker: its function by the place where it lies, its configuration as plain values."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_scaling.config import flatten, unflatten
from mnist_scaling.tuning.task import Values

_MAIN = "__main__"
_IMPORTED = "__cell_task_main__"
"""Name under which a worker imports a script that is not its own main program."""


@dataclass(frozen=True)
class Place:
    """A function's module and its name in there."""

    module: str
    file: str
    root: str
    """The folder from which the module, and what lies beside it, is imported."""
    name: str


def place_of(function: Callable[..., Any], task: object) -> Place | None:
    """The place at which a task is found again by its function; None where it lies in no file, or not at the top."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return None
    spec, path = getattr(module, "__spec__", None), Path(file).absolute()
    name = spec.name if function.__module__ == _MAIN and spec is not None else function.__module__
    root = path.parent if name in (_MAIN, _IMPORTED) else path.parents[name.count(".") + (path.name == "__init__.py")]
    place = Place(_MAIN if name == _IMPORTED else name, str(path), str(root), function.__qualname__)
    return place if _task_in(module, place.name) is task else None


def name_of(function: Callable[..., Any]) -> str:
    """A program's name for the identity of a study: ``my_train:main``, whichever way it is started."""
    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    return f"{Path(file).stem if file else function.__module__}:{function.__qualname__}"


def task_at(place: Place) -> object:
    """The task at a place, imported if need be."""
    return _task_in(_module(place), place.name)


def _task_in(module: ModuleType, name: str) -> object:
    """What hangs on a function; decorators, such as Hydra's, hand it on."""
    function: Any = module
    for part in name.split("."):
        function = getattr(function, part, None)
    return getattr(function, "task", None)


def _module(place: Place) -> ModuleType:
    for name in (_MAIN, "__mp_main__", _IMPORTED):
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is not None and file is not None and Path(file).absolute() == Path(place.file):
            return module
    if place.root not in sys.path:
        sys.path.insert(0, place.root)
    if place.module != _MAIN:
        return importlib.import_module(place.module)
    spec = importlib.util.spec_from_file_location(_IMPORTED, place.file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_IMPORTED] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[_IMPORTED]
        raise
    return module


_LATE = re.compile(r"\$\{(hydra|now):|^\?\?\?$")
"""What only a run can resolve, and what nobody has given: in values both are kept as they are written."""


def values_of(node: DictConfig, enums: dict[str, Enum] | None = None) -> dict[str, Any]:
    """Every dotted key of a configuration and its value, as JSON has it; what only a run can resolve stays as written.

    The value of an enum is its member's name; `enums` is given the member, by key.
    """
    values = {}
    for key, text in flatten(_plain(node, resolve=False), empty=True).items():
        values[key] = text
        if isinstance(text, str) and _LATE.search(text):
            continue
        try:
            value = OmegaConf.select(node, key)
            values[key] = _as_json(value)
        except OmegaConfBaseException:  # it follows something that only a run can resolve
            if not isinstance(text, str):
                raise
        else:
            if isinstance(value, Enum) and enums is not None:
                enums[key] = value
    return values


def _plain(node: Any, resolve: bool) -> Any:
    return OmegaConf.to_container(node, resolve=resolve, enum_to_str=True) if OmegaConf.is_config(node) else node


def _as_json(value: Any) -> Any:
    """A value as JSON has it; infinity and NaN, which it lacks, are written so that OmegaConf reads them again."""
    match _plain(value, resolve=True):
        case dict(nested):
            return {key: _as_json(each) for key, each in nested.items()}
        case list(several):
            return [_as_json(each) for each in several]
        case Enum(name=name):
            return name
        case float(number) if not isfinite(number):
            return f"${{oc.decode:'{number}'}}"
        case bool() | int() | float() | str() | None as plain:
            return plain
        case other:
            return str(other)


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

"""Where a function of someone's application lies, so that a worker imports it and nothing of it is pickled."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

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
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return getattr(found, "task", None)


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

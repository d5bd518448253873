"""The laws, found by looking into this folder: every module's ``LAWS`` is part of `ALL`."""

from __future__ import annotations

import importlib
import pkgutil

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.laws.base import Law, Parameter

__all__ = ["ALL", "Law", "Parameter", "get_law"]


def _discover() -> dict[str, Law]:
    laws: dict[str, Law] = {}
    for module in pkgutil.iter_modules(__path__):
        for law in getattr(importlib.import_module(f"{__name__}.{module.name}"), "LAWS", ()):
            if law.name in laws:
                raise RuntimeError(f"Two laws are called {law.name!r}; the second is in {module.name}.py.")
            laws[law.name] = law
    # Those whose names begin alike stay in the order of their file.
    return dict(sorted(laws.items(), key=lambda item: item[0].partition("_")[0]))


ALL: dict[str, Law] = _discover()
"""Every law by name."""


def get_law(name: str) -> Law:
    """The law of this name.

    Raises
    ------
    InputError
        When there is none.
    """
    if name not in ALL:
        raise InputError(f"`laws` must name laws among {', '.join(ALL)}, but got {name!r}.")
    return ALL[name]

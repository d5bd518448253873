"""Kinds of measures, one a file, found by folder: `kind: difference` in a question is difference.py's `KIND`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from mnist_scaling.asking.measures.base import Found, MeasureKind
from mnist_scaling.asking.study_arms import StudyArm
from mnist_scaling.config import typed
from mnist_scaling.errors import InputError, nearest


@cache
def kinds() -> dict[str, MeasureKind]:
    """Every kind by its name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "KIND", None)
        if kind is not None:
            found[module.name] = kind
    return found


def keys_of(spec: Mapping[str, Any]) -> tuple[MeasureKind, Any]:
    """The kind that a question's measure names, and its keys, checked.

    Raises
    ------
    InputError
        When the kind or a key is unknown, with the nearest one, or a value is of another type.
    """
    name = str(spec.get("kind", ""))
    if name not in kinds():
        fix = nearest(name, kinds(), "choose one of them.")
        raise InputError(f"`kind` of a measure must be one of {', '.join(kinds())}, but got {name!r}: {fix}")
    kind = kinds()[name]
    return kind, typed(kind.keys, {k: v for k, v in spec.items() if k != "kind"}, f"a measure of kind {name}")


def measure(spec: Mapping[str, Any], arms: Mapping[str, StudyArm]) -> Found:
    """What one measure of a question finds in the question's arms."""
    kind, keys = keys_of(spec)
    return kind.measure(keys, arms)

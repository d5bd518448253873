"""Kinds of measures, one a file, found by folder: `kind: difference` in a question is difference.py's `KIND`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_scaling.asking.measures.base import Found, MeasureKind
from mnist_scaling.asking.study_arms import StudyArm
from mnist_scaling.errors import InputError


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
        close = difflib.get_close_matches(name, kinds(), n=1, cutoff=0.5)
        fix = f"did you mean `{close[0]}`?" if close else "choose one of them."
        raise InputError(f"`kind` of a measure must be one of {', '.join(kinds())}, but got {name!r}: {fix}")
    kind = kinds()[name]
    given = {key: value for key, value in spec.items() if key != "kind"}
    known = [one.name for one in fields(kind.keys)]
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            fix = f"did you mean `{close[0]}`?" if close else f"choose one of {', '.join(known)}."
            raise InputError(f"Every key of a measure must be known, but kind {name} has no `{key}`: {fix}")
    schema = OmegaConf.structured(kind.keys)
    OmegaConf.set_readonly(schema, False)
    try:
        return kind, OmegaConf.to_object(OmegaConf.merge(schema, given))
    except OmegaConfBaseException as error:
        raise InputError(
            f"A key of a measure must have a value of its type, but kind {name} got {given} "
            f"({str(error).splitlines()[0]}): mend it."
        ) from None


def measure(spec: Mapping[str, Any], arms: Mapping[str, StudyArm]) -> Found:
    """What one measure of a question finds in the question's arms."""
    kind, keys = keys_of(spec)
    return kind.measure(keys, arms)

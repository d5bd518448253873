"""Dataclasses as JSON objects and back: one description of a file serves whoever writes it and whoever reads it.

NaN and infinities are null, for strict JSON has neither; null is NaN where a number belongs. A field marked `OMITTED`
is left out where it holds its default; the keys of a mapping marked `INLINE` stand beside the other fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from mnist_scaling.fitting.uncertainty.interval import INLINE, OMITTED


def plain(value: Any) -> Any:
    """Dataclasses and mappings as dicts, sequences and arrays as lists, numpy as Python, NaN and infinities as None."""
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not is_dataclass(value):
        return value
    out: dict[str, Any] = {}
    for field in fields(value):
        own = getattr(value, field.name)
        if field.metadata == INLINE:
            out |= plain(own)
        elif field.metadata != OMITTED or own != _default(field):
            out[field.name] = plain(own)
    return out


def read(kind: Any, value: Any) -> Any:
    """What `plain` made, as an object of `kind` again; keys that are absent take their defaults.

    A kind is a dataclass, or what a field of one may be: numbers and text, X | None, sequences, mappings, Any.
    TypeError where an object or a list is something else, or a key without a default is absent.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is float:
        return math.nan if value is None else float(value)
    if origin in (Union, UnionType):
        return None if value is None else read(next(k for k in inner if k is not NoneType), value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {k: read(inner[1], v) for k, v in _checked(value, dict).items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        parts = [read(inner[0], v) for v in _checked(value, list)]
        return tuple(parts) if origin is tuple else parts
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return value
    given, hints = dict(_checked(value, dict)), _hints(kind)
    own = {f.name: read(hints[f.name], given.pop(f.name)) for f in fields(kind) if f.name in given}
    inline = {f.name: read(hints[f.name], given) for f in fields(kind) if f.metadata == INLINE}
    return kind(**own, **inline)


_hints = cache(get_type_hints)


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected {'an object' if kind is dict else 'a list'}, but got {value!r}")
    return value


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()

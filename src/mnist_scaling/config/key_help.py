"""What ``--help`` prints: a command's examples, and every key with its default and its meaning, from the schema."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

_WIDTH = 100

_INTERNAL = ("trial", "init_sha256", "data.sha256")
"""Keys that only a sweep sets."""


def page(schema: type, file: Path) -> str:
    """The help of a command, from the dataclass of its keys and the first comment of conf/<command>.yaml."""
    lines = file.read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("#").removeprefix(" ") for line in lines[: lines.index("")]]
    parts = [*head, "", "Keys, each as key=default:", ""]
    for key, value, meaning in described(schema):
        parts += [f"  {key}={_text(value)}", *textwrap.wrap(meaning, _WIDTH, initial_indent=" " * 6, **_INDENT)]
    return "\n".join(parts)


_INDENT: dict[str, Any] = {"subsequent_indent": " " * 6, "break_on_hyphens": False}


def described(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
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
            yield from described(type(value), f"{key}.")
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


def _text(value: Any) -> str:
    """A default as one types it."""
    if value is None:
        return "null"
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)

"""A rule that a value breaks, as the sentence that the user reads."""

from __future__ import annotations

from mnist_scaling.errors import InputError


def require(rule: bool, sentence: str) -> None:
    """Raise `InputError` with `sentence` unless `rule` holds."""
    if not rule:
        raise InputError(sentence)


def holds(rule: bool, text: str, value: object, fix: str) -> None:
    """Raise `InputError` unless `rule` holds, which `text` states."""
    shown = f"{value:g}" if isinstance(value, float) else value
    require(rule, f"`{text}` must hold, but got {shown}: {fix}")


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise `InputError` unless `value` is one of `allowed`."""
    require(value in allowed, f"`{key}` must be one of {', '.join(allowed)}, but got {value!r}.")

"""The exception that means "the input is at fault, not the program", and the sentences of the rules that raise it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

PLAIN_NUMBER = "write a plain number such as 1234.5, without thousands separators, decimal comma, % or unit"
"""The fix where a field should hold a number and does not."""


class InputError(ValueError):
    """A rule that the user's input breaks.

    The message is one sentence that states the rule, the value that breaks it and the fix. Commands
    print it without a traceback and exit with status 1 (``cli.run``); libraries just raise it.
    """


def line_of(row: int) -> int:
    """Line of a row in a spreadsheet, which counts from 1 and begins with the header."""
    return int(row) + 2


def printable(text: str) -> str:
    """Text of a file or a user without characters that a terminal obeys, such as the escape that begins a colour."""
    return "".join(c if c.isprintable() or c in "\n \N{NO-BREAK SPACE}" else ascii(c)[1:-1] for c in text)


def nearest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Which known word is meant by one that is not known, as the end of a sentence; `otherwise` where none is near."""
    known = list(known)
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else otherwise or f"choose one of {', '.join(known)}."


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

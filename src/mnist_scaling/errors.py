"""The exception that means "the input is at fault, not the program", and the fix that it names for a misspelt word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """A rule that the user's input breaks.

    The message is one sentence that states the rule, the value that breaks it and the fix. Commands
    print it without a traceback and exit with status 1 (``cli.run``); libraries just raise it.
    """


def nearest(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Which known word is meant by one that is not known, as the end of a sentence; `otherwise` where none is near."""
    known = list(known)
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else otherwise or f"choose one of {', '.join(known)}."

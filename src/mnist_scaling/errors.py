"""The one exception that means "the input is at fault, not the program"."""

from __future__ import annotations


class InputError(ValueError):
    """A rule that the user's input breaks.

    The message is one sentence that states the rule, the value that breaks it and the fix. Commands
    print it without a traceback and exit with status 1 (``cli.run``); libraries just raise it.
    """

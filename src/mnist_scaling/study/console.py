"""Where and how commands print: nothing is cut where there is no terminal, and times are read at a glance."""

from __future__ import annotations

import sys

from rich.console import Console

UNLIMITED = 100_000
"""Columns of what is no terminal: a pipe, a file, the log of a CI."""


def make_console(highlight: bool = True) -> Console:
    """A console as wide as the terminal, or as any line where stdout is none; if wanted without colours of numbers."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()  # None where it was closed
    return Console(highlight=highlight, width=None if is_terminal else UNLIMITED)


def clock(seconds: float) -> str:
    """Seconds as m:ss, or as h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

"""What one check has found, as a card: its status, cells, cause, remedy, and the runs that it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_scaling.planning.studied import Studied
from mnist_scaling.study import flags

PASS, INFO, WARNING, FAIL, NOT_APPLICABLE = "PASS", "INFO", "WARNING", "FAIL", "N/A"
"""Statuses of a card."""

RANGE, LONGER, OFF_LADDER = "range", "longer", "off_ladder"
"""What a card asks for beside more trials and repeats (`growth.TRIALS`, `REPEATS`) of its cells: a wider range of what
is at its edge, a higher cap on the length of runs, or cells off the ladder on which N and D move together."""


@dataclass(frozen=True)
class Card:
    """What one check has found."""

    status: str
    cause: str
    """What was seen, with its likely cause, as sentences; or why the check does not apply."""
    cells: tuple[int, ...] = ()
    """Rows of the table, by their number in the file."""
    remedy: str = ""
    asks: tuple[str, ...] = ()
    """What `resolve` is to do about it; empty where no further run of this study resolves it."""
    code: str = ""
    """Name of the check, or of the flag."""


def of_flag(studied: Studied, code: str, absent: str, asks: tuple[str, ...] = ()) -> Card:
    """The card of a flag that `fit` raises, which passes, saying what is `absent`, where it is not raised."""
    raised = [flag for flag in studied.result.flags if flag.code == code]
    if not raised:
        return Card(PASS, absent)
    cells = tuple(int(cell["row"]) for flag in raised for cell in flag.cells if "row" in cell)
    status = {flags.INFO: INFO, flags.WARNING: WARNING, flags.ERROR: FAIL}[raised[0].severity]
    return Card(status, " ".join(flag.message for flag in raised), cells, raised[0].remedy, asks)

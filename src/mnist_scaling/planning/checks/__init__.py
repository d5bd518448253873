"""Irregularities of a study or table, one file each: what was seen, what is likely behind it, and what resolves it."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module

from mnist_scaling.fitting.fitted import Fitted
from mnist_scaling.fitting.slices import is_joint
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study import flags

PASS, INFO, WARNING, FAIL, NOT_APPLICABLE = "PASS", "INFO", "WARNING", "FAIL", "N/A"
"""Statuses of a card, in the order of the second line from worth knowing to don't use the numbers."""

OF_SEVERITY = {flags.INFO: INFO, flags.WARNING: WARNING, flags.ERROR: FAIL}

TRIALS, REPEATS, RANGE, LONGER, OFF_LADDER = "trials", "repeats", "range", "longer", "off_ladder"
"""What a card asks for in its cells: more trials, more repeats, a wider range of what is at its edge, a higher cap on
the length of runs, or cells off the ladder on which N and D move together."""


@dataclass(frozen=True)
class Card:
    """What one check has found."""

    code: str
    """Name of the check: the flag's code where it is one."""
    status: str
    cause: str
    """What was seen, with its likely cause, as sentences; or why the check does not apply."""
    cells: tuple[int, ...] = ()
    """Rows of the table, by their number in the file."""
    remedy: str = ""
    asks: tuple[str, ...] = ()
    """What `resolve` is to do about it; empty where no further run of this study resolves it."""


def cards(studied: Studied) -> list[Card]:
    """The card of every check, the gravest first; a file in this folder is a check by its ``check(studied)``."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [import_module(f"{__name__}.{name}").check(studied) for name in names]
    order = (FAIL, WARNING, INFO, PASS, NOT_APPLICABLE)
    return sorted(found, key=lambda card: order.index(card.status))


def joint_law(studied: Studied) -> Fitted | None:
    """The law that describes the table, where it is one of N and D."""
    found = studied.result.fitted.get(studied.result.selected or "")
    return found if found is not None and is_joint(found.law) else None


def of_flag(studied: Studied, code: str, absent: str, asks: tuple[str, ...] = ()) -> Card:
    """The card of a flag that `fit` raises, which passes, saying what is `absent`, where it is not raised."""
    raised = [flag for flag in studied.result.flags if flag.code == code]
    if not raised:
        return Card(code, PASS, absent)
    cells = tuple(int(cell["row"]) for flag in raised for cell in flag.cells if "row" in cell)
    said = " ".join(flag.message for flag in raised)
    return Card(code, OF_SEVERITY[raised[0].severity], said, cells, raised[0].remedy, asks if studied.is_study else ())

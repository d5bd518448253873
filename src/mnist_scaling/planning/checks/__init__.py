"""Irregularities of a study or table: what was seen, what is likely behind it, and what resolves it.

Each file of this folder is a check, by its ``check(studied)``; `FLAGGED` are those that `fit` has made already.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module

from mnist_scaling.fitting.fitted import Fitted
from mnist_scaling.fitting.slices import is_joint
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study import flags

PASS, INFO, WARNING, FAIL, NOT_APPLICABLE = "PASS", "INFO", "WARNING", "FAIL", "N/A"
"""Statuses of a card."""

TRIALS, REPEATS, RANGE, LONGER, OFF_LADDER = "trials", "repeats", "range", "longer", "off_ladder"
"""What a card asks for in its cells: more trials, more repeats, a wider range of what is at its edge, a higher cap on
the length of runs, or cells off the ladder on which N and D move together."""


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
    """Name of the check: its file's, or the flag's."""


@dataclass(frozen=True)
class Flagged:
    """A check that is a flag of `fit`."""

    absent: str
    """What is true where the flag is not raised."""
    asks: tuple[str, ...]
    unless: str = ""
    """Why the check does not apply to a table that it does not `suit`."""
    suits: Callable[[Studied], bool] = lambda _: True


FLAGGED = {
    flags.CHANCE_LEVEL: Flagged(
        "No loss is near that of guessing.", (TRIALS,),
        "The number of classes is not known, so no loss is known for chance.",
        lambda of: bool(of.result.options.classes),
    ),
    flags.COLLINEAR: Flagged(
        "N and D move apart from each other.", (OFF_LADDER,),
        "The table has not both of N and D.",
        lambda of: of.table.has(("N", "D")),
    ),
    flags.NON_MONOTONE: Flagged(
        "No loss rises with N at one D, or with D at one N, by more than noise.", (TRIALS, REPEATS),
        "Without repeats, and without a law of N and D, no noise is known.",
        lambda of: of.table.se is not None or any(len(f.law.inputs) > 1 for f in of.result.fitted.values()),
    ),
    flags.GRID_EDGE: Flagged("At few budgets is the best model the smallest or the largest one tried.", ()),
    flags.TOO_FEW_CELLS: Flagged("Every law that was asked for has rows enough.", ()),
    flags.SEED_OUTLIER: Flagged(
        "No cell's repeats scatter more than the others', and none lies far off the best law.", (REPEATS, TRIALS),
    ),
}  # fmt: skip


def cards(studied: Studied) -> list[Card]:
    """The card of every check, the gravest first."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found = {name: import_module(f"{__name__}.{name}").check(studied) for name in names}
    for code, kind in FLAGGED.items():
        suits = kind.suits(studied)
        found[code] = of_flag(studied, code, kind.absent, kind.asks) if suits else Card(NOT_APPLICABLE, kind.unless)
    # Of a table from elsewhere nobody can run more.
    named = [replace(found[k], code=k, asks=found[k].asks if studied.is_study else ()) for k in sorted(found)]
    return sorted(named, key=lambda card: (FAIL, WARNING, INFO, PASS, NOT_APPLICABLE).index(card.status))


def of_flag(studied: Studied, code: str, absent: str, asks: tuple[str, ...] = ()) -> Card:
    """The card of a flag that `fit` raises, which passes, saying what is `absent`, where it is not raised."""
    raised = [flag for flag in studied.result.flags if flag.code == code]
    if not raised:
        return Card(PASS, absent)
    cells = tuple(int(cell["row"]) for flag in raised for cell in flag.cells if "row" in cell)
    status = {flags.INFO: INFO, flags.WARNING: WARNING, flags.ERROR: FAIL}[raised[0].severity]
    return Card(status, " ".join(flag.message for flag in raised), cells, raised[0].remedy, asks)


def joint_law(studied: Studied) -> Fitted | None:
    """The law that describes the table, where it is one of N and D."""
    found = studied.result.fitted.get(studied.result.selected or "")
    return found if found is not None and is_joint(found.law) else None

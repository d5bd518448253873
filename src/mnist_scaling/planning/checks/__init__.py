"""Irregularities of a study or table: every check, by the name of its function, and the flags of `fit` as checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mnist_scaling.planning.checks import law_checks, run_checks
from mnist_scaling.planning.checks.card import FAIL, INFO, NOT_APPLICABLE, OFF_LADDER, PASS, WARNING, Card, of_flag
from mnist_scaling.planning.growth import REPEATS, TRIALS
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study import flags

CHECKS: tuple[Callable[[Studied], Card], ...] = (
    run_checks.uncertified, run_checks.search_edge, run_checks.still_falling, run_checks.lowest_training_loss,
    run_checks.training_gap, law_checks.leverage, law_checks.small_models_bend, law_checks.tied_laws,
)  # fmt: skip


@dataclass(frozen=True)
class Flagged:
    """A check that is a flag of `fit`."""

    absent: str
    """What is true where the flag is not raised."""
    asks: tuple[str, ...] = ()
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
    flags.GRID_EDGE: Flagged("At few budgets is the best model the smallest or the largest one tried."),
    flags.TOO_FEW_CELLS: Flagged("Every law that was asked for has rows enough."),
    flags.SEED_OUTLIER: Flagged(
        "No cell's repeats scatter more than the others', and none lies far off the best law.", (REPEATS, TRIALS),
    ),
    flags.FLOOR_NOT_IDENTIFIED: Flagged("No floor is quoted that the data do not show."),
}  # fmt: skip


def cards(studied: Studied) -> list[Card]:
    """The card of every check, the gravest first."""
    found = {check.__name__: check(studied) for check in CHECKS}
    for code, kind in FLAGGED.items():
        suits = kind.suits(studied)
        found[code] = of_flag(studied, code, kind.absent, kind.asks) if suits else Card(NOT_APPLICABLE, kind.unless)
    # Of a table from elsewhere nobody can run more.
    named = [replace(found[k], code=k, asks=found[k].asks if studied.is_study else ()) for k in sorted(found)]
    return sorted(named, key=lambda card: (FAIL, WARNING, INFO, PASS, NOT_APPLICABLE).index(card.status))

"""Which runs of a cell count: the trial that is selected, and the present repeats of a setting.

Tuner and tables ask here, so that no table shows another selection than the one that was repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import pandas as pd

from mnist_scaling.study.columns import BRANCH, COMPLETE, REPEAT, RUN_SEED, SEED, TRIAL
from mnist_scaling.study.flags import UNDERTRAINED
from mnist_scaling.study.records import branch_rows

Key = tuple[str, ...]


def key_of(row: Mapping[str, Any], columns: Iterable[str]) -> Key:
    """Values as text, by which rows of any two tables are matched; two empty fields are equal."""
    return tuple(
        "" if pd.isna(v) else f"{v:.12g}" if isinstance(v, Real) and not isinstance(v, bool) else str(v)
        for v in (row[column] for column in columns)
    )


def seed_of(columns: Iterable[str]) -> str:
    """Column of the seed that a run was trained with."""
    return RUN_SEED if RUN_SEED in columns else SEED


class Finished(NamedTuple):
    """A trial that came to its end, as the selection sees it."""

    number: int
    loss: float
    setting: Key
    flags: str | None
    spent: float | None
    """FLOPs that the run took."""

    def gives_way(self, others: Sequence[Finished]) -> bool:
        """Whether a cap cut this trial short, and a later one of its setting went further."""
        later = (o for o in others if o.number > self.number and o.setting == self.setting)
        return is_undertrained(self.flags) and any((o.spent or 0) > (self.spent or 0) for o in later)


def is_undertrained(flags: Any) -> bool:
    """Whether a run had not converged at its cap; an empty field has no flags."""
    return isinstance(flags, str) and UNDERTRAINED in flags.split(";")


def selected(trials: Sequence[Finished]) -> int | None:
    """Number of the trial with the lowest validation loss, the earliest of equals; None if there is none.

    One that a cap cut short gives way to a later one of its setting, which a higher cap has taken on.
    """
    standing = [trial for trial in trials if not trial.gives_way(trials)]
    return min(standing, key=lambda trial: (trial.loss, trial.number)).number if standing else None


def best_trial(rows: Iterable[Mapping[str, Any]], tuned: Sequence[str] = ()) -> Mapping[str, Any] | None:
    """The row of the COMPLETE trial that is `selected`."""
    complete = {row["number"]: row for row in rows if row["stage"] == TRIAL and row["state"] == COMPLETE}
    known = [
        (n, float(r["val_loss"]), key_of(r, tuned), r.get("flags"), r.get("flops_spent")) for n, r in complete.items()
    ]
    number = selected([Finished(*facts) for facts in known])
    return None if number is None else complete[number]


def selected_trials(rows: Iterable[Mapping[str, Any]], tuned: Sequence[str] = ()) -> dict[int, float | None]:
    """Trials of one cell whose settings are to be repeated: the number, and the largest branch that selected it.

    Without branches it has one entry, whose value is None. With branches each branch selects its own best trial, and a
    repeat need not go beyond the largest branch that selected its setting.
    """
    expanded = [one for row in rows for one in branch_rows(row)]
    last: dict[int, float | None] = {}
    for share in sorted({one[BRANCH] for one in expanded if BRANCH in one}) or [None]:
        mine = [one for one in expanded if one.get(BRANCH) == share]
        best = best_trial(mine, tuned)
        if best is not None:
            last[int(best["number"])] = share
    return last


def current_repeats(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> dict[Key, list[Mapping[str, Any]]]:
    """Rows of repeats by the `key_of` some columns: of each seed the last.

    A repeat that a cap cut short is made again under a higher one, with its seed and a later number.
    """
    by_setting: dict[Key, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        if row["stage"] == REPEAT:
            mine, seed = by_setting.setdefault(key_of(row, columns), {}), row[seed_of(row)]
            mine.pop(seed, None)
            mine[seed] = row
    return {key: list(mine.values()) for key, mine in by_setting.items()}

"""Which runs of a cell count: the trial that is selected, and the present repeats of a setting.

Tuner and tables ask here, so that no table shows another selection than the one that was repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

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


def is_undertrained(flags: Any) -> bool:
    """Whether a run had not converged at its cap; an empty field has no flags."""
    return isinstance(flags, str) and UNDERTRAINED in flags.split(";")


def selected(trials: Sequence[Mapping[str, Any]], tuned: Collection[str]) -> Mapping[str, Any] | None:
    """Of trials that came to their end the one with the lowest validation loss, the earliest of equals; None of none.

    One that a cap cut short gives way to a later one of its setting, which a higher cap has taken further.
    """

    def gives_way(row: Mapping[str, Any]) -> bool:
        later = [other for other in trials if other["number"] > row["number"]]
        again = [other for other in later if key_of(other, tuned) == key_of(row, tuned)]
        return any((other.get("flops_spent") or 0) > (row.get("flops_spent") or 0) for other in again)

    standing = [row for row in trials if not (is_undertrained(row.get("flags")) and gives_way(row))]
    return min(standing, key=lambda row: (float(row["val_loss"]), row["number"]), default=None)


def best_trial(rows: Iterable[Mapping[str, Any]], tuned: Collection[str] = ()) -> Mapping[str, Any] | None:
    """The row of the COMPLETE trial that is `selected`."""
    return selected([row for row in rows if row["stage"] == TRIAL and row["state"] == COMPLETE], tuned)


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

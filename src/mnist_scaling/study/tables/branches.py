"""The rows of a run that decays at several data sizes: it is a trial at each of these sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mnist_scaling.study.columns import BRANCH, PER_MODEL, RESULT_COLUMNS
from mnist_scaling.study.records import WANTED
from mnist_scaling.study.tables import trials_and_cells
from mnist_scaling.study.vocabulary import COMPLETE


def expand(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per branch that the run was to have; the row itself when it was to have none.

    A finished branch counts, whatever happened to the run afterwards. An unfinished branch has the run's state and
    empty losses, and the first unfinished one is charged what the run spent on it. Wall time is shared out in
    proportion to FLOPs.

    Parameters
    ----------
    row : mapping
        `records.row` of a run.
    """
    if not row.get(WANTED):
        return [dict(row)]
    finished = {branch[BRANCH]: branch for branch in row.get("branches") or ()}
    total = row.get("flops_spent") or 0
    rest = total - sum(branch["flops_spent"] for branch in finished.values())
    empty = {key: value for key, value in row.items() if key not in RESULT_COLUMNS or key in PER_MODEL}
    rows = []
    for share in row[WANTED]:
        if share in finished:
            rows.append({**empty, **finished[share], "state": COMPLETE})
        else:
            rows.append({**empty, BRANCH: share, "flops_spent": rest})
            rest = 0
    for one in rows:
        part = one["flops_spent"] / total if total else 1 / len(rows)
        one["seconds"] = None if row["seconds"] is None else row["seconds"] * part
    return rows


def selected(rows: Iterable[Mapping[str, Any]]) -> dict[int, float | None]:
    """Trials of one cell whose settings are to be repeated: the number, and the largest branch that selected it.

    Parameters
    ----------
    rows : iterable of mapping
        `records.row` of the cell's runs.

    Returns
    -------
    dict
        Without branches it has one entry, whose value is None. With branches each branch selects its own best trial,
        and a repeat need not go beyond the largest branch that selected its setting.
    """
    expanded = [one for row in rows for one in expand(row)]
    last: dict[int, float | None] = {}
    for share in sorted({one[BRANCH] for one in expanded if BRANCH in one}) or [None]:
        mine = [one for one in expanded if one.get(BRANCH) == share]
        best = trials_and_cells.best_trial(mine)
        if best is not None:
            last[int(best["number"])] = share
    return last

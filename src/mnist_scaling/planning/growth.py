"""Further runs of a study, in that study: a list of its cells with the trials and repeats that each is to have.

What was run stays. `train` takes the list in place of the study's axes, beside the rest of the study's own command. To
resolve irregularities it is multirun/<name>/resolve.yaml; resolve.json has what was seen before and what became of it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.headline import SLOPES
from mnist_scaling.planning.checks import LONGER, RANGE, REPEATS, TRIALS, Card
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import column_of
from mnist_scaling.study.identity import CAP
from mnist_scaling.study.tables.csv_table import at_axes, read_study_table

N_TRIALS, N_REPEATS = "hydra.sweeper.n_trials", "hydra.sweeper.n_repeats"
"""Keys of a cell in a list, beside those of its axes."""

CELLS, MOST = "hydra.sweeper.cells", "hydra.sweeper.max_values_per_axis"
LEAST_REPEATS, MORE_TRIALS, FURTHER = 4, 4, 4
"""Repeats at least, where more are asked for; trials that are added where runs are to be longer; factor on a cap."""

GONE, CONFIRMED, MOVED, OPEN = "gone", "confirmed", "at the new edge", "not run yet"


@dataclass(frozen=True)
class GrownCell:
    """A cell of a study, or one that is to be: its swept keys, the runs that it has or is to have, its rows of
    cells.csv (one for each branch of its runs) and its cell.json; the last two are empty for a new cell."""

    keys: Mapping[str, Any]
    trials: int
    repeats: int
    rows: tuple[int, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


def grown_from(studied: Studied) -> list[GrownCell]:
    """Every cell of a study of one's own as it is, also those that were not fitted."""
    if not studied.can_grow:
        fix = f"start it with `{studied.made_by}`" if studied.made_by else "run them by hand, and add their rows"
        raise InputError(f"Further runs need a study of your own, but {studied.source.path} is a table alone: {fix}.")
    table, found = read_study_table(studied.source.path), []
    for record in studied.records.values():
        mine = table[at_axes(table, record["axes"])]
        trials, repeats = mine[["n_trials", "n_repeats"]].max().fillna(0).astype(int)
        found.append(GrownCell(record["keys"], int(trials), int(repeats), tuple(mine.index), record))
    return found


def write(studied: Studied, cells: Sequence[GrownCell], path: Path, given: Mapping[str, str] = {}) -> str:
    """Write the list of all `cells` that are to be there, because a cell learns from its neighbours; the command that
    brings them to their runs. `given` are further overrides, such as wider ranges."""
    rows = [{**c.keys, N_TRIALS: max(c.trials, 1), N_REPEATS: c.repeats} for c in cells]
    files.write_atomically(path, yaml.safe_dump(rows, sort_keys=False, default_flow_style=None, width=1000))
    given = {CELLS: str(path), **given}
    dropped = {*given, MOST, *(key for row in rows for key in row)}
    kept = [word for word in shlex.split(studied.made_by) if word.partition("=")[0].lstrip("+~") not in dropped]
    return shlex.join([*kept, *(f"{key}={value}" for key, value in given.items())])


def resolve(studied: Studied, cards: Sequence[Card]) -> str:
    """Write what resolves the cards, keep what was seen before, and say the command; empty where no card asks."""
    cells, asking = grown_from(studied), [card for card in cards if card.asks]
    if not asking:
        return ""
    wanted = [_more(cell, {w for card in asking if {*card.cells} & {*cell.rows} for w in card.asks}) for cell in cells]
    given = _ranges(studied, cells, asking)
    if any(LONGER in card.asks for card in asking):
        settings = [studied.identity.get("settings", {}), *studied.identity.get("groups", {}).values()]
        given |= {CAP: str(FURTHER * max(cap))} if (cap := [one[CAP] for one in settings if one.get(CAP)]) else {}
    command = write(studied, wanted, studied.folder / layout.RESOLVE, given)
    # An irregularity that was seen before keeps its loss from before its first runs, and is judged anew each time.
    last = {"before": _slopes(studied), "seen": [], **(files.read_json(studied.folder / layout.RESOLVED) or {})}
    seen = {(one["code"], one["cell"]): one for one in last["seen"]}
    runs = {row: {"n_trials": cell.trials, "n_repeats": cell.repeats} for cell in wanted for row in cell.rows}
    for code, row in ((card.code, row) for card in asking for row in card.cells):
        now = {"code": code, "cell": studied.name_of(row), "before": studied.cells.loc[row, studied.loss]}
        key = now["code"], now["cell"]
        seen[key] = now | seen.get(key, {}) | runs.get(row, {})
    _keep(studied, {"command": command, "before": last["before"], "seen": [*seen.values()]})
    return command


def _more(cell: GrownCell, asks: set[str]) -> GrownCell:
    """A cell with more trials and repeats, as far as it is asked for."""
    trials, repeats = cell.trials, cell.repeats
    if cell.record.get("space"):
        trials = 2 * trials if TRIALS in asks else trials + MORE_TRIALS if LONGER in asks else trials
    return replace(cell, trials=trials, repeats=max(2 * repeats, LEAST_REPEATS) if REPEATS in asks else repeats)


def _ranges(studied: Studied, cells: Sequence[GrownCell], asking: Sequence[Card]) -> dict[str, str]:
    """Config key to a range that is wider beyond each end where a cell selected its value; choices stay as they are."""
    rows = {row for card in asking if RANGE in card.asks for row in card.cells}
    wider: dict[str, dict[str, Any]] = {}
    for cell, row in ((one, row) for one in cells for row in rows & {*one.rows}):
        edges = str(studied.cells.loc[row, "edges"]).split(";")
        for key, text in cell.record.get("space", {}).items():
            of = studied.range_of(column := column_of(key))
            # Neither a choice nor a grid, and the same in all cells.
            if column in edges and "low" in of and (of.get("step") or 1) == 1:
                own = json.loads(text)["attributes"]
                _widen(wider.setdefault(key, {**of}), own, float(studied.cells.loc[row, column]))
    return {key: _spelled(one) for key, one in wider.items()}


def _widen(known: dict[str, Any], own: Mapping[str, Any], value: float) -> None:
    """Move the end that a cell's value lies at beyond the cell's own range: by a decade, a doubling, or half of it."""
    low, high, log = own["low"], own["high"], own["log"]
    factor, half = 2 if isinstance(low, int) else 10, (high - low) / 2
    if value**2 < low * high if log else value < (low + high) / 2:
        known["low"] = min(known["low"], max(low // 2, 1) if log and factor == 2 else low / 10 if log else low - half)
    else:
        share = (1 + high) / 2 if low >= 0 and high < 1 else np.inf  # what is a share stays one
        known["high"] = max(known["high"], high * factor if log else min(high + half, share))


def _spelled(one: Mapping[str, Any]) -> str:
    """A range in Hydra's syntax."""
    tags = [*(["log"] if one["log"] else []), *(f"limit_{end}" for end in one["limits"])]
    interval = f"interval({one['low']:.12g},{one['high']:.12g})"
    return f"tag({','.join([*tags, interval])})" if tags else interval


def _slopes(studied: Studied) -> dict[str, Any]:
    """The exponents that are quoted."""
    quoted = {key: getattr(studied.result.headline, key) for key in SLOPES}
    return {key: one.record() for key, one in quoted.items() if one.known}


def _keep(studied: Studied, record: Mapping[str, Any]) -> None:
    """Write resolve.json; NaN and infinities, such as the loss of a cell that lost its repeats, become null there."""
    known = json.loads(json.dumps(record, default=float), parse_constant=lambda _: None)
    files.write_json(studied.folder / layout.RESOLVED, known)


def resolve_record(studied: Studied) -> dict[str, Any]:
    """resolve.json of a study; empty where nothing was written."""
    return (files.read_json(studied.folder / layout.RESOLVED) if studied.is_study else None) or {}


def outcomes(studied: Studied, cards: Sequence[Card]) -> list[dict[str, Any]]:
    """Of each irregularity that `resolve` wrote runs for: code, cell, status, and the cell's loss before and after.

    It is gone, or confirmed where it is there still although its runs were made. A value at the edge of a range that
    was widened is neither: it can be widened again. They are kept, with the exponents as they are now, for the page.
    """
    record = resolve_record(studied)
    if not record.get("seen"):
        return []
    names = {row: studied.name_of(row) for row in studied.cells.index}
    there = {(card.code, names[row]): card for card in cards if card.asks for row in card.cells}
    found = []
    for one in record["seen"]:
        rows = studied.cells.loc[[row for row, name in names.items() if name == one["cell"]]]
        done = len(rows) and all((rows[key] >= one[key]).all() for key in ("n_trials", "n_repeats"))
        card = there.get((one["code"], one["cell"]))
        status = OPEN if not done else GONE if card is None else MOVED if RANGE in card.asks else CONFIRMED
        after = float(rows[studied.loss].mean()) if len(rows) else None
        found.append({**{key: one.get(key) for key in ("code", "cell", "before")}, "status": status, "after": after})
    _keep(studied, {**record, "now": _slopes(studied), "outcomes": found})
    return found

"""From irregularities to the runs that resolve them, in the study that has them; and what came of them.

multirun/<name>/resolve.yaml is the list of cells, resolve.json what was seen before, and afterwards what became of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.planning import growth
from mnist_scaling.planning.checks.card import LONGER, OFF_LADDER, RANGE, Card
from mnist_scaling.planning.growth import REPEATS, TRIALS, GrownCell
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study import files
from mnist_scaling.study.columns import column_of
from mnist_scaling.study.identity import CAP
from mnist_scaling.study.layout import RESOLVE, RESOLVED

LEAST_REPEATS, MORE_TRIALS, FURTHER = 4, 4, 4
"""Repeats at least, where more are asked for; trials that are added where runs are to be longer; factor on a cap."""

GONE, CONFIRMED, MOVED, OPEN = "gone", "confirmed", "at the new edge", "not run yet"

WHOLE = "all"
"""Stands for the cell where an irregularity is the whole study's."""


@dataclass(frozen=True)
class Resolved:
    """What became of one irregularity in one cell."""

    code: str
    cell: str
    status: str
    """gone; confirmed, where it is there still, although what was asked for was run; at the new edge; not run yet."""
    before: float | None = None
    after: float | None = None
    """The cell's loss."""


def resolve(studied: Studied, cards: Sequence[Card]) -> str:
    """Write what resolves the cards, keep what was seen before, and say the command; empty where no card asks.

    Raises
    ------
    InputError
        When there is no study whose runs could grow.
    """
    asking = [card for card in cards if card.asks]
    cells = growth.grown_from(studied)
    if not asking:
        return ""
    wanted = [_more(cell, {w for card in asking if {*card.cells} & {*cell.rows} for w in card.asks}) for cell in cells]
    new = _off_ladder(cells) if any(OFF_LADDER in card.asks for card in asking) else []
    given = _ranges(studied, cells, asking) | _cap(studied, asking)
    command = growth.write(studied, [*wanted, *new], studied.folder / RESOLVE, given)
    # An irregularity that was seen before keeps its loss from before its first runs, and is judged anew each time.
    last = {"before": _slopes(studied), "seen": [], **(files.read_json(studied.folder / RESOLVED) or {})}
    seen = {(one["code"], one["cell"]): one for one in last["seen"]}
    runs: dict[int | None, dict[str, int]] = {
        row: {"n_trials": cell.trials, "n_repeats": cell.repeats} for cell in wanted for row in cell.rows
    }
    for card in asking:
        for row in card.cells or (None,):
            key = card.code, WHOLE if row is None else studied.name_of(row)
            now = {} if row is None else {"before": studied.cells.loc[row, studied.loss]}
            seen[key] = dict(zip(("code", "cell"), key, strict=True)) | now | seen.get(key, {}) | runs.get(row, {})
    _keep(studied, {"command": command, "before": last["before"], "seen": [*seen.values()]})
    return command


def _more(cell: GrownCell, asks: Iterable[str]) -> GrownCell:
    """A cell with more trials and repeats, as far as it is asked for."""
    trials, repeats = cell.trials, cell.repeats
    if cell.record.get("space"):
        trials = 2 * trials if TRIALS in asks else trials + MORE_TRIALS if LONGER in asks else trials
    return replace(cell, trials=trials, repeats=max(2 * repeats, LEAST_REPEATS) if REPEATS in asks else repeats)


def _off_ladder(cells: Sequence[GrownCell]) -> list[GrownCell]:
    """Cells beside a ladder: each size with its neighbours' amounts of data; none unless two axes of numbers move."""
    levels = {key: {cell.keys[key] for cell in cells} for key in cells[0].keys}
    moving = [k for k, v in levels.items() if len(v) > 1 and all(isinstance(x, int | float) for x in v)]
    if len(moving) != 2:
        return []
    a, b = moving
    steps = pairwise(sorted((cell.keys for cell in cells), key=lambda keys: keys[a]))
    places = dict.fromkeys(at for p, q in steps for at in ((p[a], q[b]), (q[a], p[b])))
    most = max(cell.trials for cell in cells), max(cell.repeats for cell in cells)
    known = {(cell.keys[a], cell.keys[b]) for cell in cells}
    return [GrownCell({**cells[0].keys, a: x, b: y}, *most) for x, y in places if (x, y) not in known]


def _ranges(studied: Studied, cells: Sequence[GrownCell], asking: Sequence[Card]) -> dict[str, str]:
    """Config key to a range that is wider beyond each end where a cell selected its value; choices stay as they are."""
    rows = {row for card in asking if RANGE in card.asks for row in card.cells}
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        space: Mapping[str, str] = cell.record.get("space", {})
        for row in rows & {*cell.rows}:
            edges = str(studied.cells.loc[row, "edges"]).split(";")
            for key in (key for key in space if column_of(key) in edges):
                of = studied.range_of(column_of(key))
                if "low" in of and (of.get("step") or 1) == 1:  # no choice, no grid, and the same in all cells
                    own = json.loads(space[key])["attributes"]
                    _widen(found.setdefault(key, {**of}), own, float(studied.cells.loc[row, column_of(key)]))
    return {key: _spelled(one) for key, one in found.items()}


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


def _cap(studied: Studied, asking: Sequence[Card]) -> dict[str, str]:
    """A higher cap on the length of runs, where one came too early."""
    settings = [studied.identity.get("settings", {}), *studied.identity.get("groups", {}).values()]
    known = [found[CAP] for found in settings if found.get(CAP) is not None]
    return {CAP: str(FURTHER * max(known))} if known and any(LONGER in card.asks for card in asking) else {}


def _slopes(studied: Studied) -> dict[str, Any]:
    """The exponents that are quoted."""
    quoted = {key: studied.result.headline.get(key) for key in ("slope_N", "slope_D", "slope_C")}
    return {key: one for key, one in quoted.items() if Interval.of(one).known}


def _keep(studied: Studied, record: Mapping[str, Any]) -> None:
    """Write resolve.json; NaN and infinities, such as the loss of a cell that lost its repeats, become null there."""
    known = json.loads(json.dumps(record, default=float), parse_constant=lambda _: None)
    files.write_json(studied.folder / RESOLVED, known)


def outcomes(studied: Studied, cards: Sequence[Card]) -> list[Resolved]:
    """Whether each irregularity that `resolve` wrote runs for is gone or confirmed; empty where it wrote none.

    A value that lies at the edge of a range that was widened is neither: the range can be widened again. They are kept
    beside what was seen before, with the exponents as they are now, for the study's page.
    """
    record = (files.read_json(studied.folder / RESOLVED) if studied.is_study else None) or {}
    if not record.get("seen"):
        return []
    names = {row: studied.name_of(row) for row in studied.cells.index}
    there = {(card.code, names.get(row, WHOLE)): card for card in cards if card.asks for row in card.cells or (None,)}
    found = []
    for one in record["seen"]:
        rows = studied.cells.loc[[row for row, name in names.items() if name == one["cell"]]]
        done = len(rows) and all((rows[key] >= one[key]).all() for key in ("n_trials", "n_repeats"))
        card = there.get((one["code"], one["cell"]))
        status = GONE if card is None else MOVED if RANGE in card.asks else CONFIRMED
        status = status if done or (card is None and one["cell"] == WHOLE) else OPEN
        after = float(rows[studied.loss].mean()) if len(rows) else None
        found.append(Resolved(one["code"], one["cell"], status, one.get("before"), after))
    _keep(studied, {**record, "now": _slopes(studied), "outcomes": [asdict(one) for one in found]})
    return found

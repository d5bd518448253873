"""What `plan` says, as tables and sentences: irregularities, next runs, a new study, predictions, the next budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.planning.checks import NOT_APPLICABLE, PASS, Card
from mnist_scaling.planning.growth import OPEN, resolve_record
from mnist_scaling.planning.new_cell import Expected, NewCell
from mnist_scaling.planning.next_budget import NextBudget
from mnist_scaling.planning.next_runs import NextRuns
from mnist_scaling.planning.predictions import SEAL
from mnist_scaling.planning.studied import Studied
from mnist_scaling.reporting import text as tone
from mnist_scaling.reporting.documents.fits_json import Fits
from mnist_scaling.reporting.documents.json_form import read
from mnist_scaling.reporting.text import (
    Part,
    Sentence,
    TextTable,
    count,
    duration,
    estimate,
    number,
    percent,
    plural,
    power_of_ten,
    short,
    spaced,
    three_digits,
)
from mnist_scaling.reporting.words.in_short import graded, of_all, of_loss, trusted
from mnist_scaling.study import layout
from mnist_scaling.study.columns import label
from mnist_scaling.study.flags import TOO_FEW_CELLS

MOST_NAMED = 3
"""Cells that a card names in the table."""

LOSS = ("predicted_loss", "low", "high")
"""Columns of predictions.csv: a loss and its interval."""

MOST_PLACES = 8
"""Cells whose next runs are shown, those that were chosen first before the others."""


def ground(of: Studied) -> list[Part]:
    """How many cells there are, how noisy they are, and what a run of the largest costs."""
    costs = of.costs
    dearest = costs.loc[costs["flops"].idxmax()] if costs["flops"].notna().any() else None
    each = "" if dearest is None else f" A run of the largest cell takes {power_of_ten(dearest['flops'])} FLOPs"
    seconds = "" if dearest is None or not np.isfinite(dearest["seconds"]) else f" and {dearest['seconds']:.3g} s"
    shown = (f"{number(100 * sd, 2)} %" if np.isfinite(sd) else "an unknown share" for sd in (of.seed_sd, of.cell_sd))
    text = (
        f"{len(of.table)} cells. The loss differs by {next(shown)} between seeds, and a cell's by {next(shown)} from "
        f"the surface through all.{each}{seconds}{'.' if each else ''}"
    )
    return [Sentence(text)]


def card_parts(of: Studied, cards: Sequence[Card]) -> list[Part]:
    """The irregularities: what each check found, and what became of those that runs were to resolve."""
    seen = [card for card in cards if card.status not in (PASS, NOT_APPLICABLE)]
    rows = [[c.code, c.status, _where(of, c), f"{c.cause} {c.remedy}".strip()] for c in seen]
    passed, without = ([c.code for c in cards if c.status == status] for status in (PASS, NOT_APPLICABLE))
    rest = f"{len(passed)} checks passed ({', '.join(passed)})." if passed else ""
    rest += f" {len(without)} do not apply ({', '.join(without)})." if without else ""
    table = TextTable(["check", "status", "cells", "cause"], rows, title="Irregularities", aside=3)
    return [*([table] if rows else []), Sentence(rest.strip()), *resolved_parts(resolve_record(of))]


def resolved_parts(record: Mapping[str, Any]) -> list[Part]:
    """Each irregularity of resolve.json in each cell, its loss before and after, and how far the fit moved; or nothing.

    The same words stand in the terminal and on the study's page.
    """
    if not record.get("outcomes"):
        return []
    outcomes = record["outcomes"]
    losses = [[None if o[k] is None else f"{o[k]:.4f}" for k in ("before", "after")] for o in outcomes]
    rows = [[o["code"], o["cell"], o["status"], *two] for o, two in zip(outcomes, losses, strict=True)]
    table = TextTable(["check", "cell", "became", "loss before", "after"], rows, title="Resolved", right=(3, 4))
    told = ", ".join(f"{n} {status}" for status, n in Counter(o["status"] for o in outcomes).items())
    slopes = {key: [record[when].get(key, {}) for when in ("before", "now")] for key in record["now"]}
    ends = {key: " to ".join(estimate(read(Interval, one)) for one in two) for key, two in slopes.items()}
    moved = "; ".join(f"{spaced(key)} {both}" for key, both in ends.items())
    return [table, Sentence(f"Of {len(outcomes)}: {told}." + (f" The fit moved: {moved}." if moved else ""))]


def _where(of: Studied, card: Card) -> str:
    """The first cells of a card by their axes, or their rows in a table that has none."""
    named = [of.name_of(row) for row in card.cells]
    return ", ".join([*named[:MOST_NAMED], *([f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else [])])


def next_step(of: Studied, cards: Sequence[Card], again: str, offer: NextRuns | None) -> list[Part]:
    """The command that runs what was written and has not been run, else the one that writes what is worth most.

    `again` is the command that was typed.
    """
    record = resolve_record(of)
    if any(one["status"] == OPEN for one in record.get("outcomes", ())):
        return resolve_parts(of, str(record["command"]))
    few = any(card.code == TOO_FEW_CELLS and card.status != PASS for card in cards)
    if few and not offer and (of.can_grow or not of.made_by):
        where = f"values of {' and '.join(of.source.axes)} in `{of.made_by}`" if of.can_grow else f"in {of.source.path}"
        return [Sentence(f"More cells help most, of other sizes and amounts of data: {where}.", lead="Next")]
    if any(card.asks for card in cards):
        return [next_command(f"{again} resolve=true")]
    if of.made_by and not of.can_grow:
        return [
            Sentence("Further runs need the study itself, which comes without its runs: make it anew."),
            next_command(of.made_by),
        ]
    return [next_command(f"{again} flops={offer.budget:.2g}")] if offer else []


def next_command(command: str) -> Sentence:
    """The one command to go on with."""
    return Sentence(f"Next: {command}", apart=True)


def resolve_parts(of: Studied, command: str) -> list[Part]:
    """The command that resolves what was seen; that there is none where it is empty."""
    if not command:
        return [Sentence("No irregularity asks for further runs.")]
    said = "lists the study's cells with the runs that each is to have; what was run stays."
    return [Sentence(f"{of.folder / layout.RESOLVE} {said}"), next_command(command)]


def next_run_parts(of: Studied, chosen: NextRuns, command: str) -> list[Part]:
    """The runs that were chosen, what they cost, and what they take off the variance of the target."""
    known, rows = len(of.table), []
    places = [*dict.fromkeys(move.place for move in chosen.choice.moves)]
    for place in places[:MOST_PLACES]:
        moves = [move for move in chosen.choice.moves if move.place == place]
        new = place >= known
        at = _where_new(chosen, place - known) if new else of.name_of(int(of.table.rows[place]))
        sums = [(sum(getattr(move, f"{word}s") for move in moves), word) for word in ("trial", "repeat")]
        runs = f"{'' if new else '+ '}{', '.join(plural(n, word) for n, word in sums if n)}"
        share, gain = (sum(getattr(move, key) for move in moves) for key in ("cost", "gain"))
        rows.append(["new" if new else "", at, runs, _share(share / chosen.budget), _share(gain)])
    budget = (
        f"{power_of_ten(chosen.budget)} FLOPs"
        if chosen.unit == "flops"
        else f"{duration(chosen.budget)} of all cores together"
    )
    head = ["", "cell", "runs", "of the budget", "of the variance"]
    table = TextTable(head, rows, title=f"Next runs within {budget}, for {chosen.target.meaning}", right=(3, 4))
    rest = len(places) - len(rows)
    more = f"And in {plural(rest, 'more cell')}. " if rest else ""
    return [*([table] if rows else []), Sentence(more + worth(chosen)), *([next_command(command)] if command else [])]


def worth(chosen: NextRuns) -> str:
    """What next runs come to."""
    if not chosen.choice.moves:
        return "No run within the budget says anything of the target: raise the budget, or choose another target."
    return f"Together they should narrow its interval to {100 * chosen.choice.left**0.5:.0f} % of what it is."


def _share(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"


def _where_new(chosen: NextRuns, place: int) -> str:
    cell = chosen.cells[place]
    return " ".join(layout.cell_parts(dict(cell.axes)) if cell.axes else (f"{k}={v:.3g}" for k, v in cell.at.items()))


def prediction(
    of: Studied, fits: Fits, row: Mapping[str, str], path: Path, cell: NewCell, expected: Expected, command: str
) -> list[Part]:
    """A prediction that rests on `fits`, and the command that runs its cell in the study, or registers it, if any."""
    where = ", ".join(f"{label(k)} {v}" for k, v in cell.axes.items())
    sizes = ", ".join(f"{k} = {count(v)}" for k, v in cell.at.items())
    loss, mean = label(of.loss), f", the mean of its {of.repeats:g} repeats" if of.repeats > 1 else ""
    found = {
        f"{loss} of a cell{mean}": _read(row, *LOSS),
        f"{loss} of one run": expected.one_run,
        "error rate": _read(row, "predicted_error", "error_low", "error_high"),
    }
    known, times = {what: one for what, one in found.items() if one.known}, _value(row, "reach")
    trusts = [graded([*of_loss(fits, one, times), *of_all(fits)]) for one in known.values()]
    rows = [
        [k, estimate(one, three_digits), of_it.trust] for (k, one), of_it in zip(known.items(), trusts, strict=True)
    ]
    for key in expected.settings:
        source = "by its law" if key in row["by_law"].split(";") else "as in the nearest cells"
        ends = estimate(_read(row, key, f"{key}_low", f"{key}_high"), three_digits) if f"{key}_low" in row else row[key]
        rows.append([label(key), f"{ends} ({source})", ""])
    seal = row.get(SEAL)
    look = "Not registered: it counts for nothing. The next command registers this prediction."
    kept = f"Registered in {path} at {row['time']}, seal {seal}." if seal else look
    parts: list[Part] = [
        Sentence(f"{where or 'The target'} ({sizes}; {cell.counted}), {row['beyond']}:"),
        TextTable(["what", "predicted", "trust"], rows),
        *([Sentence(cell.unspent)] if cell.unspent else []),
        Sentence(trusted(trusts[0].trust, trusts[0].reasons)),
        Sentence(kept, tone.QUIET),
    ]
    return [*parts, Sentence(command, lead="Next")] if command else parts


def _value(row: Mapping[str, str], key: str) -> float:
    return float(row.get(key) or np.nan)


def _read(row: Mapping[str, str], *keys: str) -> Interval:
    return Interval(*(_value(row, key) for key in keys))


def scores(rows: Sequence[Mapping[str, str]], of: Mapping[str, float]) -> list[Part]:
    """Every registered prediction against what has come, and how they did together."""
    table = [
        [
            *(short(_value(row, k)) if row[k] else None for k in ("n_params", "n_seen")), number(_value(row, "reach")),
            estimate(_read(row, *LOSS), three_digits), three_digits(_value(row, "measured_loss")),
            {"true": "yes", "false": "no"}.get(row.get("inside", ""), row.get("why_not")),
            *(percent(_value(row, k)) if row.get(k) else None for k in ("log_error", "regret")),
        ]
        for row in rows
    ]  # fmt: skip
    head = ["N", "D", "times beyond", "predicted", "measured", "inside", "off by", "regret"]
    parts: list[Part] = [TextTable(head, table)]
    if of["scored"]:
        parts.append(
            Sentence(
                f"{of['inside']} of {of['scored']} inside. In ln loss the error is {of['rms']:.3f} (root mean square; "
                f"mean {of['bias']:+.3f}), the interval's width {of['width']:.3f}, the CRPS {of['crps']:.3f}."
            )
        )
    waiting = of["registered"] - of["scored"]
    return parts + ([Sentence(f"{waiting} of {of['registered']} not scored.", tone.QUIET)] if waiting else [])


def budget(of: NextBudget) -> list[Part]:
    """The best run at each budget, the line through them, and the next one."""
    rows = [[*(f"{v:.6g}" if isinstance(v, float) else v for v in row)] for row in of.winners.to_numpy(object)]
    without = f", the {of.left_out} smallest left out," if of.left_out else ""
    settings = [f"{label(k)} {estimate(v) if v.high > v.low else short(v.value)}" for k, v in of.settings.items()]
    text = (
        f"The line through {len(rows) - of.left_out} budgets{without} falls as C^-{estimate(of.slope)}, and gives "
        f"{of.loss.value:.6f} [{of.loss.low:.4f}, {of.loss.high:.4f}] at {power_of_ten(of.budget)}."
    )
    lines: list[Part] = [TextTable([str(c) for c in of.winners], rows, title="Best run at each budget"), Sentence(text)]
    return [*lines, Sentence(", ".join(settings), lead="Its settings")] if settings else lines

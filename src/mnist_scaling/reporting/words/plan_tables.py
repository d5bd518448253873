"""What `plan` says of a study, as tables and sentences: its irregularities, what became of them, and the next runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.planning.checks.card import NOT_APPLICABLE, PASS, Card
from mnist_scaling.planning.grid_choice import Proposal
from mnist_scaling.planning.next_runs import NextRuns
from mnist_scaling.planning.resolve import OPEN
from mnist_scaling.planning.studied import Studied
from mnist_scaling.reporting.parts import Part, Sentence, TextTable
from mnist_scaling.reporting.text import duration, estimate, number, plural, power_of_ten, spaced
from mnist_scaling.reporting.words.guide import GUIDE, HEAD
from mnist_scaling.study import files, layout

MOST_NAMED = 3
"""Cells that a card names in the table."""

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
        f"{len(of.table)} cells. The loss differs by {next(shown)} between seeds, and by {next(shown)} "
        f"between cells beyond that.{each}{seconds}{'.' if each else ''}"
    )
    return [Sentence(text)]


def card_parts(of: Studied, found: Sequence[Card]) -> list[Part]:
    """The irregularities: what each check found, and what became of those that runs were to resolve."""
    seen = [card for card in found if card.status not in (PASS, NOT_APPLICABLE)]
    rows = [[c.code, c.status, _where(of, c), f"{c.cause} {c.remedy}".strip()] for c in seen]
    passed, without = ([c.code for c in found if c.status == status] for status in (PASS, NOT_APPLICABLE))
    rest = f"{len(passed)} checks passed ({', '.join(passed)})." if passed else ""
    rest += f" {len(without)} do not apply ({', '.join(without)})." if without else ""
    table = TextTable(["check", "status", "cells", "cause"], rows, title="Irregularities", aside=3)
    return [*([table] if rows else []), Sentence(rest.strip()), *resolved_parts(_resolved(of))]


def resolved_parts(record: Mapping[str, Any] | None) -> list[Part]:
    """Each irregularity of resolve.json in each cell, its loss before and after, and how far the fit moved; or nothing.

    The same words stand in the terminal and on the study's page.
    """
    if record is None or not record.get("outcomes"):
        return []
    found = record["outcomes"]
    losses = [[None if o[k] is None else f"{o[k]:.4f}" for k in ("before", "after")] for o in found]
    rows = [[o["code"], o["cell"], o["status"], *two] for o, two in zip(found, losses, strict=True)]
    table = TextTable(["check", "cell", "became", "loss before", "after"], rows, title="Resolved", right=(3, 4))
    told = ", ".join(f"{n} {status}" for status, n in Counter(o["status"] for o in found).items())
    ends = {key: [estimate(Interval.of(record[when].get(key))) for when in ("before", "now")] for key in record["now"]}
    moved = "; ".join(f"{spaced(key)} {before} to {now}" for key, (before, now) in ends.items())
    return [table, Sentence(f"Of {len(found)}: {told}." + (f" The fit moved: {moved}." if moved else ""))]


def _where(of: Studied, card: Card) -> str:
    """The first cells of a card by their axes, or their rows in a table that has none."""
    named = [of.name_of(row) for row in card.cells]
    return ", ".join([*named[:MOST_NAMED], *([f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else [])])


def next_step(of: Studied, found: Sequence[Card], again: str, offer: NextRuns | None) -> list[Part]:
    """The command that runs what was written and has not been run, else the one that writes what is worth most.

    `again` is the command that was typed.
    """
    record = _resolved(of) or {}
    if any(one["status"] == OPEN for one in record.get("outcomes", ())):
        return resolve_parts(of, str(record["command"]))
    if any(card.asks for card in found):
        return [_next(f"{again} resolve=true")]
    return [_next(f"{again} flops={offer.budget:.2g}")] if offer else []


def _resolved(of: Studied) -> dict[str, Any] | None:
    """resolve.json of a study; None where nothing was written."""
    return files.read_json(of.folder / layout.RESOLVED) if of.is_study else None


def _next(command: str) -> Sentence:
    """The one command to go on with."""
    return Sentence(f"Next: {command}", apart=True)


def resolve_parts(of: Studied, command: str) -> list[Part]:
    """The command that resolves what was seen; that there is none where it is empty."""
    if not command:
        return [Sentence("No irregularity asks for further runs.")]
    said = "lists the study's cells with the runs that each is to have; what was run stays."
    return [Sentence(f"{of.folder / layout.RESOLVE} {said}"), _next(command)]


def next_run_parts(of: Studied, found: NextRuns, command: str) -> list[Part]:
    """The runs that were chosen, what they cost, and what they take off the variance of the target."""
    known, rows = len(of.table), []
    places = [*dict.fromkeys(move.place for move in found.choice.moves)]
    for place in places[:MOST_PLACES]:
        moves = [move for move in found.choice.moves if move.place == place]
        new = place >= known
        at = _where_new(found, place - known) if new else of.name_of(int(of.table.rows[place]))
        sums = [(sum(getattr(move, f"{word}s") for move in moves), word) for word in ("trial", "repeat")]
        runs = f"{'' if new else '+ '}{', '.join(plural(n, word) for n, word in sums if n)}"
        share, gain = (sum(getattr(move, key) for move in moves) for key in ("cost", "gain"))
        rows.append(["new" if new else "", at, runs, _share(share / found.budget), _share(gain)])
    budget = (
        f"{power_of_ten(found.budget)} FLOPs"
        if found.unit == "flops"
        else f"{duration(found.budget)} of all cores together"
    )
    head = ["", "cell", "runs", "of the budget", "of the variance"]
    table = TextTable(head, rows, title=f"Next runs within {budget}, for {found.target.meaning}", right=(3, 4))
    rest = len(places) - len(rows)
    more = f"And in {plural(rest, 'more cell')}. " if rest else ""
    return [*([table] if rows else []), Sentence(more + found.message), *([_next(command)] if command else [])]


def _share(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"


def _where_new(found: NextRuns, place: int) -> str:
    cell = found.cells[place]
    return " ".join(layout.cell_parts(dict(cell.axes)) if cell.axes else (f"{k}={v:.3g}" for k, v in cell.at.items()))


def proposal_parts(new: Proposal) -> list[Part]:
    """A study that fits a time: its grid, what it takes, and what it can resolve."""
    offer = new.offer
    wide = " and ".join(f"{name} ±{width / 2:.2f}" for name, width in offer.widths.items())
    by = f"that of {plural(new.calibrated, 'run')} of a small study"
    return [
        Sentence(
            f"There is no such study yet. {offer.cells} cells: {' '.join(new.axes)}, {offer.trials} trials and "
            f"{offer.repeats} repeats of each."
        ),
        Sentence(
            f"It should take {duration(new.seconds)} (the pace is {by}), and leave the exponents to {wide} (95 %)."
        ),
        Sentence(f"Written: {new.path}"),
        guide_table(),
        _next(new.command),
    ]


def guide_table() -> TextTable:
    """What do you want to know, and what answers it."""
    return TextTable(HEAD, GUIDE, title="Which study answers which question", aside=5)

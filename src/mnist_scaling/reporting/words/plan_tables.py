"""What `plan` says, as tables and sentences: what is known of a study before anything more is run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_scaling.planning.checks import NOT_APPLICABLE, PASS, Card
from mnist_scaling.planning.studied import Studied
from mnist_scaling.reporting.parts import Part, Sentence, TextTable
from mnist_scaling.reporting.text import number, power_of_ten
from mnist_scaling.reporting.words.resolved import resolved_parts
from mnist_scaling.study import files, layout


def ground(of: Studied) -> list[Part]:
    """How many cells there are, how noisy they are, and what a run of the largest costs."""
    costs = of.costs
    dearest = costs.loc[costs["flops"].idxmax()] if costs["flops"].notna().any() else None
    each = "" if dearest is None else f" A run of the largest cell takes {power_of_ten(dearest['flops'])} FLOPs"
    seconds = "" if dearest is None or not np.isfinite(dearest["seconds"]) else f" and {dearest['seconds']:.3g} s"
    text = (
        f"{len(of.table)} cells. The loss differs by {_percent(of.seeds)} between seeds, and by {_percent(of.luck)} "
        f"between cells beyond that.{each}{seconds}{'.' if each else ''}"
    )
    return [Sentence(text)]


def card_parts(of: Studied, found: Sequence[Card]) -> list[Part]:
    """The irregularities: what each check found, what became of those that runs were to resolve, and the next step."""
    seen = [card for card in found if card.status not in (PASS, NOT_APPLICABLE)]
    rows = [[c.status, c.code, len(c.cells) or "all", f"{c.cause} {c.remedy}"] for c in seen]
    passed, without = ([c.code for c in found if c.status == status] for status in (PASS, NOT_APPLICABLE))
    rest = f"{len(passed)} checks passed ({', '.join(passed)})." if passed else ""
    rest += f" {len(without)} do not apply ({', '.join(without)})." if without else ""
    parts: list[Part] = [
        TextTable(["status", "check", "cells", "cause"], rows, title="Irregularities", aside=3)
    ] * bool(rows)
    record = files.read_json(of.folder / layout.RESOLVED) if of.is_study else None
    return [*parts, Sentence(rest.strip()), *resolved_parts(record)]


def next_part(of: Studied, found: Sequence[Card], command: str = "") -> list[Part]:
    """The command that runs what resolves the irregularities or, before it is written, the one that writes it."""
    asking = [card for card in found if card.asks]
    if command:
        cells = len({row for card in asking for row in card.cells})
        what = f"{of.folder / layout.RESOLVE} gives {cells or 'new'} cells further runs; what was run stays."
        return [Sentence(what), Sentence(f"Next: {command}", apart=True)]
    if not asking:
        return [Sentence("No irregularity asks for further runs.")]
    named = layout.name_argument(of.folder)
    return [Sentence(f"Next: python -m mnist_scaling.plan {named} resolve=true", apart=True)]


def _percent(sd: float) -> str:
    return f"{number(100 * sd, 2)} %" if np.isfinite(sd) else "an unknown share"

"""What became of irregularities that further runs were to resolve: the same words for the terminal and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.parts import Part, Sentence, TextTable
from mnist_scaling.reporting.text import estimate


def resolved_parts(record: Mapping[str, Any] | None) -> list[Part]:
    """A table of each irregularity in each cell, its loss before and after, and how far the fit moved.

    Parameters
    ----------
    record : mapping or None
        resolve.json of a study; nothing is said of one in which nothing was resolved yet.
    """
    if record is None or not record.get("outcomes"):
        return []
    found = [*record["earlier"], *record["outcomes"]]
    rows = [[o["code"], o["cell"], o["status"], *(_loss(o[key]) for key in ("before", "after"))] for o in found]
    table = TextTable(["check", "cell", "became", "loss before", "after"], rows, title="Resolved", right=(3, 4))
    told = ", ".join(f"{n} {status}" for status, n in Counter(o["status"] for o in found).items())
    moved = [
        f"{key.replace('_', ' ')} {_estimate(record['before'].get(key))} to {_estimate(now)}"
        for key, now in record.get("now", {}).items()
    ]
    return [table, Sentence(f"Of {len(found)}: {told}." + (f" The fit moved: {'; '.join(moved)}." if moved else ""))]


def _loss(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _estimate(record: Mapping[str, float] | None) -> str:
    return "(none)" if record is None else estimate(Interval(record["value"], record["low"], record["high"]))

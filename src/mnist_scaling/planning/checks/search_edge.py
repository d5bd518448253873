"""A selected value at an edge of its range that is no limit: a better one may lie beyond."""

from __future__ import annotations

from collections import Counter

from mnist_scaling.planning.checks import NOT_APPLICABLE, PASS, RANGE, TRIALS, WARNING, Card
from mnist_scaling.planning.studied import Studied
from mnist_scaling.study.flags import SEARCH_EDGE, kind


def check(studied: Studied) -> Card:
    """The column `edges` of the certificate, which leaves limits out."""
    if not studied.source.tuned or "edges" not in studied.cells:
        return Card(NOT_APPLICABLE, "Nothing was tuned here, or nobody knows in which ranges.")
    edges = studied.cells["edges"].dropna().astype(str)
    edges = edges[edges != ""]
    if edges.empty:
        return Card(PASS, "No selected value lies at an edge of its range, or the edge is a limit.")
    keys = Counter(key for text in edges for key in text.split(";"))
    said = ", ".join(f"{key} in {n} cell{'s' * (n != 1)}" for key, n in keys.items())
    cause = f"Selected values lie at the edge of their range: {said}."
    return Card(WARNING, cause, tuple(map(int, edges.index)), kind(SEARCH_EDGE).remedy, (RANGE, TRIALS))

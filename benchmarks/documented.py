"""Tables of docs/ that are made of the code; tests hold the two equal.

python benchmarks/documented.py columns     the end of docs/report.md: one table of columns for each file of a study
python benchmarks/documented.py flags       the end of docs/fitting.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from mnist_scaling.study import columns, flags
from mnist_scaling.study.columns import Column


def of_columns() -> Iterator[str]:
    """Every column that a study's tables have after its swept and its tuned keys."""
    yield "## Columns"
    yield ""
    yield "Every column that a study's tables have after its swept and its tuned keys. This part is printed by"
    yield "`python benchmarks/documented.py columns`; a test holds it to the code. A missing number is an empty field."
    tables = {"trials.csv": columns.TRIAL_TABLE, "cells.csv": columns.CELL_TABLE, "curves.csv": columns.CURVE_TABLE}
    for name, table in tables.items():
        yield from ("", f"### {name}", "", *rows(table))
    yield from (
        "",
        "### Columns of `data.off_distribution`",
        "",
        "`trials.csv` and `cells.csv` have these, after all others, where the study asks for them; `cells.csv` has the",
        "mean over the repeats, and its standard error as `<column>_se`. What is done to the images stands in",
        "[training.md](training.md#off-distribution-scores).",
        "",
        *rows(columns.OFF_DISTRIBUTION_TABLE),
    )


def rows(table: Sequence[Column]) -> Iterator[str]:
    yield from ("| column | meaning | unit |", "|---|---|---|")
    yield from (f"| `{c.name}` | {c.meaning} | {c.unit} |" for c in table)


def of_flags() -> Iterator[str]:
    yield from ("| code | severity | concerns | raised when | remedy |", "|---|---|---|---|---|")
    for kind in flags.KINDS:
        concerns = "all" if kind.concerns == flags.SORTS else ", ".join(kind.concerns) or "none that is quoted"
        yield f"| {kind.code} | {kind.severity} | {concerns} | {kind.seen_when} | {kind.remedy} |"


if __name__ == "__main__":
    print(*{"columns": of_columns, "flags": of_flags}[sys.argv[1]](), sep="\n")

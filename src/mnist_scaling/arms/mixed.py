"""Rows of several kinds that would be pooled: columns of anyone's table that nobody named, code of a study's runs."""

from __future__ import annotations

import re
from itertools import pairwise

import pandas as pd

from mnist_scaling.arms.reading import Source
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.study.flags import INFO, MIXED_CODE, MIXED_COLUMN, WARNING
from mnist_scaling.study.tables.fitted_rows import ArmRows

REPLICATE = re.compile(r"seed|repeat|replica|\brep\b|run|trial|fold|draw|unnamed|^id$", re.IGNORECASE)
"""Columns that number the repeats of one cell."""

SETTING = re.compile(
    r"^(lr|.*learning.?rate|.*batch.?size|.*dropout|.*decay|.*momentum|.*warmup|.*optimi[sz]er.*)$", re.IGNORECASE
)
"""Columns of what is tuned: rows of one cell that differ in them are trials and no repeats, however many values."""

MOST_VALUES = 10
"""A column with more values, or with more than one for every two rows, is a measurement or a name."""


def mixed(source: Source, arm: ArmRows) -> list[Flag]:
    """A flag for each such column; for the code in a study, whose axes are arms."""
    if source.study is not None:
        return [Flag(MIXED_CODE, source.mixed_code)] if source.mixed_code else []
    names = source.rows.names
    rows = arm.frame[arm.frame[names["loss"]].notna()]
    sizes = [header for role in ("N", "D", "U") if (header := names.get(role))] or [str(names["C"])]
    named, flags = {*names.values(), *source.rows.by}, []
    for column in (c for c in rows.columns if c not in named and not REPLICATE.search(c)):
        values = rows[column].dropna().unique()
        few = len(values) <= min(MOST_VALUES, len(rows) // 2)
        if len(values) < 2 or not (few or SETTING.search(column)):
            continue
        pooled = rows.groupby(sizes)[column].nunique().max() > 1
        text = not pd.api.types.is_numeric_dtype(rows[column])
        if not pooled and not (text and all(_overlap(rows, column, size) for size in sizes)):
            continue
        some = ", ".join([*map(str, values[:3]), *["…"] * (len(values) > 3)])
        said = f"Column {column} has {len(values)} values ({some})"
        what = "taken for repeats of one cell" if pooled else "fitted as one law"
        remedy = f"Tell them apart with by={column}, or keep one with where=…."
        if not few:
            remedy = "Give the best run of each cell alone, or keep one value with where=…."
        severity = WARNING if pooled else INFO
        flags.append(Flag(MIXED_COLUMN, f"{said}, and rows of several are {what}.", severity=severity, remedy=remedy))
    return flags


def _overlap(rows: pd.DataFrame, column: str, size: str) -> bool:
    """Whether the sizes of two values overlap: a column that merely names the sizes tells no kinds apart."""
    found = pd.to_numeric(rows[size], errors="coerce").groupby(rows[column]).agg(["min", "max"]).sort_values("min")
    return any(a[1] > b[0] for a, b in pairwise(found.itertuples(index=False, name=None)))

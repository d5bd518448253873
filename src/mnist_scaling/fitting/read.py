"""Columns of anyone's file to a `Table`: what is text, empty, zero or negative is said, never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_scaling.errors import PLAIN_NUMBER, InputError, line_of
from mnist_scaling.fitting.laws.base import Array
from mnist_scaling.fitting.rows import VARIABLES, Table, broken, make_table


def read_columns(
    columns: Mapping[str, Sequence[Any]],
    names: Mapping[str, str | None],
    conventions: Mapping[str, Mapping[str, str]] | None = None,
    source: str = "the table",
    rows: Sequence[int] | None = None,
) -> tuple[Table, list[dict[str, Any]]]:
    """A checked `Table` of named columns, and the rows that were left out because a number is empty.

    Parameters
    ----------
    columns : mapping of str to sequence, each of length n
        The file's columns by header; numbers, or text that reads as numbers.
    names : mapping of str to str or None
        Header of "N", "D", "C", "U", "loss", "se", "repeats", "flags"; None where the file has none.
    conventions : mapping, optional
        Headers of other ways to count, {"N": {"hidden": "n_params_hidden"}}; absent headers are skipped.
    source : str
        What errors call the file.
    rows : sequence of int, optional
        Number of each row in the file, when some were filtered out before.

    Returns
    -------
    table : Table
    left_out : list of dict
        {"row", "why"} of each row without a loss or an input.

    Raises
    ------
    InputError
        When a column is missing or holds text, or a number is not positive.
    """
    known = {role: header for role, header in names.items() if header is not None}
    if "loss" not in known:
        raise InputError(f"The loss of {source} must be named, but columns.loss is empty: give columns.loss=NAME.")
    missing = [header for header in known.values() if header not in columns]
    if missing:
        raise InputError(
            f"{source} must have the column{'s' * (len(missing) > 1)} {', '.join(missing)}, but has only "
            f"{', '.join(map(str, columns))}: mend columns.* or the file's header."
        )
    row_numbers = np.arange(len(columns[known["loss"]])) if rows is None else np.asarray(rows)
    if not len(row_numbers):
        raise InputError(f"{source} must have at least one row, but has none beneath its header: add rows.")
    numbers = {r: _numbers(columns[h], h, source, row_numbers) for r, h in known.items() if r != "flags"}
    needed = {role: numbers[role] for role in ("loss", *VARIABLES) if role in numbers}
    empty = np.any([np.isnan(v) for v in needed.values()], axis=0)
    left_out = [
        {"row": int(row_numbers[i]), "why": "no " + ", ".join(r for r, v in needed.items() if np.isnan(v[i]))}
        for i in np.flatnonzero(empty)
    ]
    if empty.all():
        why = ", ".join(sorted({str(row["why"]) for row in left_out}))
        raise InputError(
            f"{source} must have at least one row with every number, but all {len(empty)} lack one ({why}): "
            "finish the runs, or name other columns."
        )
    se = numbers.get("se")
    if se is not None and len(bad := np.flatnonzero((se < 0) | np.isinf(se))):
        fix = "Give a standard error, or leave the field empty."
        raise InputError(broken(f"0 <= {known['se']} < inf", source, se, bad, row_numbers, fix))
    table = make_table(
        numbers["loss"][~empty],
        {k: numbers[k][~empty] for k in VARIABLES if k in numbers},
        None if se is None or np.isnan(se).all() else se[~empty],
        numbers["repeats"][~empty] if "repeats" in numbers else None,
        _flag_codes(columns[known["flags"]], ~empty) if "flags" in known else (),
        _conventions(columns, conventions or {}, ~empty, source, row_numbers),
        source,
        row_numbers[~empty],
        known,
    )
    return table, left_out


def _numbers(values: Sequence[Any], header: str, source: str, row_numbers: np.ndarray) -> Array:
    out = np.empty(len(values))
    for i, value in enumerate(values):
        text = str(value).strip()
        try:
            out[i] = np.nan if value is None or text == "" else float(text)
        except ValueError:
            raise InputError(
                f"Column {header} of {source} must hold numbers, but line {line_of(row_numbers[i])} has "
                f"{text!r}: {PLAIN_NUMBER}, leave it empty, or leave the row out."
            ) from None
    return out


def _flag_codes(values: Sequence[Any], kept: np.ndarray) -> list[tuple[str, ...]]:
    texts = ["" if v is None or v != v else str(v) for v in values]
    return [tuple(c.strip() for c in texts[i].split(";") if c.strip()) for i in np.flatnonzero(kept)]


def _conventions(
    columns: Mapping[str, Sequence[Any]],
    wanted: Mapping[str, Mapping[str, str]],
    kept: np.ndarray,
    source: str,
    row_numbers: np.ndarray,
) -> dict[str, dict[str, Array]]:
    """Those of the other counts that the file has, positive in every row."""
    out: dict[str, dict[str, Array]] = {}
    for role, group in wanted.items():
        for label, header in group.items():
            if header not in columns:
                continue
            values = _numbers(columns[header], header, source, row_numbers)[kept]
            if np.isfinite(values).all() and (values > 0).all():
                out.setdefault(role, {})[label] = values
    return out

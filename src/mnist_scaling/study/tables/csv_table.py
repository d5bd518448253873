"""The one reader of CSV tables, a study's own and anyone's: what pandas would guess at in silence is refused."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_scaling.errors import PLAIN_NUMBER, InputError, line_of
from mnist_scaling.study.columns import NUMBERS

_GROUPED = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")
"""A number with points between its thousands; or one with three decimals."""


def read_table(path: str | Path, required: Iterable[str] = (), **options: Any) -> pd.DataFrame:
    """Read a CSV table with a header, by options of `pandas.read_csv`, and check its shape and required columns.

    Rows are numbered by their place below the header, from 0; a blank line has a place but no row. InputError tells
    that the file is absent, is not CSV, has more or fewer fields in a row than in its header, or lacks a column.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"A table must be an existing CSV file, but {path} is none: give its path, or run the study.")
    required = list(required)
    try:
        places = _places(path, required)
        table = pd.read_csv(path, index_col=False, skipinitialspace=True, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"A table must be CSV with a header, but {path} is not ({str(error).strip()}): save it as CSV in UTF-8."
        ) from error
    table.columns = table.columns.str.strip()
    if len(places) == len(table) and places != list(range(len(table))):  # there are blank lines
        table.index = pd.Index(places)
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} must have the column{'s' * (len(missing) > 1)} {', '.join(missing)}, but has only "
            f"{', '.join(map(str, table.columns))}: give the name that it has, such as `columns.D=NAME`, or start the "
            "study's sweep again, which rewrites its table."
        )
    return table


def read_study_table(path: str | Path, required: Iterable[str] = ()) -> pd.DataFrame:
    """`read_table` of a study's own table, whose measured columns must hold numbers as the study wrote them."""
    table = read_table(path, required)
    for column in table.columns.intersection(list(NUMBERS)):
        read = pd.to_numeric(table[column], errors="coerce")
        for row in table.index[read.isna() & table[column].notna()]:
            raise InputError(
                f"Column {column} of {path} must hold numbers, but line {line_of(row)} has "
                f"{str(table.loc[row, column])!r}: {PLAIN_NUMBER}, or start the study's sweep again, which rewrites it."
            )
    return table


def _places(path: Path, required: Sequence[str]) -> list[int]:
    """Place of each row below the header, counted from 0 with blank lines.

    Refused is a table that pandas would read in silence: rows of more or fewer fields than the header, which it would
    shift or fill, no header, a name twice, names that no comma separates, or points between thousands.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, skipinitialspace=True)
        blank, names = 0, [name.strip() for name in next(lines, [])]
        while not any(names) and (line := next(lines, None)) is not None:
            blank, names = blank + 1, [name.strip() for name in line]
        _check_header(path, names, required)
        places, columns = [], [dict[str, int]() for _ in names]
        for row, fields in enumerate(lines, start=blank):
            if not any(field.strip() for field in fields) and len(fields) <= 1:
                continue
            if len(fields) != len(names):
                raise InputError(
                    f"Every row of {path} must have as many fields as its header, but line {line_of(row)} has "
                    f"{len(fields)} and the header {len(names)}: name every column, quote text that holds a comma, and "
                    "remove a comma at the line's end."
                )
            if any(field.strip() for name, field in zip(names[1:], fields[1:], strict=True) if not name):
                raise InputError(
                    f"Every column of {path} must have a name, but line {line_of(row)} has a value in one that has "
                    "none: name it, or quote numbers that hold a comma."
                )
            places.append(row)
            for column, field in zip(columns, fields, strict=True):
                column.setdefault(field.strip(), row)
    for name, column in zip(names, columns, strict=True):
        _check_points(path, name, column)
    return places


def _check_points(path: Path, name: str, lines: Mapping[str, int]) -> None:
    """Refuse 1.000 beside 500: where whole numbers have no point, three decimals are thousands, which float() divides.

    Programs write 1.125 beside 2, but neither 1.000 beside it nor, with thousands marked, 1024.
    """
    pointed = [text for text in lines if "." in text]
    whole = [text for text in lines if text and "." not in text]
    if (
        pointed
        and all(map(_GROUPED.fullmatch, pointed))
        and all(text.isdecimal() and len(text) <= 3 for text in whole)
        and (any(len(text) == 3 for text in whole) or (whole and any(text.endswith("0") for text in pointed)))
    ):
        raise InputError(
            f"Numbers of a column must be written alike, but {name} of {path} has {pointed[0]} in line "
            f"{line_of(lines[pointed[0]])} and {whole[0]} in line {line_of(lines[whole[0]])}, so that the point may "
            f"stand between thousands: {PLAIN_NUMBER}."
        )


def _check_header(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    if not any(names):
        raise InputError(f"A table must be CSV with a header, but {path} is empty: run the step that writes it again.")
    if names[0].startswith("sep="):
        raise InputError(f"A table must begin with its header, but {path} begins with {names[0]!r}: remove that line.")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(
            f"Every column of {path} must have a name of its own, but {', '.join(twice)} is there twice: rename or "
            "remove one of them."
        )
    line = ",".join(names)
    separator = next((mark for mark in (";", "\t", "|") if mark in line), None)
    if (
        separator
        and not set(required) <= set(names)
        and set(required) <= {name.strip('" ') for name in line.split(separator)}
    ):
        raise InputError(
            f"The columns of {path} must be separated by commas, but its header is separated by {separator!r}: save "
            "it as comma-separated values."
        )

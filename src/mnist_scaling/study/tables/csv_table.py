"""The one reader of CSV tables: what pandas would guess at in silence is refused. And conditions, which pick rows."""

from __future__ import annotations

import ast
import csv
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mnist_scaling.errors import PLAIN_NUMBER, InputError, line_of, nearest
from mnist_scaling.study.columns import NUMBERS

_GROUPED = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")
"""A number with points between its thousands; or one with three decimals."""


def read_table(path: str | Path, required: Iterable[str] = (), **options: Any) -> pd.DataFrame:
    """Read a CSV table with a header, by options of `pandas.read_csv`, and check its shape and required columns.

    Rows are numbered by their place below the header, from 0; a blank line has a place but no row. InputError tells
    that the file is absent, is no CSV, or lacks a column; a mapping `required` has the key by which each was named.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"A table must be an existing CSV file, but {path} is none: give its path, or run the study.")
    required, keys = list(required), required if isinstance(required, Mapping) else {}
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
        fix = "start the study's sweep again, which rewrites it."
        if key := keys.get(missing[0]):
            fix = f"`{key}` must be one of these; {nearest(missing[0], table.columns, 'mend it.')}"
        raise InputError(
            f"{path} must have the column{'s' * (len(missing) > 1)} {', '.join(missing)}, but has only "
            f"{', '.join(map(str, table.columns))}: {fix}"
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
                    f"{len(fields)} and the header {len(names)}: name every column, quote text that holds a comma, "
                    "remove a comma at the line's end, and separate columns by commas, not by semicolons."
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


LONGEST = 2000
"""Characters of a condition; no person types more, and Python's parser is not made for more nesting."""

OPERATORS: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip

GRAMMAR = "names of columns, numbers, 'text', comparisons, in (…), and, or, not, + - * / // % ** and parentheses"


def rows_where(condition: str, columns: Mapping[str, ArrayLike]) -> np.ndarray:
    """Which rows meet a condition, such as ``family == 'cnn' and D > 1e9``, shape (n,), bool.

    Every node of its syntax tree must be one that `_value` knows. There are no calls, no attributes and no indexing, so
    a condition from a stranger's config file can pick rows but can't do anything.

    An empty number (NaN) meets no comparison but ``!=``. A column whose name is no plain word stands in backticks.

    InputError tells that it holds anything but `GRAMMAR`, names no column, or mixes text with numbers.
    """
    table = {header: np.asarray(values) for header, values in columns.items()}
    words = {header: f"_column_{place}" for place, header in enumerate(columns)}
    try:
        if len(condition) > LONGEST:
            raise TypeError(f"it is longer than {LONGEST} characters")
        text = re.sub(r"('[^']*'|\"[^\"]*\")|`([^`]+)`", lambda m: m[1] or words.get(m[2], "_absent"), condition)
        tree = ast.parse(text.strip(), mode="eval").body
        with np.errstate(all="ignore"):
            kept = _value(tree, table | {word: table[header] for header, word in words.items()})
        if kept.dtype != bool:
            raise TypeError("it is a value, not a comparison")
    except (TypeError, KeyError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = {
            TypeError: str(error), KeyError: f"it names {error}: the table has {', '.join(map(str, columns))}",
        }.get(type(error), "it can't be parsed")  # fmt: skip
        shown = condition if len(condition) <= LONGEST else condition[:40] + "…"
        raise InputError(
            f"`where` must be a condition on columns of the table, made of {GRAMMAR}, but {shown!r} is none ({why}): "
            "write one such as `width >= 4`."
        ) from None
    return np.array(np.broadcast_to(kept, max(map(len, table.values()), default=0)))


def at_axes(cells: pd.DataFrame, axes: Mapping[str, Any]) -> np.ndarray:
    """Mask of the rows whose axes have these values; of none where an axis is no column."""
    found = np.full(len(cells), axes.keys() <= set(cells.columns))
    for axis, value in axes.items() if found.any() else ():
        if pd.isna(value):
            found &= cells[axis].isna().to_numpy()
        elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
            found &= np.isclose(pd.to_numeric(cells[axis], errors="coerce"), value, rtol=1e-6)
        else:
            found &= (cells[axis] == value).to_numpy()
    return found


def _value(node: ast.AST, table: Mapping[str, np.ndarray], *kinds: str) -> np.ndarray:
    """The value of a node that is known, an array of bool ("?"), float ("d") or text ("O"), if it is of these kinds."""
    match node:
        case ast.Name(id=name):
            value = table[name]
            value = value.astype("?" if value.dtype == bool else "d" if np.issubdtype(value.dtype, np.number) else "O")
        case ast.Constant(value=bool() | str() as constant):
            value = np.array(constant, "?" if isinstance(constant, bool) else "O")
        case ast.Constant(value=int() | float() as number):
            value = np.array(float(number) if abs(number) < 1e300 else np.inf)
        case ast.BoolOp(op=sign, values=parts):
            join = np.logical_and if isinstance(sign, ast.And) else np.logical_or
            value = join.reduce(np.broadcast_arrays(*(_value(part, table, "?") for part in parts)))
        case ast.UnaryOp(op=ast.Not(), operand=part):
            value = ~_value(part, table, "?")
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=part):
            value = _value(part, table, "d", "?") * (-1.0 if isinstance(sign, ast.USub) else 1.0)
        case ast.BinOp(op=sign, left=left, right=right) if type(sign) in OPERATORS:
            value = OPERATORS[type(sign)](*(_value(part, table, "d", "?") * 1.0 for part in (left, right)))
        case ast.Compare(left=left, ops=signs, comparators=rights):
            pairs = zip([left, *rights], signs, rights, strict=False)
            value = np.all(np.broadcast_arrays(*(_compare(*pair, table) for pair in pairs)), axis=0)
        case _:
            raise TypeError(f"{type(getattr(node, 'op', node)).__name__} is not among them")
    if kinds and value.dtype.char not in kinds:
        raise TypeError("it calculates with text" if "d" in kinds else "and, or and not join comparisons")
    return np.asarray(value)


def _compare(left: ast.AST, sign: ast.cmpop, right: ast.AST, table: Mapping[str, np.ndarray]) -> np.ndarray:
    if isinstance(sign, ast.In | ast.NotIn):
        if not isinstance(right, ast.Tuple | ast.List) or not right.elts:
            raise TypeError("in needs values in parentheses")
        within = np.any(np.broadcast_arrays(*(_compare(left, ast.Eq(), one, table) for one in right.elts)), axis=0)
        return np.asarray(within == isinstance(sign, ast.In))
    if type(sign) not in OPERATORS:
        raise TypeError(f"{type(sign).__name__} is not among them")
    a, b = _value(left, table), _value(right, table)
    if (a.dtype == object) != (b.dtype == object):
        raise TypeError("it compares text with a number")
    if a.dtype == object and not isinstance(sign, ast.Eq | ast.NotEq):
        raise TypeError("text has no order: use == or in")
    return np.asarray(OPERATORS[type(sign)](a, b), bool)

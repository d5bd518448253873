"""Which rows of anyone's table count: those that meet a condition, and the best run of every cell.

A condition, such as ``family == 'cnn' and D > 1e9``, reads columns and nothing else. The text is parsed, and every node
of its syntax tree must be one that `_value` knows. There are no calls, no attributes and no indexing, so a condition
from a stranger's config file can pick rows but can't do anything.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from math import comb, exp
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mnist_scaling.errors import InputError

LONGEST = 2000
"""Characters of a condition; no person types more, and Python's parser is not made for more nesting."""

OPERATORS: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip

GRAMMAR = "names of columns, numbers, 'text', comparisons, in (…), and, or, not, + - * / // % ** and parentheses"


def rows_where(condition: str, columns: Mapping[str, ArrayLike]) -> np.ndarray:
    """Which rows meet a condition, shape (n,), bool.

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
            "mend it."
        ) from None
    return np.array(np.broadcast_to(kept, max(map(len, table.values()), default=0)))


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
        found = np.any(np.broadcast_arrays(*(_compare(left, ast.Eq(), one, table) for one in right.elts)), axis=0)
        return np.asarray(found == isinstance(sign, ast.In))
    if type(sign) not in OPERATORS:
        raise TypeError(f"{type(sign).__name__} is not among them")
    a, b = _value(left, table), _value(right, table)
    if (a.dtype == object) != (b.dtype == object):
        raise TypeError("it compares text with a number")
    if a.dtype == object and not isinstance(sign, ast.Eq | ast.NotEq):
        raise TypeError("text has no order: use == or in")
    return np.asarray(OPERATORS[type(sign)](a, b), bool)


def best_runs(runs: pd.DataFrame, cells: Sequence[str], best: str) -> tuple[pd.DataFrame, str]:
    """The run with the least loss `best` of each cell, the first of equals; and what is known of their tuning.

    `cells` are the columns whose values make a cell. InputError tells of a column that is not there, or that no run has
    a loss.
    """
    absent = [column for column in (*cells, best) if column not in runs]
    if absent:
        raise InputError(
            f"`cells` and `best` must name columns of the table, but it has no {', '.join(absent)}: it has "
            f"{', '.join(map(str, runs.columns))}."
        )
    known = runs.assign(**{best: pd.to_numeric(runs[best], errors="coerce")})
    known = known[np.isfinite(known[best].astype(float)) & (known[best] > 0)]
    if known.empty:
        raise InputError(f"`best` must name a column with a positive number, but {best} has none: name another column.")
    groups = known.groupby(list(cells), sort=False, dropna=False)
    kept = known.loc[sorted(groups[best].idxmin())]
    counts, saved = groups.size(), [_half(np.sort(losses.to_numpy(float))) for _, losses in groups[best]]
    said = (
        f"A row is the best of its cell's runs by {best}: {counts.min()} to {counts.max()} runs, median "
        f"{counts.median():g}. With half as many, the best would be {100 * float(np.median(saved)):.1f} % higher on "
        "average in the middle cell: a large share says that cells need more runs."
    )
    return kept, said


def expected_least(y: np.ndarray, k: int) -> float:
    """E[least of k of n ascending values, drawn without replacement] = sum_i y_(i) C(n - i, k - 1) / C(n, k)."""
    n = len(y)
    return sum(y[i] * comb(n - i - 1, k - 1) for i in range(n - k + 1)) / comb(n, k)


def _half(losses: np.ndarray) -> float:
    """Expected best of half of the losses, over the best - 1."""
    y = np.log(losses)
    return exp(expected_least(y, max(len(y) // 2, 1)) - y[0]) - 1

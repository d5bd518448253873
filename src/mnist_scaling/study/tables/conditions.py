"""A condition on the columns of a table, such as ``family == 'cnn' and D > 1e9``: it reads columns and nothing else.

The text is parsed, and every node of its syntax tree must be one of those that `_Reader` knows. There are no calls, no
attributes and no indexing, so a condition from a stranger's config file can pick rows but can't do anything.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mnist_scaling.errors import InputError

LONGEST = 2000
"""Characters of a condition; no person types more, and Python's parser is not made for more nesting."""

COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip

ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip

GRAMMAR = "names of columns, numbers, 'text', comparisons, in (…), and, or, not, + - * / // % ** and parentheses"


def rows_where(condition: str, columns: Mapping[str, ArrayLike]) -> np.ndarray:
    """Which rows meet a condition, shape (n,), bool.

    An empty number (NaN) meets no comparison but ``!=``. A column whose name is no plain word stands in backticks.

    Parameters
    ----------
    condition : str
        For example ``"kept == 1"``, ``"family in ('cnn', 'mlp') and not D < 1e9"``.
    columns : mapping of str to array, shape (n,)
        By header.

    Raises
    ------
    InputError
        When the condition holds anything but `GRAMMAR`, names no column, or mixes text with numbers.
    """
    if len(condition) > LONGEST:
        raise _refused(condition[:40] + "…", f"it is longer than {LONGEST} characters")
    aliases: dict[str, str] = {}

    def alias(found: re.Match[str]) -> str:
        if found[2] is None:
            return found[0]
        aliases[name := f"_column_{len(aliases)}"] = found[2]
        return name

    text = re.sub(r"('[^']*'|\"[^\"]*\")|`([^`]+)`", alias, condition).strip()
    try:
        tree = ast.parse(text, mode="eval")
        with np.errstate(all="ignore"):
            found = _Reader(columns, aliases, condition).visit(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise _refused(condition, "it can't be parsed") from None
    if found.dtype != bool:
        raise _refused(condition, "it is a value, not a comparison")
    length = max((len(np.asarray(columns[header])) for header in columns), default=0)
    return np.array(np.broadcast_to(found, (length,)))


def _refused(condition: str, why: str) -> InputError:
    return InputError(
        f"`where` must be a condition on columns of the table, made of {GRAMMAR}, but {condition!r} is none ({why}): "
        "mend it."
    )


class _Reader(ast.NodeVisitor):
    """The value of each known node as an array of bool, float or text (object); any other node is refused."""

    def __init__(self, columns: Mapping[str, ArrayLike], aliases: Mapping[str, str], condition: str) -> None:
        self.columns, self.aliases, self.condition = columns, aliases, condition

    def generic_visit(self, node: ast.AST) -> np.ndarray:
        raise _refused(self.condition, f"{type(node).__name__} is not among them")

    def visit_Name(self, node: ast.Name) -> np.ndarray:
        name = self.aliases.get(node.id, node.id)
        if name not in self.columns:
            raise InputError(
                f"`where` must be a condition on columns of the table, but {self.condition!r} names {name}: the table "
                f"has {', '.join(map(str, self.columns))}."
            )
        values = np.asarray(self.columns[name])
        if values.dtype == bool:
            return values
        return values.astype(float) if np.issubdtype(values.dtype, np.number) else values.astype(object)

    def visit_Constant(self, node: ast.Constant) -> np.ndarray:
        if isinstance(node.value, bool):
            return np.array(node.value)
        if isinstance(node.value, int | float):
            return np.array(float(node.value)) if abs(node.value) < 1e300 else np.array(np.inf)
        if isinstance(node.value, str):
            return np.array(node.value, object)
        return self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> np.ndarray:
        parts = [self._logical(part) for part in node.values]
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return np.asarray(join.reduce(np.broadcast_arrays(*parts)))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> np.ndarray:
        if isinstance(node.op, ast.Not):
            return ~self._logical(node.operand)
        if isinstance(node.op, ast.USub | ast.UAdd):
            number = self._number(node.operand)
            return -number if isinstance(node.op, ast.USub) else number
        return self.generic_visit(node.op)

    def visit_BinOp(self, node: ast.BinOp) -> np.ndarray:
        apply = ARITHMETIC.get(type(node.op))
        if apply is None:
            return self.generic_visit(node.op)
        return np.asarray(apply(self._number(node.left), self._number(node.right)))

    def visit_Compare(self, node: ast.Compare) -> np.ndarray:
        kept, left = np.array(True), node.left
        for sign, right in zip(node.ops, node.comparators, strict=True):
            kept = kept & self._compare(left, sign, right)
            left = right
        return np.asarray(kept, bool)

    def _compare(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> np.ndarray:
        if isinstance(sign, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List) or not right.elts:
                raise _refused(self.condition, "in needs values in parentheses")
            found = np.any(np.broadcast_arrays(*(self._equal(left, item) for item in right.elts)), axis=0)
            return np.asarray(~found if isinstance(sign, ast.NotIn) else found)
        compare = COMPARISONS.get(type(sign))
        if compare is None:
            return self.generic_visit(sign)
        return self._two(left, right, compare)

    def _equal(self, left: ast.expr, right: ast.expr) -> np.ndarray:
        return self._two(left, right, operator.eq)

    def _two(self, left: ast.expr, right: ast.expr, compare: Callable[[Any, Any], Any]) -> np.ndarray:
        a, b = self.visit(left), self.visit(right)
        if (a.dtype == object) != (b.dtype == object):
            raise _refused(self.condition, "it compares text with a number")
        if a.dtype == object and compare not in (operator.eq, operator.ne):
            raise _refused(self.condition, "text has no order: use == or in")
        return np.asarray(compare(a, b), bool)

    def _logical(self, node: ast.expr) -> np.ndarray:
        value: np.ndarray = self.visit(node)
        if value.dtype != bool:
            raise _refused(self.condition, "and, or and not join comparisons")
        return value

    def _number(self, node: ast.expr) -> np.ndarray:
        value: np.ndarray = self.visit(node)
        if value.dtype == object:
            raise _refused(self.condition, "it calculates with text")
        return value.astype(float)

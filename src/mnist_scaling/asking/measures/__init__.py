"""Kinds of measures, one a file, found by folder: `kind: difference` in a question is difference.py's `KIND`.

Here is what all of them are: keys, a function of arms, and the numbers that fill a sentence's slots.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from mnist_scaling.asking.study_arms import LOSS, LOSS_SE, StudyArm
from mnist_scaling.config import typed
from mnist_scaling.errors import InputError, nearest
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.read import read_columns
from mnist_scaling.fitting.rows import Table
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.fitting.uncertainty.least_squares import LEVEL
from mnist_scaling.study.columns import FITTED
from mnist_scaling.study.tables.cell_runs import were_tuned


@cache
def kinds() -> dict[str, MeasureKind]:
    """Every kind by its name."""
    every = {}
    for module in pkgutil.iter_modules(__path__):
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "KIND", None)
        if kind is not None:
            every[module.name] = kind
    return every


def keys_of(spec: Mapping[str, Any]) -> tuple[MeasureKind, Any]:
    """The kind that a question's measure names, and its keys, checked.

    InputError when the kind or a key is unknown, with the nearest one, or a value is of another type.
    """
    name = str(spec.get("kind", ""))
    if name not in kinds():
        fix = nearest(name, kinds(), "choose one of them.")
        raise InputError(f"`kind` of a measure must be one of {', '.join(kinds())}, but got {name!r}: {fix}")
    kind = kinds()[name]
    return kind, typed(kind.keys, {k: v for k, v in spec.items() if k != "kind"}, f"a measure of kind {name}")


def measure(spec: Mapping[str, Any], arms: Mapping[str, StudyArm]) -> Findings:
    """What one measure of a question finds in the question's arms."""
    kind, keys = keys_of(spec)
    return kind.measure(keys, arms)


@dataclass(frozen=True)
class Number:
    """A number of an answer."""

    interval: Interval
    meaning: str
    """As the page's table says it."""
    factor: bool | None = False
    """Whether it is a factor; else it is an exponent, or None, a mere description."""
    doubtful: str = ""
    """Why it is trusted fairly at most, whatever its interval: noise alone may make it, or its method is biased."""
    verdict: str = ""
    """Of a difference: what its interval says."""
    inside: int | None = None
    """Of a frontier: at how many budgets there is a best size inside the grid."""


@dataclass(frozen=True)
class Findings:
    """What a measure found."""

    numbers: Mapping[str, Number] = field(default_factory=dict)
    """By slot."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Slots that are filled by words, such as a verdict."""
    notes: tuple[str, ...] = ()
    """What a reader must know, as sentences: cells that were left out, and why."""
    flags: tuple[Flag, ...] = ()
    """Of comparisons."""

    def __or__(self, other: Findings) -> Findings:
        words, notes = {**self.words, **other.words}, self.notes + other.notes
        return Findings({**self.numbers, **other.numbers}, words, notes, self.flags + other.flags)


@dataclass(frozen=True)
class MeasureKind:
    """A kind of measure, as a module of this folder states it by `KIND`."""

    keys: type
    """A dataclass: the keys beside `kind`, with defaults."""
    measure: Callable[[Any, Mapping[str, StudyArm]], Findings]
    """Keys and arms to what was found."""


def arm(arms: Mapping[str, StudyArm], name: str, key: str) -> StudyArm:
    """The arm that a key names; InputError when there is none."""
    if name not in arms:
        raise InputError(f"`{key}` of a measure must be one of the arms {', '.join(arms)}, but got {name!r}: mend it.")
    return arms[name]


def columns(arm: StudyArm, *names: str) -> list[np.ndarray]:
    """Columns of an arm as numbers; InputError when a column is not there."""
    for name in names:
        if name not in arm.rows:
            raise InputError(
                f"A measure must name columns of cells.csv, but {name!r} is none of the arm {arm.name!r}: it has "
                f"{', '.join(map(str, arm.rows.columns))}."
            )
    return [arm.rows[name].to_numpy(float) for name in names]


def table(arm: StudyArm, names: Mapping[str, str] = {}) -> Table:
    """An arm's rows as laws are fitted to them; `names` are columns of N, D, C or U that are not the usual ones."""
    wanted = {**FITTED, "loss": LOSS, "se": LOSS_SE, **names}
    roles = {role: header if header in arm.rows else None for role, header in wanted.items()}
    values = {str(c): arm.rows[c].astype(object).where(arm.rows[c].notna(), None).tolist() for c in arm.rows}
    rows, _ = read_columns(values, roles, None, f"the arm {arm.name}")
    return replace(rows, tuned=were_tuned(arm.rows))


def mean_of_dependent(values: ArrayLike, slopes: ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of values that depend on common noise, with Student's interval.

    values = m + J e, where e has one unknown variance: that follows from the scatter of the values about their mean,
    with Satterthwaite's degrees of freedom. Values that move together scatter little, and err together. `slopes` is J,
    shape (n, sources): how far each value moves with each source of noise.
    """
    numbers, j = np.asarray(values, float), np.asarray(slopes, float)
    if not len(numbers):
        return Interval()
    centre = float(numbers.mean())
    about = j - j.mean(axis=0)
    shared = about @ about.T
    trace = float(np.trace(shared))
    if len(numbers) < 2 or trace <= 0:
        return Interval(centre)
    freedom = trace**2 / float((shared**2).sum())
    variance = float(((numbers - centre) ** 2).sum()) / trace * float((j.mean(axis=0) ** 2).sum())
    half = float(stdtrit(freedom, 0.5 + level / 2) * np.sqrt(variance))
    return Interval(centre, centre - half, centre + half)

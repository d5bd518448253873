"""comparison.json: what `compare` writes and the pages read. docs/comparing.md says what each key is.

Numbers that are not known are NaN here and null in the file. The order of the fields is that of the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_scaling.fitting.comparing.shared_exponents import SharedFit
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.fits_json import FlagRecord
from mnist_scaling.reporting.documents.json_form import OMITTED, read
from mnist_scaling.reporting.documents.tuning_records import UNKNOWN
from mnist_scaling.study import layout
from mnist_scaling.study.files import read_json

SCHEMA = 1


@dataclass(frozen=True)
class DifferenceRecord:
    """A number of both arms, and b's less a's."""

    a: Interval = UNKNOWN
    b: Interval = UNKNOWN
    difference: Interval = UNKNOWN
    why: str = field(default="", metadata=OMITTED)
    """Why there is none."""


@dataclass(frozen=True)
class ExponentRecord:
    """An exponent that `fit` has, in both arms."""

    law: str = field(default="", metadata=OMITTED)
    method: str = field(default="", metadata=OMITTED)
    """Of the frontier; instead of a law."""
    parameter: str = ""
    at: str = field(default="", metadata=OMITTED)
    a: Interval = UNKNOWN
    b: Interval = UNKNOWN
    difference: Interval = UNKNOWN


@dataclass(frozen=True)
class MultiplierRecord:
    """The compute of b that gives a's loss, over a's compute C."""

    C: float
    value: float
    low: float
    high: float
    loss: float

    @property
    def interval(self) -> Interval:
        """The multiplier with its interval."""
        return Interval(self.value, self.low, self.high)


@dataclass(frozen=True)
class SharedVariant:
    """A law of both arms, and how much of it is each arm's own."""

    law: str
    variant: str


@dataclass(frozen=True)
class SharedRecord:
    """Laws fitted to both arms at once, and the one that AICc prefers."""

    preferred: SharedVariant | None = None
    fits: Sequence[SharedFit] = ()


@dataclass(frozen=True)
class NoiseRecord:
    """Standard deviations of a cell's log loss in each arm and of its log ratio, and their correlation."""

    a: float = math.nan
    b: float = math.nan
    ratio: float = math.nan
    correlation: float = math.nan
    freedom: float = math.nan


@dataclass(frozen=True)
class Pair:
    """Two arms that were compared: the whole of comparison.json, or one of its pairs."""

    schema: int = SCHEMA
    arms: Sequence[Mapping[str, Any]] = ()
    """Of a and of b: name, cells, and where the arm is from."""
    paired: bool = False
    by_seed: bool = False
    cells: int = 0
    slopes: Mapping[str, DifferenceRecord] = field(default_factory=dict)
    offset: Interval = UNKNOWN
    exponents: Sequence[ExponentRecord] = ()
    multiplier: Sequence[MultiplierRecord] = ()
    verdict: Mapping[str, str] = field(default_factory=dict)
    margin: float = math.nan
    shared: SharedRecord = field(default_factory=SharedRecord)
    flags: Sequence[FlagRecord] = ()
    noise: NoiseRecord = field(default_factory=NoiseRecord)
    settings: Mapping[str, Any] = field(default_factory=dict)
    points: Sequence[Mapping[str, Any]] = ()
    """The cells that were compared: of both arms where they are paired, else of either."""
    curve: Sequence[MultiplierRecord] = ()
    frontiers: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    """L*(C) of each arm's surface."""
    what: str = ""
    sentence: str = ""
    pairs: Sequence[Pair] = field(default=(), metadata=OMITTED)
    """All pairs, where there are several; the first is also the file's own."""
    config: Mapping[str, Any] = field(default_factory=dict, metadata=OMITTED)
    command: str = field(default="", metadata=OMITTED)

    @property
    def names(self) -> tuple[str, str]:
        """Names of a and b."""
        a, b = (str(arm.get("name", "")) for arm in self.arms)
        return a, b

    @property
    def exponents_of_plane(self) -> dict[str, DifferenceRecord]:
        """The slopes that could be compared, by name."""
        return {name: found for name, found in self.slopes.items() if math.isfinite(found.difference.value)}


def read_comparison(folder: Path) -> Pair | None:
    """comparison.json of a folder; None where there is none."""
    found = read_json(folder / layout.COMPARISON)
    return None if found is None else read(Pair, found)

"""fits.json: what `fit` writes and everything else reads. docs/fitting.md says what each key is.

Numbers that are not known are NaN here and null in the file. The order of the fields is that of the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mnist_scaling.errors import InputError
from mnist_scaling.fitting.ahead import Foreseen
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.fitted import HoldOut
from mnist_scaling.fitting.headline import Headline
from mnist_scaling.fitting.slices import Slice
from mnist_scaling.fitting.uncertainty.interval import INLINE, OMITTED, UNKNOWN, Interval
from mnist_scaling.reporting.documents.json_form import plain, read
from mnist_scaling.reporting.documents.tuning_records import OK, SettingsRecord, TuningRecord
from mnist_scaling.study import layout
from mnist_scaling.study.files import read_json

SCHEMA = 1


@dataclass(frozen=True)
class Trust:
    """How far to trust a number: high, fair or low; and the reasons for no more that concern it alone."""

    trust: str
    reasons: Sequence[str] = ()


@dataclass(frozen=True)
class AnswerRecord:
    """What the numbers say to someone who reads one sentence only (`reporting.words.in_short`)."""

    sentence: str = ""
    trust: str = ""
    """One of high, fair, low: that of the least sure number of the sentence."""
    reasons: Sequence[str] = ()
    """For trusting it no further."""
    next: str = ""
    """What to do next; empty where no flag advises anything."""
    numbers: Mapping[str, Trust] = field(default_factory=dict)
    """Of every number that is quoted, by its key in the headline: slope_N, …, ray_C, loss_2, asked."""


@dataclass(frozen=True)
class LawRecord:
    """One law, fitted or refused; one that was refused has no number."""

    formula: str
    source: str = ""
    inputs: Sequence[str] = ()
    status: str = ""
    n: int = 0
    objective: float = math.nan
    rmse_log: float = math.nan
    aicc: float = math.nan
    holdout: HoldOut = field(default_factory=HoldOut)
    params: Mapping[str, Interval] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    slopes: Mapping[str, Interval] = field(default_factory=dict)
    flags: Sequence[str] = ()
    slice: Slice | None = None
    fit: Mapping[str, Any] | None = field(default=None, metadata=OMITTED)
    residuals: Sequence[Mapping[str, Any]] | None = field(default=None, metadata=OMITTED)
    """row, and residual: ln(measured / fitted) of it."""

    @property
    def fitted(self) -> bool:
        """Whether it has numbers."""
        return math.isfinite(self.rmse_log)

    @property
    def shown(self) -> dict[str, Interval]:
        """Floor and exponents: parameters that do not hang on the units of N and D."""
        return {k: p for k, p in self.params.items() if self.units.get(k, "1") in ("1", "loss")}


@dataclass(frozen=True)
class FrontierRecord:
    """The compute-efficient frontier by one method."""

    N_exponent: Interval = UNKNOWN
    D_exponent: Interval = UNKNOWN
    loss_exponent: Interval = UNKNOWN
    status: str = OK
    flags: Sequence[str] = ()
    points: Sequence[Mapping[str, Any]] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, metadata=INLINE)
    """Of the method: curves, and how they were formed."""


@dataclass(frozen=True)
class DataRecord:
    """Which table, and which of its rows."""

    n: int = 0
    rows: Sequence[int] = ()
    masked: Sequence[Any] = ()
    notes: Sequence[str] = ()
    left_out: Sequence[Mapping[str, Any]] = ()
    """row, one that is not in the fit, and why."""
    sha256: str | None = field(default=None, metadata=OMITTED)
    table: str = field(default="", metadata=OMITTED)
    unfinished: str | None = field(default=None, metadata=OMITTED)
    certified: float | None = field(default=None, metadata=OMITTED)
    """Share of a study's cells that are certified tuned."""
    tuned: bool | None = field(default=None, metadata=OMITTED)
    """Whether cells were tuned, so that intervals hold luck in tuning; None where that is not known."""
    sizes: Mapping[str, float] = field(default_factory=dict, metadata=OMITTED)
    """N at each value of the axis of a study that sets it, ascending, such as {"width 8": 10002}."""


@dataclass(frozen=True)
class Fits:
    """A table, or one of its arms: everything that was found."""

    schema: int = SCHEMA
    why: str = field(default="", metadata=OMITTED)
    """Why nothing was fitted."""
    answer: AnswerRecord = field(default_factory=AnswerRecord)
    laws: Mapping[str, LawRecord] = field(default_factory=dict)
    selected: str | None = None
    headline: Headline = field(default_factory=Headline)
    frontier: Mapping[str, FrontierRecord] = field(default_factory=dict)
    flags: Sequence[Flag] = ()
    cost: Mapping[str, Any] | None = None
    data: DataRecord = field(default_factory=DataRecord)
    settings: Mapping[str, Any] = field(default_factory=dict)
    tuning_change: TuningRecord | None = field(default=None, metadata=OMITTED)
    settings_laws: SettingsRecord | None = field(default=None, metadata=OMITTED)
    leave_future_out: Sequence[Foreseen] | None = field(default=None, metadata=OMITTED)
    name: str = field(default="", metadata=OMITTED)
    """Of the arm, such as ``optimizer=sgd``; empty for a whole table."""
    axes: Mapping[str, Any] = field(default_factory=dict, metadata=OMITTED)
    """Column to value, of an arm."""
    arms: Sequence[Fits] = field(default=(), metadata=OMITTED)
    """Of a table of several arms, each fitted alone."""
    config: Mapping[str, Any] = field(default_factory=dict, metadata=OMITTED)
    command: str = field(default="", metadata=OMITTED)

    @property
    def level(self) -> str:
        """Of the intervals, in per cent."""
        return f"{100 * self.settings['bootstrap']['level']:g} %"


def read_fits(folder: Path) -> Fits:
    """fits.json of a folder; InputError when there is none, or it is of another schema."""
    path = folder / layout.FITS
    again = f"run `python -m mnist_scaling.fit {layout.name_argument(folder)}`"
    record = read_json(path)
    if record is None:
        raise InputError(f"A report needs the fits in {path}, but there are none: {again} first.")
    if record.get("schema") != SCHEMA or not isinstance(record.get("laws"), dict):
        raise InputError(f"{path} must have schema 1 and laws, but has schema {record.get('schema')}: {again} again.")
    try:
        fits = read(Fits, record)
    except (TypeError, ValueError):
        fits = None
    if fits is None or not all(arm.name for arm in fits.arms):
        raise InputError(f"{path} must hold laws and arms as `fit` writes them, but is damaged: {again} again.")
    if plain(fits) != record:
        print(f"Note: {path} was written by another version, so parts of it may be missing: {again} again.")
    return fits

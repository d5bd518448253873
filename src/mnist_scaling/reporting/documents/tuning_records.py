"""The parts of fits.json about tuning: what it changed, and how the best settings move with size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.json_form import INLINE, OMITTED
from mnist_scaling.settings.setting_laws import KeyLaws, SettingLaw, TunedKey

OK = "ok"
"""Status of what could be computed."""

UNKNOWN = Interval()
"""A number of which nothing is known."""


@dataclass(frozen=True)
class ChangeSlice:
    """Exponents along one line of the grid, by source of the losses."""

    variable: str
    fixed: str | None
    at: float | None
    rows: Sequence[int]
    exponents: Mapping[str, Interval] = field(default_factory=dict, metadata=INLINE)


@dataclass(frozen=True)
class TuningRecord:
    """What tuning changed (`settings.tuning_change`)."""

    status: str = OK
    setting: Mapping[str, Any] = field(default_factory=dict)
    slices: Sequence[ChangeSlice] = ()
    plane: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    cells: Sequence[Mapping[str, Any]] = ()
    level: float | None = field(default=None, metadata=OMITTED)
    left_out: Sequence[int] | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True)
class Ends:
    """Of a range, or numbers of cells beyond them."""

    low: float
    high: float


@dataclass(frozen=True)
class SettingLawRecord:
    """The best value of one tuned key against some sizes (`settings.optimal_settings.SettingLaw`)."""

    against: Sequence[str]
    exponents: Mapping[str, Interval]
    centre: Mapping[str, float]
    constant: float
    covariance: Sequence[Any]
    spread: float
    lean: float
    n: int


@dataclass(frozen=True)
class KeyRecord:
    """One tuned key: its range, and its laws against size."""

    scale: str
    range: Ends
    status: str
    curvature: Interval
    cells: int
    censored: Mapping[str, int]
    laws: Sequence[SettingLawRecord] = ()

    @property
    def beyond(self) -> int:
        """Cells whose best value lies outside the range."""
        return sum(self.censored.values())


@dataclass(frozen=True)
class Guess(Interval):
    """A key's predicted best value."""

    share_of_range: float = math.nan


@dataclass(frozen=True)
class PredictedSettings:
    """The best settings of a cell that is not there."""

    at: Mapping[str, float]
    settings: Mapping[str, Guess]


@dataclass(frozen=True)
class SettingsRecord:
    """How the best settings move with the size of the cell."""

    status: str = OK
    keys: Mapping[str, KeyRecord] = field(default_factory=dict)
    cells: Sequence[Mapping[str, Any]] = ()
    predicted: PredictedSettings | None = None
    within: float | None = field(default=None, metadata=OMITTED)
    level: float | None = field(default=None, metadata=OMITTED)
    noise_log: float | None = field(default=None, metadata=OMITTED)


def known_settings_laws(record: SettingsRecord) -> list[KeyLaws]:
    """The laws of a record, as `setting_laws.prior` takes them."""
    return [
        KeyLaws(
            TunedKey(name, key.scale == "log"), key.status, key.curvature, [], np.array([]),
            key.range.low, key.range.high,
            [
                SettingLaw(
                    tuple(law.against), law.exponents, np.array([law.centre[k] for k in law.against]), law.constant,
                    np.array(law.covariance, float), law.spread, law.lean, law.n,
                )
                for law in key.laws
            ],
        )
        for name, key in record.keys.items()
    ]  # fmt: skip

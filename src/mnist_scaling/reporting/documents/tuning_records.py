"""The parts of fits.json about tuning, and how they are made: what it changed, how the best settings move with size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents.json_form import INLINE, OMITTED
from mnist_scaling.reporting.text import estimate, listing, short, three_digits
from mnist_scaling.settings.setting_laws import KeyLaws, SettingLaw, TunedKey, prior, share_of_range
from mnist_scaling.settings.tuning_change import SOURCES, TunedCells, TuningChange
from mnist_scaling.study.columns import label

OK = "ok"
"""Status of what could be computed."""

UNKNOWN = Interval()
"""A number of which nothing is known."""

USELESS = 0.5
"""A prediction that spans more than this share of the range is said to be of little use."""


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
    """The best value of one tuned key against some sizes (`settings.setting_laws.SettingLaw`)."""

    against: Sequence[str]
    exponents: Mapping[str, Interval]
    centre: Mapping[str, float]
    constant: float
    covariance: Sequence[Any]
    spread: float
    n: int


@dataclass(frozen=True)
class KeyRecord:
    """One tuned key: its range, and its laws against size."""

    scale: str
    range: Ends
    status: str
    cells: int
    edges: Mapping[str, int] = field(default_factory=dict)
    """Cells whose best value lies at the low or the high end of their range."""
    laws: Sequence[SettingLawRecord] = ()

    @property
    def at_edge(self) -> int:
        """Cells whose best value lies at an end of their range."""
        return sum(self.edges.values())


@dataclass(frozen=True)
class Guess(Interval):
    """A key's predicted best value."""

    share_of_range: float = math.nan

    @property
    def in_words(self) -> str:
        """Value and interval, and whether it says little of where in the range the best value lies."""
        wide = f" ({100 * self.share_of_range:.0f} % of the range, so of little use)"
        return estimate(self, three_digits, " ") + (wide if self.share_of_range > USELESS else "")


@dataclass(frozen=True)
class PredictedSettings:
    """The best settings of a cell that is not there."""

    at: Mapping[str, float]
    settings: Mapping[str, Guess]

    @property
    def sentence(self) -> str:
        """What the laws predict, in words."""
        at = " and ".join(f"{size} = {short(value)}" for size, value in self.at.items())
        parts = [f"{label(name)} {guess.in_words}" for name, guess in self.settings.items()]
        return f"For a new cell with {at} the laws predict {listing(parts)}."


@dataclass(frozen=True)
class SettingsRecord:
    """How the best settings move with the size of the cell."""

    status: str = OK
    keys: Mapping[str, KeyRecord] = field(default_factory=dict)
    cells: Sequence[Mapping[str, Any]] = ()
    predicted: PredictedSettings | None = None
    level: float | None = field(default=None, metadata=OMITTED)


def known_settings_laws(record: SettingsRecord) -> list[KeyLaws]:
    """The laws of a record, as `setting_laws.prior` takes them."""
    return [
        KeyLaws(
            TunedKey(name, key.scale == "log"), key.status, np.array([]), np.array([]), key.range.low,
            key.range.high,
            [
                SettingLaw(
                    tuple(law.against), law.exponents, np.array([law.centre[k] for k in law.against]), law.constant,
                    np.array(law.covariance, float), law.spread, law.n,
                )
                for law in key.laws
            ],
        )
        for name, key in record.keys.items()
    ]  # fmt: skip


def tuning_change_record(
    cells: TunedCells, rows: np.ndarray, found: TuningChange | None, setting: Mapping[str, Any], why: str
) -> TuningRecord:
    """What tuning changed; where it can't be computed its status says why.

    Parameters
    ----------
    cells : TunedCells
    rows : array of int, shape (n,)
        Number of each cell in its file.
    found : TuningChange or None
    setting : mapping
        The untuned setting.
    why : str
        The reason where nothing was found.
    """
    columns = {k: getattr(cells, k) for k in ("N", "D", *SOURCES, "tuned_se", "untuned_se")}
    table = [{"row": rows[i], **{k: v[i] for k, v in columns.items()}} for i in range(len(rows))]
    if found is not None and not found.slices:
        why = "Fewer than three cells in a line have both an untuned run and repeats of the tuned setting."
    if found is None or why:
        return TuningRecord(why, setting, cells=table)
    slices = [ChangeSlice(s.variable, s.fixed, s.at, rows[s.index].tolist(), s.exponents) for s in found.slices]
    left_out = rows[found.left_out].tolist()
    return TuningRecord(OK, setting, slices, found.plane, table, found.level, left_out)


def settings_laws_record(
    found: Sequence[KeyLaws], level: float, rows: Sequence[int] = (), at: Mapping[str, float] | None = None
) -> SettingsRecord:
    """How the best settings move with size.

    Parameters
    ----------
    found : sequence of KeyLaws
    level : float
        Of the intervals.
    rows : sequence of int
        Number of each cell in its file.
    at : mapping, optional
        N and D of a cell whose best settings are to be predicted.
    """
    cells = [
        {"row": row, "best": {one.key.name: {"value": one.best[i], "side": one.side[i]} for one in found}}
        for i, row in enumerate(rows)
    ]
    predicted = None
    if at:
        guesses = {
            name: Guess(i.value, i.low, i.high, share_of_range(i, one))
            for one in found
            for name, i in prior([one], level, **at).items()
        }
        predicted = PredictedSettings(at, guesses)
    return SettingsRecord(OK, {one.key.name: _key(one) for one in found}, cells, predicted, level)


def _key(one: KeyLaws) -> KeyRecord:
    return KeyRecord(
        "log" if one.key.log else "linear",
        Ends(one.low, one.high),
        one.status,
        int(np.isfinite(one.side).sum()),
        {"low": int((one.side < 0).sum()), "high": int((one.side > 0).sum())},
        [_setting_law(law) for law in one.laws],
    )


def _setting_law(law: SettingLaw) -> SettingLawRecord:
    centre = dict(zip(law.against, law.centre, strict=True))
    return SettingLawRecord(
        law.against, dict(law.coefficients), centre, law.constant, law.covariance.tolist(), law.spread, law.n
    )

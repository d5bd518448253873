"""Records of what tuning changed and of how the best settings move with size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_scaling.reporting.documents.tuning_records import (
    OK,
    ChangeSlice,
    Ends,
    Guess,
    KeyRecord,
    PredictedSettings,
    SettingLawRecord,
    SettingsRecord,
    TuningRecord,
)  # fmt: skip
from mnist_scaling.settings.optimal_settings import SettingsLaws
from mnist_scaling.settings.setting_laws import KeyLaws, SettingLaw, prior, share_of_range
from mnist_scaling.settings.tuning_change import SOURCES, TunedCells, TuningChange


def tuning_change_record(
    cells: TunedCells | None,
    rows: np.ndarray | None = None,
    found: TuningChange | None = None,
    setting: Mapping[str, Any] | None = None,
    why: str = "",
) -> TuningRecord:
    """What tuning changed; where it can't be computed its status says why.

    Parameters
    ----------
    cells : TunedCells, optional
        None where not even the cells' untuned losses are known.
    rows : array of int, shape (n,)
        Number of each cell in its file.
    found : TuningChange, optional
    setting : mapping, optional
        The untuned setting.
    why : str
        The reason where nothing was found.
    """
    if cells is None or rows is None:
        return TuningRecord(why or OK, setting or {})
    columns = {k: getattr(cells, k) for k in ("N", "D", *SOURCES, "tuned_se")}
    table = [{"row": rows[i], **{k: v[i] for k, v in columns.items()}} for i in range(len(rows))]
    if found is not None and not found.slices:
        why = "Fewer than three cells in a line have both an untuned run and repeats of the tuned setting."
    if found is None or why:
        return TuningRecord(why or OK, setting or {}, cells=table)
    slices = [ChangeSlice(s.variable, s.fixed, s.at, rows[s.index].tolist(), s.exponents) for s in found.slices]
    left_out = rows[found.left_out].tolist()
    return TuningRecord(OK, setting or {}, slices, found.plane, table, found.level, left_out)


def settings_laws_record(
    found: SettingsLaws | None, rows: Sequence[int] = (), why: str = "", at: Mapping[str, float] | None = None
) -> SettingsRecord:
    """How the best settings move with size; where there are no laws its status says why.

    Parameters
    ----------
    found : SettingsLaws, optional
    rows : sequence of int
        Number of each cell in its file.
    why : str
        The reason where nothing was found.
    at : mapping, optional
        N and D of a cell whose best settings are to be predicted.
    """
    if found is None:
        return SettingsRecord(why or OK)
    cells = []
    for i, row in enumerate(rows):
        best = {one.key.name: {**one.best[i].record(), "side": one.side[i]} for one in found.keys}
        cells.append({"row": row, "trials": found.trials[i], "used": bool(found.used[i]), "best": best})
    predicted = None
    if at:
        guesses = {
            name: Guess(i.value, i.low, i.high, share_of_range(i, one))
            for one in found.keys
            for name, i in prior([one], found.options.level, **at).items()
        }
        predicted = PredictedSettings(at, guesses)
    keys = {one.key.name: _key(one, found.used & np.isfinite(one.side)) for one in found.keys}
    options = found.options
    return SettingsRecord(why or OK, keys, cells, predicted, options.within, options.level, found.noise)


def _key(one: KeyLaws, known: np.ndarray) -> KeyRecord:
    return KeyRecord(
        "log" if one.key.log else "linear",
        Ends(one.low, one.high),
        one.status,
        one.curvature,
        int(known.sum()),
        {"low": int((one.side[known] < 0).sum()), "high": int((one.side[known] > 0).sum())},
        [_setting_law(law) for law in one.laws],
    )


def _setting_law(law: SettingLaw) -> SettingLawRecord:
    centre = dict(zip(law.against, law.centre, strict=True))
    return SettingLawRecord(
        law.against, dict(law.coefficients), centre, law.constant, law.covariance.tolist(), law.spread, law.bias, law.n
    )

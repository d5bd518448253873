"""fits.json from a `Result`: plain lists and numbers, strict JSON (a missing number is null)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_scaling.fitting.analysis import Result
from mnist_scaling.fitting.coverage import Coverage
from mnist_scaling.fitting.diagnostics import FEWEST_SETTLED
from mnist_scaling.fitting.frontier_intervals import FrontierResult, agreement
from mnist_scaling.fitting.headline import headline, nothing_to_quote
from mnist_scaling.fitting.inputs.rows import Table
from mnist_scaling.fitting.laws.base import Law
from mnist_scaling.fitting.selection.criteria import HoldOut
from mnist_scaling.fitting.selection.fitted import Fitted
from mnist_scaling.fitting.selection.slices import Slice
from mnist_scaling.fitting.sensitivity import Variant
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.settings.optimal_settings import KeyLaws, SettingLaw, SettingsLaws, TunedKey
from mnist_scaling.settings.setting_prior import prior, share_of_range
from mnist_scaling.settings.tuning_change import SOURCES, TunedCells, TuningChange
from mnist_scaling.study.flags import NOT_CONVERGED

SCHEMA = 1


def document(result: Result) -> dict[str, Any]:
    """The whole of fits.json; docs/fitting.md says what each key is."""
    table = result.table
    laws: dict[str, Any] = {k: _law(f, result) for k, f in result.fitted.items()}
    laws |= {k: _refused(*v, result) for k, v in result.refused.items()}
    out = {
        "schema": SCHEMA,
        "laws": laws,
        "selected": result.choice.selected,
        "selection": {
            "reason": result.choice.reason,
            "reference": result.reference,
            "weights": result.choice.weights,
            "simplest": result.choice.simplest,
            "stability": result.choice.stability,
        },
        "headline": headline(result),
        "frontier": {k: _frontier(v) for k, v in result.frontier.items()},
        "agreement": agreement(result.frontier),
        "slices": [_slice(part, fitted, why, table) for part, fitted, why in result.extra_slices],
        "predictions": [
            {**result.options.predict, "law": p.law, "loss": p.loss, "reach": p.reach} for p in result.predictions
        ],
        "lifetime": None if result.lifetime is None else vars(result.lifetime),
        "flags": [f.record() for f in result.flags],
        "cost": None if result.cost is None else vars(result.cost),
        "data": {"n": len(table), "rows": table.rows.tolist(), "masked": result.masked, "notes": result.notes},
        "settings": _settings(result),
    }
    return strict(out)


def not_fitted(why: str) -> dict[str, Any]:
    """The record of a table, or of an arm, to which nothing was fitted: the keys of `document` without a number."""
    return {
        "schema": SCHEMA,
        "why": why,
        "laws": {},
        "selected": None,
        "selection": {"reason": why, "reference": None, "weights": {}, "simplest": None, "stability": None},
        "headline": nothing_to_quote(why),
        "frontier": {},
        "agreement": [],
        "slices": [],
        "predictions": [],
        "lifetime": None,
        "flags": [],
        "cost": None,
        "data": {"n": 0, "rows": [], "left_out": [], "masked": [], "notes": []},
        "settings": {},
    }


def of_arms(arms: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole of fits.json for a table of several arms.

    Parameters
    ----------
    arms : sequence of dict
        One record of `document`, or of `not_fitted`, per arm, each with its "name" and "axes".
    """
    why = "Laws are fitted to each arm alone and never to several together: see `arms`."
    out = not_fitted(why) | {"arms": list(arms)}
    fitted = next(arm for arm in arms if arm["laws"])
    out["settings"] = dict(fitted["settings"])
    out["data"]["n"] = sum(arm["data"]["n"] for arm in arms)
    return out


def sensitivity_record(variants: Sequence[Variant]) -> list[dict[str, Any]]:
    """The key "sensitivity" of fits.json."""
    return list(strict([vars(v) for v in variants]))


def coverage_record(law: str, found: Sequence[Coverage]) -> dict[str, Any]:
    """The key "coverage" of fits.json."""
    return dict(strict({"law": law, "quantities": [vars(c) | {"share": c.share} for c in found]}))


def tuning_change_record(
    cells: TunedCells | None,
    rows: np.ndarray | None = None,
    found: TuningChange | None = None,
    setting: Mapping[str, Any] | None = None,
    why: str = "",
) -> dict[str, Any]:
    """The key "tuning_change" of fits.json; where it can't be computed its status says why.

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
    if found is not None and not found.slices:
        why = "Fewer than three cells in a line have both an untuned run and repeats of the tuned setting."
    out: dict[str, Any] = {"status": why or "ok", "setting": setting or {}, "slices": [], "plane": {}, "cells": []}
    if cells is not None and rows is not None:
        columns = {k: getattr(cells, k) for k in ("N", "D", *SOURCES, "tuned_se")}
        out["cells"] = [{"row": rows[i], **{k: v[i] for k, v in columns.items()}} for i in range(len(rows))]
    if found is not None and rows is not None and not why:
        out |= {"level": found.level, "plane": found.plane, "left_out": rows[found.left_out]}
        out["slices"] = [
            {"variable": s.variable, "fixed": s.fixed, "at": s.at, "rows": rows[s.index], **s.exponents}
            for s in found.slices
        ]
    return dict(strict(out))


def settings_laws_record(
    found: SettingsLaws | None, rows: Sequence[int] = (), why: str = "", at: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """The key "settings_laws" of fits.json; where there are none its status says why.

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
    out: dict[str, Any] = {"status": why or "ok", "keys": {}, "cells": [], "predicted": None}
    if found is None:
        return out
    out |= {"within": found.options.within, "level": found.options.level, "noise_log": found.noise}
    for one in found.keys:
        known = found.used & np.isfinite(one.side)
        out["keys"][one.key.name] = {
            "scale": "log" if one.key.log else "linear",
            "range": {"low": one.low, "high": one.high},
            "status": one.status,
            "curvature": one.curvature,
            "cells": int(known.sum()),
            "censored": {"low": int((one.side[known] < 0).sum()), "high": int((one.side[known] > 0).sum())},
            "laws": [_setting_law(law) for law in one.laws],
        }
    if at:
        settings = {
            name: {**guess.record(), "share_of_range": share_of_range(guess, one)}
            for one in found.keys
            for name, guess in prior([one], found.options.level, **at).items()
        }
        out["predicted"] = {"at": at, "settings": settings}
    for i, row in enumerate(rows):
        best = {one.key.name: {**one.best[i].record(), "side": one.side[i]} for one in found.keys}
        out["cells"].append({"row": row, "trials": found.trials[i], "used": bool(found.used[i]), "best": best})
    return dict(strict(out))


def _setting_law(law: SettingLaw) -> dict[str, Any]:
    return {
        "against": law.against,
        "exponents": dict(law.coefficients),
        "centre": dict(zip(law.against, law.centre, strict=True)),
        "constant": law.constant,
        "covariance": law.covariance,
        "spread": law.spread,
        "lean": law.lean,
        "n": law.n,
    }


def known_settings_laws(record: Mapping[str, Any]) -> list[KeyLaws]:
    """The laws in the key "settings_laws" of a fits.json, as `optimal_settings.prior` takes them."""
    return [
        KeyLaws(
            TunedKey(name, key["scale"] == "log"), key["status"], Interval.of(key["curvature"]), [], np.array([]),
            key["range"]["low"], key["range"]["high"],
            [
                SettingLaw(
                    tuple(law["against"]), {k: Interval.of(v) for k, v in law["exponents"].items()},
                    np.array([law["centre"][k] for k in law["against"]]), law["constant"],
                    np.array(law["covariance"], float), law["spread"], law["lean"], law["n"],
                )
                for law in key["laws"]
            ],
        )
        for name, key in record["keys"].items()
    ]  # fmt: skip


def strict(value: Any) -> Any:
    """NaN and infinities as None, numpy as Python, so that any JSON reader takes it."""
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    if isinstance(value, np.ndarray):
        return strict(value.tolist())
    if isinstance(value, Interval):
        return strict(value.record())
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _law(f: Fitted, result: Result) -> dict[str, Any]:
    fit = f.fit
    concerned = result.law_flags.get(f.law.name, [])
    return {
        "formula": f.law.formula,
        "source": f.law.source,
        "inputs": list(f.law.inputs),
        "empirical": f.law.empirical,
        "status": _status(f),
        "n": fit.n,
        "objective": fit.objective,
        "rmse_log": fit.rmse,
        "aicc": f.aicc,
        "holdout": _holdout(f.holdout, result.table, f.part),
        "rolling_origin": _holdout(f.rolling, result.table, f.part),
        "held_out_rmse_log": f.held_out,
        "params": f.params,
        "units": {p.name: p.unit for p in f.law.parameters},
        "slopes": f.slopes,
        "flags": concerned,
        "slice": f.part.record(result.table) if f.part.variable else None,
        "fit": {
            "delta": fit.delta.value,
            "delta_reason": fit.delta.reason,
            "starts": fit.starts,
            "polished": fit.polished,
            "agreeing": fit.agreeing,
            "condition": fit.condition,
            "ridge": list(fit.ridge),
            "at_bound": list(fit.at_bound),
            "noise_log": float(np.sqrt(np.mean(f.noise.sigma**2))),
            "freedom": f.noise.freedom,
            "misfit": f.noise.misfit,
            "misfit_p_value": f.noise.p_value,
            "shared_noise_log": 0.0 if f.noise.shared is None else f.noise.shared.size,
            "draws_converged": f.settled,
        },
        "profiles": {
            k: {"low": i.low, "high": i.high, "value": g, "deviance": d} for k, (i, g, d) in f.profiles.items()
        },
        "residuals": [
            {"row": int(result.table.rows[i]), "residual": float(r)}
            for i, r in zip(f.part.index, fit.residual, strict=True)
        ],
    }


def _status(f: Fitted) -> str:
    if f.law.empirical:
        return "a surface, no law"
    if not f.fit.converged:
        return NOT_CONVERGED
    if f.settled < FEWEST_SETTLED:
        return f"undetermined: {100 * f.settled:.0f} % of draws converge"
    if f.fit.at_bound:
        return f"at bound: {', '.join(f.fit.at_bound)}"
    if f.floor_rejected is False:
        return "floor not identified"
    if f.fit.ridge:
        return f"undetermined: {' and '.join(f.fit.ridge)} trade off"
    return "ok"


def _holdout(found: HoldOut | None, table: Table, part: Slice) -> dict[str, Any]:
    if found is None:
        return {"rmse_log": None, "n": 0, "rows": []}
    rows = [int(table.rows[part.index[i]]) for i in found.rows]
    return {"rmse_log": found.rmse_log, "n": found.n, "rows": rows, "reach": found.reach}


def _refused(law: Law, part: Slice, why: str, result: Result) -> dict[str, Any]:
    nothing = {p.name: Interval(np.nan) for p in law.parameters}
    empty: dict[str, Any] = {"rmse_log": None, "n": 0, "rows": []}
    return {
        "formula": law.formula,
        "source": law.source,
        "inputs": list(law.inputs),
        "status": why,
        "n": len(part.index),
        "objective": None,
        "rmse_log": None,
        "aicc": None,
        "holdout": empty,
        "rolling_origin": empty,
        "held_out_rmse_log": None,
        "params": nothing,
        "units": {p.name: p.unit for p in law.parameters},
        "slopes": {},
        "flags": result.law_flags.get(law.name, []),
        "slice": part.record(result.table) if part.variable else None,
    }


def _frontier(found: FrontierResult) -> dict[str, Any]:
    f = found.frontier
    return {
        **{k: v.record() for k, v in found.intervals.items()},
        "status": f.status,
        "flags": list(found.flags),
        "points": f.points,
        **f.extra,
    }


def _slice(part: Slice, fitted: Fitted | None, why: str, table: Table) -> dict[str, Any]:
    record = part.record(table) | {"law": f"power_{part.variable}", "status": why}
    if fitted is not None:
        record |= {"params": fitted.params, "rmse_log": fitted.fit.rmse, "n": fitted.fit.n}
    return record


def _settings(result: Result) -> dict[str, Any]:
    o = result.options
    return {
        "delta": o.settings.delta,
        "loss": o.settings.loss,
        "weights": o.settings.weights,
        "laws": o.laws,
        "bootstrap": {"draws": result.draws.number, "kind": result.draws.kind, "level": o.level, "seed": o.seed},
        "classes": o.classes,
        "mask_chance": o.mask_chance,
        "isoflop": o.isoflop,
    }

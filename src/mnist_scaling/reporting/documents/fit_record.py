"""The record of a fit, from a `Result`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mnist_scaling.fitting.analysis import Result
from mnist_scaling.fitting.diagnostics import Flag
from mnist_scaling.fitting.diagnostics.of_laws import FEWEST_SETTLED
from mnist_scaling.fitting.fitted import Fitted
from mnist_scaling.fitting.headline import Headline
from mnist_scaling.fitting.laws.base import Law
from mnist_scaling.fitting.slices import Slice
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting.documents import fits_json as file
from mnist_scaling.reporting.documents.fits_json import OK, Fits, LawRecord
from mnist_scaling.study.flags import NOT_CONVERGED


def fit_record(result: Result, more: Sequence[Flag] = (), certified: float | None = None) -> Fits:
    """The whole of fits.json; `more` are flags of the rows' origin, `certified` the share of cells that are."""
    table = result.table
    laws = {k: _law(f, result) for k, f in result.fitted.items()}
    laws |= {k: _refused(*v, result) for k, v in result.refused.items()}
    return Fits(
        laws=laws,
        selected=result.selected,
        headline=result.headline,
        frontier={
            k: file.FrontierRecord(**v.intervals, status=v.status, flags=v.flags, points=v.points, extra=v.extra)
            for k, v in result.frontier.items()
        },
        flags=[*result.flags, *more],
        cost=None if result.cost is None else vars(result.cost),
        data=file.DataRecord(
            len(table), table.rows.tolist(), result.masked, result.notes, certified=certified, tuned=table.tuned
        ),
        settings=_settings(result),
    )


def not_fitted(why: str) -> Fits:
    """The record of a table, or of an arm, to which nothing was fitted."""
    return Fits(why=why, headline=Headline.absent(why))


def of_arms(arms: Sequence[Fits]) -> Fits:
    """The whole of fits.json for a table of several arms: one record of `fit_record` or `not_fitted` per arm."""
    whole = not_fitted("Laws are fitted to each arm alone and never to several together: see `arms`.")
    fitted = next(arm for arm in arms if arm.laws)
    data = replace(whole.data, n=sum(arm.data.n for arm in arms))
    return replace(whole, arms=arms, settings=dict(fitted.settings), data=data)


def _law(f: Fitted, result: Result) -> LawRecord:
    fit = f.fit
    return replace(
        _refused(f.law, f.part, _status(f), result),
        n=fit.n,
        objective=fit.objective,
        rmse_log=fit.rmse,
        aicc=f.aicc,
        holdout=replace(f.holdout, rows=result.table.rows[f.part.rows][list(f.holdout.rows)].tolist()),
        params=f.params,
        slopes=f.slopes,
        fit={
            "delta": fit.delta.value,
            "delta_reason": fit.delta.reason,
            **{k: getattr(fit, k) for k in ("starts", "polished", "agreeing", "condition", "ridge", "at_bound")},
            "noise_log": float(np.sqrt(np.mean(f.noise.sigma**2))),
            "freedom": f.noise.dof,
            "misfit": f.noise.misfit,
            "misfit_p_value": f.noise.p_value,
            "shared_noise_log": 0.0 if f.noise.shared is None else f.noise.shared.size,
            "draws_converged": f.settled,
        },
        residuals=[
            {"row": result.table.rows[i], "residual": r} for i, r in zip(f.part.rows, fit.residual, strict=True)
        ],
    )


def _status(f: Fitted) -> str:
    if not f.fit.converged:
        return NOT_CONVERGED
    if f.settled < FEWEST_SETTLED:
        return f"undetermined: {100 * f.settled:.0f} % of draws converge"
    if f.fit.at_bound:
        return f"at bound: {', '.join(f.fit.at_bound)}"
    if f.floor is not None and not f.floor.low > 0:
        return "floor not identified"
    if f.fit.ridge:
        return f"undetermined: {' and '.join(f.fit.ridge)} trade off"
    return OK


def _refused(law: Law, part: Slice, why: str, result: Result) -> LawRecord:
    return LawRecord(
        formula=law.formula,
        source=law.source,
        inputs=law.inputs,
        status=why,
        n=len(part.rows),
        params={p.name: Interval() for p in law.parameters},
        units={p.name: p.unit for p in law.parameters},
        flags=result.law_flags.get(law.name, []),
        slice=replace(part, rows=result.table.rows[part.rows].tolist()) if part.variable else None,
    )


def _settings(result: Result) -> dict[str, Any]:
    o = result.options
    bootstrap = {"draws": result.draws.number, "kind": result.draws.kind, "level": o.level, "seed": o.seed}
    own = {key: getattr(o, key) for key in ("classes", "mask_chance", "isoflop")}
    return {**vars(o.settings), "laws": o.laws, "bootstrap": bootstrap, **own}

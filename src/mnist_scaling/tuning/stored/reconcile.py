"""Before a sweep submits anything: the records of its runs against the trials in its storage.

A record (result.json) is what was measured; the storage is what samplers and pruners learn from, and it can be emptied,
changed or damaged. The records take precedence: what the storage lacks is imported from them, so that the study goes on
with the same rows as if nothing had happened. A run without a record is made again. Where both speak of one place in a
cell but differ, the place is named and nothing is touched.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_scaling.errors import InputError
from mnist_scaling.study import files, identity, layout
from mnist_scaling.study.columns import column_of
from mnist_scaling.study.vocabulary import COMPLETE, DIVERGED, FAILED, NOTES, PRUNED, TRIAL
from mnist_scaling.tuning.cell.cell_study import PLAN, CellStudy
from mnist_scaling.tuning.cell.trials import GROUP, INDEX, ORIGIN, OWNER, counting
from mnist_scaling.tuning.stored.storage import loss_for_optuna, tell_record
from mnist_scaling.tuning.sweep.ledger import Ledger

_STATES = {
    COMPLETE: TrialState.COMPLETE,
    DIVERGED: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    FAILED: TrialState.FAIL,
}
"""Optuna's state of a run in each of ours (`storage.tell`)."""

_NAMED = 5
"""Lost runs that the warning names."""


@dataclass
class _Differences:
    """What a cell's storage lacks, and what its folder lacks."""

    study: CellStudy
    unknown: list[int] = field(default_factory=list)
    """Places that have a record but no trial."""
    untold: list[FrozenTrial] = field(default_factory=list)
    """Trials that have not ended, and that have a record."""
    half: list[FrozenTrial] = field(default_factory=list)
    """Trials that were killed while their settings were written, at places that have a record."""
    lost: list[FrozenTrial] = field(default_factory=list)
    """Finished trials without a record."""


def reconcile(studies: Sequence[CellStudy], ledger: Ledger, together: int) -> None:
    """Make the storage of a study agree with its records; after a kill in between, the next call does the rest.

    Parameters
    ----------
    studies : sequence of CellStudy
    ledger : Ledger
        The rows of the study's records.
    together : int
        Trials of a cell that are asked for together.

    Raises
    ------
    InputError
        When a record and a trial differ, when a record is another study's, or when the folder has lost all of its
        records. Nothing has been written then.
    """
    plans = [_plan(study, ledger) for study in studies]
    found = [_compare(study, ledger) for study in studies]
    _check_lost(found, ledger)
    ranges = [study.ranges_with(plan) for study, plan in zip(studies, plans, strict=True)]
    imported = [
        [_imported(one.study, ledger, place, at, together) for place in one.unknown]
        for one, at in zip(found, ranges, strict=True)
    ]
    for one, plan, trials in zip(found, plans, imported, strict=True):
        one.study.restore(plan)
        for trial in (*one.half, *one.lost):
            one.study.reclaim(trial.number)
        for trial in one.untold:
            record = _record(one.study, ledger, trial.user_attrs[INDEX])
            tell_record(one.study.study, trial.number, record)
        one.study.store(trials)
    if lost := [f"{one.study.cell.name} trial {t.user_attrs[INDEX]}" for one in found for t in one.lost]:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        print(
            f"Warning: the records of {len(lost)} finished runs are gone, so that they are run again: "
            f"{', '.join(lost[:_NAMED])}{more}.",
            file=sys.stderr,
        )


def same_setting(params: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a setting is the one in a row of trials.csv, as far as that has it."""
    return all(_alike(value, row[column]) for key, value in params.items() if (column := column_of(key)) in row)


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are one: a choice may be a number in the storage and text in a config."""
    if isinstance(one, float) and isinstance(other, int | float):
        return isclose(one, other, rel_tol=1e-12)  # databases keep 15 digits at least
    return bool(one == other) or str(one) == str(other)


def _plan(study: CellStudy, ledger: Ledger) -> Mapping[str, Any]:
    """What the cell's own record says about its first settings and its wider ranges."""
    record = files.read_json(ledger.folder / study.cell.folder / layout.CELL) or {}
    return record.get(PLAN, {})


def _compare(study: CellStudy, ledger: Ledger) -> _Differences:
    found = _Differences(study)
    rows = {int(row["number"]): row for row in ledger.cell(study.cell, TRIAL)}
    trials = {t.user_attrs[INDEX]: t for t in counting(study.study) if INDEX in t.user_attrs}
    for place, row in rows.items():
        trial = trials.get(place)
        if trial is None or trial.state == TrialState.WAITING:  # a queued one is taken out of the queue later on
            found.unknown.append(place)
        elif trial.params.keys() != study.cell.space.keys() and not trial.state.is_finished():
            found.half.append(trial)
            found.unknown.append(place)
        elif not same_setting(trial.params, row):
            raise _differ(study, place, "another setting")
        elif not trial.state.is_finished():
            found.untold.append(trial)
        elif not _same_outcome(trial, row):
            raise _differ(study, place, "another outcome")
    found.lost = [t for place, t in trials.items() if t.state.is_finished() and place not in rows]
    return found


def _same_outcome(trial: FrozenTrial, row: Mapping[str, Any]) -> bool:
    if trial.state != _STATES[row["state"]]:
        return False
    told = loss_for_optuna(row["state"], row.get("val_loss"))
    return told is None or _alike(trial.value, told)


def _differ(study: CellStudy, place: int, what: str) -> InputError:
    return InputError(
        f"The storage and the records of a study must agree, but trial {place} of cell '{study.cell.name}' has {what} "
        f"in the storage than in its {layout.RESULT}: if the records are right, delete the study's Optuna studies from "
        f"the storage (of the default one, the file {layout.JOURNAL}), and they are made again from the records; else "
        "restore the folder, or give the new study another `name=`."
    )


def _check_lost(found: Sequence[_Differences], ledger: Ledger) -> None:
    """Refuse when a storage full of trials meets a folder without any record: one of the two is not this study's."""
    lost = sum(trial.state != TrialState.FAIL for one in found for trial in one.lost)
    if lost and not ledger.rows:
        raise InputError(
            f"A study's folder must hold the records of its finished runs, but {ledger.folder} has none and the "
            f"storage has {lost} finished trials: restore the folder, give the new study another `name=`, or, to begin "
            f"anew, delete its Optuna studies from the storage (of the default one, the file {layout.JOURNAL})."
        )


def _imported(
    study: CellStudy,
    ledger: Ledger,
    place: int,
    ranges: Mapping[str, BaseDistribution],
    together: int,
) -> FrozenTrial:
    """The trial of a record, as the storage would have it."""
    path, record = ledger.record_path(study.cell, TRIAL, place), _record(study, ledger, place)
    config, result = record["config"], record["result"] or {}
    cell = study.cell
    settings = identity.settings(config, cell.defaults, cell.space)
    if differences := identity.differences(settings, cell.settings, cell.defaults, cell.space):
        raise InputError(
            f"A record must be its study's own, but {path} differs from cell '{cell.name}': {', '.join(differences)}; "
            "move it away, or set the configuration back."
        )
    reports = {step: loss for step, (_, loss) in enumerate(result.get("reports", []), start=1)}
    value = loss_for_optuna(record["state"], result.get("val_loss"))
    if record["state"] == PRUNED and reports:
        value = reports[len(reports)]  # as Optuna does when it is told
    params = {key: _choice(ranges[key], config[key]) for key in cell.space}
    try:
        return create_trial(
            state=_STATES[record["state"]],
            value=value,
            params=params,
            distributions=dict(ranges),
            user_attrs={
                ORIGIN: record["origin"],
                OWNER: [config.get("trial.host"), config.get("trial.owner")],
                GROUP: place - place % together,
                INDEX: place,
            },
            system_attrs=record.get(NOTES) or {},
            intermediate_values=reports,
        )
    except ValueError as error:
        raise InputError(
            f"A trial must lie in the ranges of its cell, but that of {path} does not ({error}): restore "
            f"{ledger.folder / cell.folder / layout.CELL}, which has the ranges that were widened."
        ) from error


def _record(study: CellStudy, ledger: Ledger, place: int) -> dict[str, Any]:
    record = files.read_json(ledger.record_path(study.cell, TRIAL, place))
    assert record is not None, "a row comes from its record"
    return record


def _choice(distribution: BaseDistribution, value: Any) -> Any:
    """A value of a config as the distribution has it."""
    if isinstance(distribution, CategoricalDistribution):
        return next((choice for choice in distribution.choices if _alike(choice, value)), value)
    return value

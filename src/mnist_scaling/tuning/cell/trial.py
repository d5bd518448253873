"""Trials and repeats as a cell's records have them, as Optuna has them, and as other cells start from them.

A setting is carried to another cell as it is. Two rules that change the learning rate on the way, 1 / sqrt(fan-in) and
a regression on fan-in and steps, were measured to lose to this one by more than two to one (LOG.md, 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnist_scaling.study.columns import COMPLETE, DIVERGED, DIVERGED_VALUE, FAILED, NOTES, PRUNED, RANGES, SAMPLER
from mnist_scaling.study.tables.selection import is_undertrained, selected
from mnist_scaling.tuning.cell import search_space
from mnist_scaling.tuning.cell.composition import Cell

RUNNING = "RUNNING"
"""State of a trial beside finished ones: its setting is known, its outcome not."""

_STATES = {
    COMPLETE: TrialState.COMPLETE,
    DIVERGED: TrialState.COMPLETE,
    PRUNED: TrialState.PRUNED,
    FAILED: TrialState.FAIL,
    RUNNING: TrialState.RUNNING,
}
"""Optuna's state of a trial in each of ours."""


@dataclass(frozen=True)
class Trial:
    """A setting that is tried, with its outcome once there is one."""

    index: int
    """Number within the cell, from 0."""
    params: Mapping[str, Any]
    """Config key to value."""
    ranges: Mapping[str, BaseDistribution]
    """Config key to the range in which the setting was asked for."""
    origin: str = SAMPLER
    state: str = RUNNING
    value: float | None = None
    """What Optuna is told: the loss, of a pruned run the last report, of a diverged one `DIVERGED_VALUE`."""
    reports: tuple[float, ...] = ()
    """Losses on the way."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What sampler and pruner keep with the trial."""
    seconds: float | None = None
    flags: str | None = None
    spent: float | None = None
    """FLOPs that the run took."""
    is_cut: bool = False
    """Whether a cap cut the run short that is higher by now."""

    @property
    def loss(self) -> float | None:
        """The validation loss of a run that came to its end; None for any other."""
        return self.value if self.state == COMPLETE else None


@dataclass(frozen=True)
class RepeatRun:
    """A run of a selected setting with a seed of its own."""

    number: int
    seed: int
    setting: Mapping[str, Any]
    """Config key to value: the tuned keys, and `Task.last` where runs have branches."""
    is_cut: bool = False
    """As of a `Trial`."""

    def covers(self, setting: Mapping[str, Any], last: str) -> bool:
        """Whether the run had this setting, and went as far as its branch, the value of the key `last`, or further."""
        own = self.setting
        return not self.is_cut and all(own[k] >= v if k == last else own.get(k) == v for k, v in setting.items())


def trial_from_record(record: Mapping[str, Any], cell: Cell) -> Trial:
    """The trial of a run's record; raises KeyError or ValueError when it has no range or value of a tuned key."""
    ranges = {key: json_to_distribution(record[RANGES][key]) for key in cell.space}
    result = record["result"] or {}
    reports = tuple(float(loss) for _, loss in result.get("reports", []))
    value = {COMPLETE: result.get("val_loss"), DIVERGED: DIVERGED_VALUE, PRUNED: reports[-1] if reports else None}
    return Trial(
        record["number"],
        {key: _choice(ranges[key], record["config"][key]) for key in ranges},
        ranges,
        record["origin"],
        record["state"],
        value.get(record["state"]),
        reports,
        record[NOTES],
        record["seconds"],
        result.get("flags"),
        result.get("flops_spent"),
        _is_cut(record, cell),
    )


def _is_cut(record: Mapping[str, Any], cell: Cell) -> bool:
    """Whether a run had not converged at its cap, and the cap is higher now."""
    cut, cap = is_undertrained((record["result"] or {}).get("flags")), cell.values.get(cell.task.cap)
    return cut and cap is not None and bool(record["config"].get(cell.task.cap, cap) < cap)


def repeat_from_record(record: Mapping[str, Any], cell: Cell) -> RepeatRun:
    """The repeat of a run's record."""
    setting = {key: value for key, value in record["config"].items() if key in (*cell.space, cell.task.last)}
    return RepeatRun(record["number"], record["seed"], setting, _is_cut(record, cell))


def _choice(distribution: BaseDistribution, value: Any) -> Any:
    """A value of a config as its range has it: a choice may be a number there and text in a config."""
    if isinstance(distribution, CategoricalDistribution):
        return next((choice for choice in distribution.choices if choice == value or str(choice) == str(value)), value)
    return value


def frozen(
    trial: Trial,
    ranges: Mapping[str, BaseDistribution] | None = None,
    value: float | None = None,
    running: bool = False,
    **more: Any,
) -> FrozenTrial:
    """A trial as Optuna has it, if wanted with another loss, as still running, or in other ranges.

    A value outside the ranges is moved to the end. `more` is for `optuna.trial.create_trial`.
    """
    ranges = trial.ranges if ranges is None else ranges
    state = RUNNING if running else trial.state
    return create_trial(
        state=_STATES[state],
        value=None if running else trial.value if value is None else value,
        params={key: search_space.clipped(ranges[key], v) for key, v in trial.params.items()},
        distributions=dict(ranges),
        system_attrs=dict(trial.notes),
        intermediate_values={} if running else dict(enumerate(trial.reports, start=1)),
        **more,
    )


def best(trials: Iterable[Trial]) -> Trial | None:
    """The trial that is `selected` of those that came to their end."""
    done = {t.index: t for t in trials if t.loss is not None}
    rows = [
        {**t.params, "number": t.index, "val_loss": t.loss, "flags": t.flags, "flops_spent": t.spent}
        for t in done.values()
    ]
    row = selected(rows, {key for t in done.values() for key in t.params})
    return None if row is None else done[row["number"]]


def carried_settings(cell: Cell, neighbours: Sequence[Sequence[Trial]]) -> list[dict[str, Any]]:
    """What a cell tries first: its neighbours' selected settings, duplicates left out.

    A neighbour that tunes other keys, another optimiser's for example, has nothing to carry.
    """
    carried: list[dict[str, Any]] = []
    for trials in neighbours:
        selected_trial = best(trials)
        setting = {} if selected_trial is None else dict(selected_trial.params)
        if setting and setting.keys() == cell.space.keys() and setting not in carried:
            carried.append(setting)
    return carried


def shifted_trials(
    ranges: Mapping[str, BaseDistribution], own: Sequence[Trial], neighbour: Sequence[Trial]
) -> list[FrozenTrial]:
    """A neighbour's trials as if they were this cell's, in its present ranges, for a sampler to learn from.

    Losses are shifted, in logs, so that the neighbour's best is where this cell's run of the same setting is: the two
    loss landscapes are taken to differ in height only. A value outside the ranges is moved to the end.
    """
    least, here = (
        min((t.value for t in trials if t.state in (COMPLETE, DIVERGED) and t.value), default=None)
        for trials in (neighbour, own)
    )
    theirs = best(neighbour)
    if least is None or here is None or theirs is None or theirs.params.keys() != ranges.keys():
        return []
    # The carried settings are tried first, so the best loss so far is at most that of the carried setting.
    shift = here / least
    return [
        frozen(trial, ranges, None if trial.value is None else min(trial.value * shift, DIVERGED_VALUE))
        for trial in neighbour
        if trial.state in (COMPLETE, DIVERGED, PRUNED)
    ]

"""What a cell runs next: a pure function of its finished runs, and of its neighbours' finished trials.

The trials of a cell go in rounds of `trials_per_batch`. None of a round learns from another, and all that is decided
between rounds, such as a wider range, follows from the trials of earlier rounds. So it does not matter which worker
was faster, or what was killed: a trial whose record was lost is asked for again with the same setting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from math import ceil
from typing import Any

import optuna
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from mnist_scaling.errors import require
from mnist_scaling.study.columns import CONTROL, SAMPLER, SEED, TRANSFER
from mnist_scaling.tuning.cell import optuna_objects, search_space
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.trial import RepeatRun, Trial, best, carried_settings, frozen, shifted_trials

LEARNERS = (optuna.samplers.TPESampler, optuna.samplers.GPSampler)
"""Samplers that are told other cells' trials; others follow a sequence of their own, or keep a state."""

_SEEDS_APART = 1000
"""Distance between the seeds of a cell's repeats where cells differ by their seeds, which are neighbours."""


@dataclass(frozen=True)
class Effort:
    """How much is tried in every cell; meanings in conf/hydra/sweeper/cells.yaml."""

    n_trials: int
    n_repeats: int
    trials_per_batch: int = 1
    widen: bool = False
    repeat_control: bool = False

    def __post_init__(self) -> None:
        for key, least in (("n_trials", 1), ("n_repeats", 0), ("trials_per_batch", 1)):
            value = getattr(self, key)
            require(
                isinstance(value, int) and value >= least,
                f"`hydra.sweeper.{key}` must be a whole number of {least} or more, but got {value}.",
            )
        require(isinstance(self.widen, bool), f"`hydra.sweeper.widen` must be true or false, but got {self.widen}.")

    def of(self, cell: Cell) -> Effort:
        """A cell's own, where a list of cells gives it one; with nothing to tune all trials would be the same run."""
        return replace(self, **{**cell.effort, **({} if cell.space else {"n_trials": 1})})


def next_trials(
    cell: Cell, trials: Sequence[Trial], neighbours: Sequence[Sequence[Trial]], effort: Effort, sampler: DictConfig
) -> list[Trial]:
    """The running trials that the cell's first unfinished round lacks, from its finished ones and its neighbours'."""
    known = {trial.index: trial for trial in trials}
    left, first = effort.of(cell).n_trials - len(trials), next(index for index in count() if index not in known)
    start = first - first % effort.trials_per_batch
    current = _round(cell, known, start, neighbours, effort)
    asked: list[Trial] = []
    for index in range(first, start + effort.trials_per_batch):
        if index not in known and len(asked) < left:
            known[index] = _trial(cell, index, known, current, neighbours, sampler)
            asked.append(known[index])
    return asked


@dataclass(frozen=True)
class _Round:
    """What was settled before a round began."""

    earlier: Sequence[Trial]
    """Trials of earlier rounds."""
    ranges: Mapping[str, BaseDistribution]
    planned: Mapping[int, tuple[Mapping[str, Any], str]]
    """Trial index to the setting that is tried there and its origin, where the sampler is not asked."""


def _round(
    cell: Cell, known: Mapping[int, Trial], start: int, neighbours: Sequence[Sequence[Trial]], effort: Effort
) -> _Round:
    """The round that begins at a trial index."""
    earlier = [known[index] for index in range(start)]
    beside = [known[i] for i in range(start, start + effort.trials_per_batch) if i in known]
    carried = carried_settings(cell, neighbours)
    planned: list[tuple[Mapping[str, Any], str]] = [(setting, TRANSFER) for setting in carried]
    if control := search_space.baseline(cell.space, cell.values):
        # Every cell tries the same setting, which is what an untuned grid would run.
        planned.append((control, CONTROL))
    before = earlier[-1].ranges if earlier else _holding(cell.space, carried)
    later = next((known[index] for index in sorted(known) if index >= start), None)
    # A range that has grown since the study began holds in rounds that nobody has asked for in the older one.
    older = before
    if earlier and not (later and not all(search_space.holds(later.ranges[k], own) for k, own in cell.space.items())):
        before = {key: search_space.joined(cell.space[key], before[key]) for key in cell.space}
    ranges, tested = _widened(cell, earlier, before, effort, beside[0].ranges if beside else None)
    tests = [*([tested] if tested else []), *_cut_short(earlier), *_beyond(older, before, earlier)]
    tested_at = {start + place: (setting, SAMPLER) for place, setting in enumerate(tests)}
    # Neighbours that have gone on since this cell began select other settings, but it began with those of then.
    begun = any(trial.origin != TRANSFER for trial in earlier)
    return _Round(earlier, ranges, tested_at | ({} if begun else dict(enumerate(planned))))


def _cut_short(earlier: Sequence[Trial]) -> list[Mapping[str, Any]]:
    """The best setting, where a cap that is higher by now cut its run short and no later run has taken it on."""
    selected = best(earlier)
    if selected is None or not selected.is_cut:
        return []
    later = [trial for trial in earlier if trial.index > selected.index and not trial.is_cut]
    again = any(trial.params == selected.params for trial in later)
    return [] if again else [selected.params]


def _beyond(
    older: Mapping[str, BaseDistribution], ranges: Mapping[str, BaseDistribution], earlier: Sequence[Trial]
) -> list[Mapping[str, Any]]:
    """The best setting with one value moved into what is new of its range, where it lay at the older one's edge."""
    selected = best(earlier)
    values = {} if selected is None else selected.params
    moved = {key: search_space.beyond(older[key], ranges[key], value) for key, value in values.items()}
    return [{**values, key: value} for key, value in moved.items() if value is not None]


def _holding(
    space: Mapping[str, BaseDistribution], settings: Sequence[Mapping[str, Any]]
) -> dict[str, BaseDistribution]:
    """Ranges that grow to hold values that other cells found beyond them."""
    ranges = dict(space)
    for setting in settings:
        ranges = {key: search_space.including(ranges[key], setting[key]) for key in ranges}
    return ranges


def _widened(
    cell: Cell,
    earlier: Sequence[Trial],
    before: Mapping[str, BaseDistribution],
    effort: Effort,
    known: Mapping[str, BaseDistribution] | None,
) -> tuple[Mapping[str, BaseDistribution], dict[str, Any]]:
    """The ranges of the round that follows, and the setting that tests a range that was widened for it, if any.

    A range on whose edge the best setting lies is widened from halfway through the trials on, once per key, and one
    key at a time, because its setting is the next trial. Where a trial of the round is `known`, its ranges tell.
    """
    selected = best(earlier)
    if selected is None:
        return known or before, {}
    if known is not None:
        keys = [key for key in before if known[key] != before[key]]
    elif effort.widen and len(earlier) >= ceil(effort.n_trials / 2):
        keys = [key for key in before if before[key] == cell.space[key]]
    else:
        keys = []
    for key in keys:
        widened = search_space.widened(before[key], selected.params[key], cell.limits.get(key, ()))
        if widened is not None:
            return known or {**before, key: widened[0]}, {**selected.params, key: widened[1]}
    return known or before, {}


def _trial(
    cell: Cell,
    index: int,
    known: Mapping[int, Trial],
    current: _Round,
    neighbours: Sequence[Sequence[Trial]],
    sampler: DictConfig,
) -> Trial:
    """The trial of an index: what is planned for it, else what the sampler proposes."""
    if index in current.planned:
        setting, origin = current.planned[index]
        return Trial(index, {key: setting[key] for key in cell.space}, current.ranges, origin)
    beside = [known[i] for i in range(len(current.earlier), index) if i in known]
    params, notes = _proposed(current, beside, neighbours, _make_sampler(sampler, cell, index))
    return Trial(index, params, current.ranges, SAMPLER, notes=notes)


def _proposed(
    current: _Round, beside: Sequence[Trial], neighbours: Sequence[Sequence[Trial]], sampler: BaseSampler
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A setting that the sampler proposes, and the state that it wants kept with the trial.

    All trials are shown in the present ranges; otherwise a multivariate model would leave out a key whose range was
    widened.
    """
    study = optuna.create_study(direction="minimize", sampler=sampler)
    ranges = current.ranges
    if isinstance(sampler, LEARNERS):
        for neighbour in neighbours:
            study.add_trials(shifted_trials(ranges, current.earlier, neighbour))
    study.add_trials([frozen(trial, ranges) for trial in current.earlier])
    # Trials of the same round count as running, also where a resume finds them finished.
    study.add_trials([frozen(trial, ranges, running=True) for trial in beside])
    # A quasi-random sequence counts its own steps, so all earlier ones are drawn again.
    drawn = _drawn([*current.earlier, *beside]) if isinstance(sampler, optuna.samplers.QMCSampler) else 0
    trial = [study.ask(dict(ranges)) for _ in range(drawn + 1)][-1]
    return trial.params, study.get_trials(deepcopy=False)[trial.number].system_attrs


def _drawn(trials: Sequence[Trial]) -> int:
    """Trials whose setting is one of a quasi-random sequence, which a cell's very first trial never is."""
    tested = {trial.index for before, trial in pairwise(trials) if trial.ranges != before.ranges}
    return sum(t.index > 0 and t.index not in tested and t.origin == SAMPLER for t in trials)


def _make_sampler(node: DictConfig, cell: Cell, index: int) -> BaseSampler:
    """A new sampler for each trial, seeded with (seed, cell, index).

    If one seeded sampler served all trials, it would repeat its first draws after a resume, and one seed would give
    all cells the same draws.
    """
    # A quasi-random sequence is one sequence: its seed scrambles it and must not change on the way.
    drawn_at = 0 if str(node.get("_target_")).endswith("QMCSampler") else index
    text = f"{cell.seed}/{cell.name}/{drawn_at}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return optuna_objects.make(node, seed=seed)  # type: ignore[no-any-return]


def missing_repeats(
    cell: Cell, selected: Sequence[Mapping[str, Any]], known: Sequence[RepeatRun], n_repeats: int
) -> list[RepeatRun]:
    """For each selected setting, of which branches may select several, its repeats that have no record yet.

    Repeat i of setting j has the number j n_repeats + i or, where another run has that number, the next free one: no
    finished run gives way to another. A repeat of an older selection keeps its record, and counts for nothing; of one
    whose branches a longer one measures, too, these branches don't count (`current_repeats`).
    """
    apart = _SEEDS_APART if SEED in cell.keys else 1
    # No trial has seen these seeds, so the repeats don't share the luck of the selected trial.
    seeds = [cell.seed + apart * (i + 1) for i in range(n_repeats)]
    taken = {repeat.number for repeat in known}
    lacking: list[RepeatRun] = []
    for j, setting in enumerate(selected):
        measured = {repeat.seed for repeat in known if repeat.covers(setting, cell.task.last)}
        for i, seed in enumerate(seeds):
            if seed not in measured:
                number = next(n for n in count(j * n_repeats + i) if n not in taken)
                taken.add(number)
                lacking.append(RepeatRun(number, seed, setting))
    return lacking

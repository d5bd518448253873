"""One cell, from its first trial to its last repeat: what it needs next, and when it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import ceil
from typing import Any

from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import SEED
from mnist_scaling.study.vocabulary import REPEAT, TRIAL
from mnist_scaling.tuning.cell import certificate
from mnist_scaling.tuning.cell.cell_study import PLAN, CellStudy
from mnist_scaling.tuning.cell.trials import counting
from mnist_scaling.tuning.grid import search_space
from mnist_scaling.tuning.stored.patience import forget
from mnist_scaling.tuning.stored.storage import tell_record
from mnist_scaling.tuning.stored.study_copy import StudyCopy
from mnist_scaling.tuning.sweep.ledger import LAST, Ledger
from mnist_scaling.tuning.workers.job import Job

_SEEDS_APART = 1000
"""Distance between the seeds of a cell's repeats where cells differ by their seeds, which are neighbours."""


@dataclass(frozen=True)
class Effort:
    """How much is tried in every cell; meanings in conf/hydra/sweeper/cells.yaml."""

    n_trials: int
    n_repeats: int
    trials_per_batch: int = 1
    widen: bool = False
    stop_below: float | None = None


class CellTuner:
    """Asks for trials until the cell has all of them; then repeats its selected setting.

    Parameters
    ----------
    study : CellStudy
    ledger : Ledger
    effort : Effort
    """

    def __init__(self, study: CellStudy, ledger: Ledger, effort: Effort) -> None:
        self.study, self.cell, self._ledger, self._effort = study, study.cell, ledger, effort
        self.running: list[Job] = []
        self._left: int | None = None
        self._repeated = False

    def recover(self) -> None:
        """After a kill: reclaim what was not finished; what was has been told to the storage before (`reconcile`)."""
        for trial in self.study.running():
            self.study.reclaim(trial.number)
        if self.study.opened:
            self.write()

    def open(self, transferred: Sequence[Mapping[str, Any]]) -> None:
        """Fix the settings that the cell starts with."""
        self.study.open(transferred)
        self.write()

    def write(self, **more: Any) -> None:
        """Write the cell's own record: what it is, and what is tuned in which ranges."""
        space, widened = self.study.space, sorted(self.study.widened)
        content = {"name": self.cell.name, "keys": self.cell.keys, "axes": self.cell.axes}
        content |= {"space": search_space.describe(space), "limits": self.cell.limits, "widened": widened}
        content |= {PLAN: self.study.plan, **more}
        files.write_json(self._ledger.folder / self.cell.folder / layout.CELL, content)

    @property
    def trials_left(self) -> int:
        """Trials still to be finished, none once further ones are expected to gain too little."""
        if self._left is None:
            self._left = self._count_left()
        return self._left

    def _count_left(self) -> int:
        effort, counted = self._effort, self.study.counted()
        if effort.stop_below is not None and counted >= max(certificate.LEAST_TRIALS, effort.n_trials / 2):
            # Between rounds only, because within one the answer depends on which worker was faster or was killed.
            if self._between_rounds():
                gain = certificate.expected_gain(*certificate.losses(counting(self.study.study)))
                if gain is not None and gain < effort.stop_below:
                    return 0
        # With nothing to tune, all trials would be the same run.
        wanted = effort.n_trials if self.cell.space else min(effort.n_trials, 1)
        return max(wanted - counted, 0)

    def _between_rounds(self) -> bool:
        """Whether the next trial begins a round, and no trial of that round was ever asked for."""
        first = self.study.next_index()
        return (
            first == self.study.counted()
            and first % self._effort.trials_per_batch == 0
            and (self.study.untouched_from(first))
        )

    @property
    def tuned(self) -> bool:
        """Whether all trials are done, and their records were taken in.

        A worker tells its trial to the storage before the sweep hears that the job has ended, so the storage may be
        ahead of the ledger, from which the selected setting is read.
        """
        asked = any(job.stage == TRIAL for job in self.running)
        return self.study.opened and not asked and self.trials_left == 0

    def next_trials(self) -> list[Job]:
        """The next trials, none while the last ones run: they are to learn from each other."""
        left = self.trials_left
        if self.running or not left:
            return []
        # Rounds of trials start at multiples of their size, also after a kill within a round; the later trials of a
        # round must not depend on what the first ones have found.
        size = self._effort.trials_per_batch
        first = self.study.next_index()
        end = first - first % size + size
        if self._between_rounds():
            self._widen()
        jobs: list[Job] = []
        while len(jobs) < left and self.study.next_index() < end:
            jobs.append(self._trial())
        self.running += jobs
        return jobs

    def next_repeats(self) -> list[Job]:
        """Repeats of the selected setting that have no record yet.

        With branches there may be several selected settings. A repeat of an older selection keeps its record, which
        counts for nothing.
        """
        if self._repeated or self.running or not self.tuned:
            return []
        jobs, settings = [], self._ledger.to_repeat(self.cell)
        self._delete_shorter(settings)
        for missing in self._missing_repeats(settings):
            jobs += missing
        self.running += jobs
        self._repeated = True  # a run that leaves no record is handled by the tuner
        return jobs

    def repeats_left(self) -> int:
        """Repeats that have no record yet, as far as is known before the selection."""
        if self.tuned:
            return sum(map(len, self._missing_repeats(self._ledger.to_repeat(self.cell))))
        return max(self._effort.n_repeats - len(self._ledger.cell(self.cell, REPEAT)), 0)

    def ended(self, job: Job) -> None:
        """Take a run off those that are under way, and tell Optuna what the run could not tell itself."""
        self.running = [other for other in self.running if (other.stage, other.index) != (job.stage, job.index)]
        if job.stage != TRIAL or self._ledger.row(job) is None:
            return
        record = files.read_json(self._ledger.record_path(self.cell, TRIAL, job.index))
        assert record is not None, "a row comes from its record"
        forget(self.study.study)  # its worker has written to the storage
        tell_record(self.study.study, job.number, record)
        self._left = None

    def reclaim(self, job: Job) -> None:
        """Take a trial back, as if it had never been asked for."""
        self.study.reclaim(job.number)
        self._left = None

    def again(self, job: Job) -> Job:
        """A second attempt at a run that left no record, to be run alone.

        A trial is asked for anew: what the first attempt has reported, or still reports, is not the second's.
        """
        if job.stage != TRIAL:
            return replace(job, alone=True)
        self.reclaim(job)
        self.running = [other for other in self.running if (other.stage, other.index) != (job.stage, job.index)]
        again = replace(self._trial(), alone=True)
        self.running.append(again)
        return again

    def _trial(self) -> Job:
        ask = self.study.ask(self._effort.trials_per_batch)
        # Every trial of a cell has the config's own seed, so that trials differ by their setting alone.
        study = self.study.study
        return Job(
            self.cell, TRIAL, ask.index, ask.number, self.cell.run.seed, ask.params, study.study_name, ask.origin,
            study_copy=partial(StudyCopy.of, study),
        )  # fmt: skip

    def _delete_shorter(self, settings: Sequence[Mapping[str, Any]]) -> None:
        """Delete repeats whose branches a longer run of the same setting and seed is about to measure with its own.

        Otherwise these branches would count twice.
        """
        for record in self._repeats():
            for setting in settings:
                tuned = {key: setting[key] for key in self.cell.space}
                if _is_of(record, tuned) and not _is_of(record, setting):
                    number = record["number"]
                    self._ledger.delete(Job(self.cell, REPEAT, number, number, record["seed"], {}, ""))

    def _missing_repeats(self, settings: Sequence[Mapping[str, Any]]) -> list[list[Job]]:
        """For each selected setting its repeats that have no record yet.

        Repeat i of setting j has the number j n_repeats + i or, where another run has that number, the next free one:
        no finished run gives way to another.
        """
        apart = _SEEDS_APART if SEED in self.cell.keys else 1
        # No trial has seen these seeds, so the repeats don't share the luck of the selected trial.
        seeds = [self.cell.run.seed + apart * (place + 1) for place in range(self._effort.n_repeats)]
        known = self._repeats()
        taken = {record["number"] for record in known}
        missing: list[list[Job]] = []
        for j, setting in enumerate(settings):
            measured = {record["seed"] for record in known if _is_of(record, setting)}
            missing.append([])
            for i, seed in enumerate(seeds):
                if seed in measured:
                    continue
                number = next(n for n in count(j * self._effort.n_repeats + i) if n not in taken)
                taken.add(number)
                name = self.study.study.study_name
                missing[-1].append(Job(self.cell, REPEAT, number, number, seed, dict(setting), name))
        return missing

    def _repeats(self) -> list[dict[str, Any]]:
        """The records of the cell's repeats."""
        numbers = [row["number"] for row in self._ledger.cell(self.cell, REPEAT)]
        paths = (self._ledger.record_path(self.cell, REPEAT, number) for number in numbers)
        return [record for path in paths if (record := files.read_json(path)) is not None]

    def _widen(self) -> None:
        """Widen a range on whose edge the best setting lies: halfway through the trials, and once per key."""
        if not self._effort.widen or self.study.counted() < ceil(self._effort.n_trials / 2):
            return
        best = self._ledger.selected(self.cell)
        if best is None:
            return
        for key, distribution in self.study.space.items():
            if key in self.study.widened:
                continue
            wider = search_space.widened(distribution, best[key], self.cell.limits.get(key, ()))
            if wider is not None:
                self.study.widen(key, wider[0], best | {key: wider[1]})
                self.write()
                return  # one key at a time, because its setting is the next trial


def _is_of(record: Mapping[str, Any], setting: Mapping[str, Any]) -> bool:
    """Whether a record's run had this setting, and went as far as its last branch."""
    found = record["config"]
    same = all(found.get(key) == value for key, value in setting.items() if key != LAST)
    return same and (LAST not in setting or found[LAST] >= setting[LAST])

"""One cell's way from its first trial to its last repeat: what it needs next, and when it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from mnist_scaling.config import RunConfig
from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import SEED
from mnist_scaling.study.records import WANTED
from mnist_scaling.study.vocabulary import REPEAT, TRIAL
from mnist_scaling.tuning import certificate, search_space
from mnist_scaling.tuning.cell_study import PLAN, CellStudy
from mnist_scaling.tuning.job import Job
from mnist_scaling.tuning.ledger import Ledger
from mnist_scaling.tuning.storage import tell
from mnist_scaling.tuning.trials import counting

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
    together: Callable[[RunConfig], bool] | None = None
    """Whether the repeats of a cell may be one job; None: never."""


class CellTuner:
    """Asks, until the cell has its trials; then repeats its selected setting.

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
            # Between rounds only: in the middle of one the answer depends on who was faster, or was killed.
            if self._between_rounds():
                gain = certificate.expected_gain(*certificate.losses(counting(self.study.study)))
                if gain is not None and gain < effort.stop_below:
                    return 0
        # With nothing to tune all trials would be one run over again.
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
        """Whether all trials are done."""
        return self.study.opened and self.trials_left == 0

    def next_trials(self) -> list[Job]:
        """The next trials, none while the last ones run: they are to learn from each other."""
        left = self.trials_left
        if self.running or not left:
            return []
        # Rounds of trials start at multiples of their size, also after a kill in the middle of one; nothing
        # that the first of them have found by then may matter to the others.
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
        """Repeats of the selected setting that have no record yet; records of an older selection go."""
        if self._repeated or self.running or not self.tuned:
            return []
        jobs, settings = [], self._ledger.to_repeat(self.cell)
        for row in self._ledger.cell(self.cell, REPEAT):
            # With branches a setting's place may have moved: what it left further on would count twice.
            if row[WANTED] and row["number"] >= len(settings) * self._effort.n_repeats:
                self._ledger.delete(Job(self.cell, REPEAT, row["number"], row["number"], row["seed"], {}, ""))
        for place, setting in enumerate(settings):
            missing = self._missing_repeats(setting, place * self._effort.n_repeats)
            in_a_row = len(missing) > 1 and missing[-1].seed - missing[0].seed == len(missing) - 1
            if in_a_row and self._effort.together is not None and self._effort.together(self.cell.run):
                missing = [replace(missing[0], count=len(missing))]
            jobs += missing
        self.running += [part for job in jobs for part in job.parts]
        self._repeated = True  # until a run fails to leave a record, which is the tuner's to see to
        return jobs

    def repeats_left(self) -> int:
        """Repeats that have no record yet, as far as is known before the selection."""
        return max(self._effort.n_repeats - len(self._ledger.cell(self.cell, REPEAT)), 0)

    def ended(self, job: Job) -> None:
        """Take a run off those that are under way, and tell Optuna what the run could not tell itself."""
        self.running = [other for other in self.running if (other.stage, other.index) != (job.stage, job.index)]
        row = self._ledger.row(job)
        if row is not None and job.stage == TRIAL:
            tell(self.study.study, job.number, row["state"], row.get("val_loss"))
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
        # Every trial of a cell has the config's own seed: they differ by their setting alone.
        name = self.study.study.study_name
        return Job(self.cell, TRIAL, ask.index, ask.number, self.cell.run.seed, ask.params, name, ask.origin)

    def _missing_repeats(self, setting: Mapping[str, Any], first: int) -> list[Job]:
        """Repeats of one setting that have no record yet, numbered from `first` on."""
        jobs = []
        apart = _SEEDS_APART if SEED in self.cell.keys else 1
        for place in range(self._effort.n_repeats):
            # Seeds that no trial has seen: the selection is not to profit from its own luck.
            seed = self.cell.run.seed + apart * (place + 1)
            name, index = self.study.study.study_name, first + place
            job = Job(self.cell, REPEAT, index, index, seed, dict(setting), name)
            record = files.read_json(self._ledger.record_path(self.cell, REPEAT, index))
            if record is None:
                jobs.append(job)  # its folder may hold a checkpoint to go on from
            elif record["seed"] != seed or any(record["config"].get(key) != value for key, value in setting.items()):
                self._ledger.delete(job)
                jobs.append(job)
        return jobs

    def _widen(self) -> None:
        """Halfway, and once a key: if the best setting lies on the edge of a range, give the range more room."""
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
                return  # one at a time: its setting is the next trial

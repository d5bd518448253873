"""One cell while its sweep runs: which of its runs are under way, and which jobs are the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_scaling.study import files, layout, records
from mnist_scaling.study.columns import column_of
from mnist_scaling.study.tables import branches
from mnist_scaling.study.vocabulary import REPEAT, SAMPLER, TRIAL
from mnist_scaling.tuning.cell import certificate, next_settings, repeats
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.cell.repeats import LAST, Repeat
from mnist_scaling.tuning.cell.transfer import Neighbour
from mnist_scaling.tuning.cell.trial import Trial
from mnist_scaling.tuning.grid import search_space
from mnist_scaling.tuning.grid.partitioning import Cell
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.workers.job import Job, Pruning

IMPORTANCES = "importances"
"""Key of cell.json, there once the cell is tuned."""


@dataclass(frozen=True)
class Method:
    """How a study is tuned."""

    effort: Effort
    sampler: DictConfig
    """Node of the ``hydra/sweeper/sampler`` group."""
    pruner: DictConfig | None
    """Node of the ``hydra/sweeper/pruner`` group."""
    transfer: str
    """How cells start from cheaper ones (`transfer.parents`)."""


class CellState:
    """Asks for trials until the cell has all of them; then for repeats of its selected settings.

    Parameters
    ----------
    cell : Cell
    ledger : Ledger
    method : Method
    """

    def __init__(self, cell: Cell, ledger: Ledger, method: Method) -> None:
        self.cell, self._ledger, self._method = cell, ledger, method
        self.running: list[Job] = []
        self._left: int | None = None
        self._repeated = False

    @property
    def trials_left(self) -> int:
        """Trials still to be finished."""
        if self._left is None:
            self._left = next_settings.trials_left(self.cell, self._ledger.trials(self.cell), self._method.effort)
        return self._left

    @property
    def tuned(self) -> bool:
        """Whether all trials are done."""
        return self.trials_left == 0

    @property
    def repeats_left(self) -> int:
        """Repeats that have no record yet, as far as is known before the selection."""
        if self.tuned:
            return len(self._missing_repeats())
        return max(self._method.effort.n_repeats - len(self._ledger.repeats(self.cell)), 0)

    def changed(self) -> None:
        """A record came or went."""
        self._left = None

    def next_trials(self, neighbours: Sequence[CellState]) -> list[Job]:
        """The next trials, none while the last ones run: they are to learn from each other."""
        if self.running or not self.trials_left:
            return []
        known = self._ledger.trials(self.cell)
        theirs = [Neighbour(other._ledger.trials(other.cell)) for other in neighbours]
        found = next_settings.next_trials(self.cell, known, theirs, self._method.effort, self._method.sampler)
        self.describe(found)
        self.running += [self._trial(trial, known) for trial in found]
        return list(self.running)

    def next_repeats(self) -> list[Job]:
        """Repeats of the selected settings that have no record yet; once, because none depends on another."""
        if self._repeated or self.running or not self.tuned:
            return []
        known = self._ledger.repeats(self.cell)
        for repeat in repeats.shorter(self.cell, self._selected(), known):
            self._ledger.delete(self.cell, REPEAT, repeat.number)
        self.running += [self._job(REPEAT, r.number, r.seed, dict(r.setting)) for r in self._missing_repeats()]
        self._repeated = True  # a run that leaves no record is handled by the driver
        return list(self.running)

    def _missing_repeats(self) -> list[Repeat]:
        known = self._ledger.repeats(self.cell)
        return repeats.missing(self.cell, self._selected(), known, self._method.effort.n_repeats)

    def _selected(self) -> list[dict[str, Any]]:
        """The settings to repeat: the selected one, or those of all branches, each no further than needed."""
        rows = self._ledger.cell_rows(self.cell)
        settings = []
        for number, last in branches.selected(rows).items():
            row = next(row for row in rows if row["number"] == number)
            setting = {key: row[column_of(key)] for key in self.cell.space}
            settings.append(setting if last is None else setting | {LAST: last})
        return settings

    def _trial(self, trial: Trial, known: Sequence[Trial]) -> Job:
        # Every trial of a cell has the config's own seed, so that trials differ by their setting alone.
        asked = {"origin": trial.origin, "notes": dict(trial.notes), "ranges": search_space.describe(trial.ranges)}
        pruning = self._pruning(trial, known)
        return self._job(TRIAL, trial.index, self.cell.run.seed, dict(trial.params), pruning=pruning, **asked)

    def _pruning(self, trial: Trial, known: Sequence[Trial]) -> Pruning | None:
        """What the worker of a trial needs to judge its reports: the trials of earlier rounds."""
        if self._method.pruner is None:
            return None
        start = trial.index - trial.index % self._method.effort.trials_per_batch
        earlier = tuple(
            {"index": t.index, "state": t.state, "value": t.value, "reports": list(t.reports), "notes": dict(t.notes)}
            for t in known
            if t.index < start
        )
        node: Any = OmegaConf.to_container(self._method.pruner, resolve=True)
        return Pruning(node, earlier, self.cell.name)

    def _job(self, stage: str, index: int, seed: int, setting: dict[str, Any], **more: Any) -> Job:
        cell = self.cell
        return Job(
            cell.name, str(cell.folder / layout.run_folder(stage, index)), cell.overrides, {**setting, "seed": seed},
            stage, index, seed, values=None if cell.following else cell.values, cost=cell.cost,
            **{"origin": SAMPLER, **more},
        )  # fmt: skip

    def describe(self, asked: Sequence[Trial] = (), **more: Any) -> None:
        """Write the cell's description for the tables: what it is, and what is tuned in which ranges."""
        trials = [*self._ledger.trials(self.cell), *asked]
        space = max(trials, key=lambda trial: trial.index).ranges if trials else self.cell.space
        widened = sorted(key for key, own in self.cell.space.items() if space[key] != own)
        content = {"name": self.cell.name, "keys": self.cell.keys, "axes": self.cell.axes}
        content |= {"space": search_space.describe(space), "limits": self.cell.limits, "widened": widened}
        files.write_json(self._ledger.folder / self.cell.folder / layout.CELL, content | more)

    def certify(self) -> None:
        """Write a tuned cell's importances, unless they are there."""
        trials = self._ledger.trials(self.cell)
        known = records.read_cell(self._ledger.folder / self.cell.folder)
        if trials and (known is None or IMPORTANCES not in known):
            self.describe((), **{IMPORTANCES: certificate.importances(trials[-1].ranges, trials)})

"""Which runs a cell lacks, as jobs, and which cells a cell waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mnist_scaling.config import flatten
from mnist_scaling.errors import one_of
from mnist_scaling.study import files, layout, records
from mnist_scaling.study.columns import COMPLETE, CONTROL, INDEPENDENT, REPEAT, SEED, TRANSFER_RULES, TRIAL, column_of
from mnist_scaling.study.tables.selection import selected_trials
from mnist_scaling.tuning.cell import certificate, next_settings, search_space
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.cell.trial import RepeatRun, Trial
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.workers.job import Job, Pruning

IMPORTANCES, REPEATED = "importances", "repeated"
"""Keys of cell.json, there once the cell is tuned; the latter is the number of settings that are repeated."""


@dataclass(frozen=True)
class Method:
    """How a study is tuned: what decides a cell's next setting, and so a part of the study's identity."""

    effort: Effort
    sampler: DictConfig
    """Node of the ``hydra/sweeper/sampler`` group."""
    pruner: DictConfig | None
    """Node of the ``hydra/sweeper/pruner`` group."""
    transfer: str
    """How cells start from cheaper ones (`parents`)."""

    def __post_init__(self) -> None:
        one_of("hydra.sweeper.transfer", self.transfer, TRANSFER_RULES)

    @property
    def settings(self) -> dict[str, Any]:
        """By config key, for the study's identity; trials and repeats may be added."""
        nodes: dict[str, Any] = {"sampler": self.sampler, "pruner": self.pruner or {}}
        plain = {key: OmegaConf.to_container(OmegaConf.create(node), resolve=True) for key, node in nodes.items()}
        plain |= {"transfer": self.transfer, "trials_per_batch": self.effort.trials_per_batch}
        return flatten({**plain, "widen": self.effort.widen}, "hydra.sweeper.")


class CellState:
    """Asks for trials until the cell has all of them; then for repeats of its selected settings."""

    def __init__(self, cell: Cell, ledger: Ledger, method: Method) -> None:
        self.cell, self._ledger = cell, ledger
        self._method = replace(method, effort=method.effort.of(cell))
        self.running: list[Job] = []
        self.asked_repeats = False

    @property
    def trials_left(self) -> int:
        """Trials still to be finished."""
        return max(self._method.effort.n_trials - len(self._ledger.trials(self.cell)), 0)

    @property
    def trials_done(self) -> bool:
        """Whether all trials are done."""
        return self.trials_left == 0

    @property
    def repeats_left(self) -> int:
        """Repeats that have no record yet, as far as is known before the selection."""
        if self.trials_done:
            return len(self._missing_repeats())
        settings = 1 + (self._method.effort.repeat_control and self._control() is not None)
        return max(self._method.effort.n_repeats * settings - len(self._ledger.repeats(self.cell)), 0)

    def next_trials(self, neighbours: Sequence[CellState]) -> list[Job]:
        """The next trials, none while the last ones run: they are to learn from each other."""
        if self.running or not self.trials_left:
            return []
        known = self._ledger.trials(self.cell)
        theirs = [self._ledger.trials(other.cell) for other in neighbours]
        asked = next_settings.next_trials(self.cell, known, theirs, self._method.effort, self._method.sampler)
        self.describe(asked)
        self.running += [self._trial(trial, known) for trial in asked]
        return list(self.running)

    def next_repeats(self) -> list[Job]:
        """Repeats of the selected settings that have no record yet; once, because none depends on another."""
        if self.asked_repeats or self.running or not self.trials_done:
            return []
        self.running += [self._job(REPEAT, r.number, r.seed, dict(r.setting)) for r in self._missing_repeats()]
        self.asked_repeats = True  # a run that leaves no record is handled by the driver
        return list(self.running)

    def ended(self, job: Job) -> None:
        """A job is no longer under way."""
        self.running = [other for other in self.running if other.folder != job.folder]

    def _missing_repeats(self) -> list[RepeatRun]:
        known = self._ledger.repeats(self.cell)
        return next_settings.missing_repeats(self.cell, self._selected(), known, self._method.effort.n_repeats)

    def _selected(self) -> list[dict[str, Any]]:
        """The settings to repeat: the selected one, or those of all branches, each no further than needed."""
        rows = {row["number"]: row for row in self._ledger.cell_rows(self.cell)}
        columns = {key: column_of(key) for key in self.cell.space}
        selected = selected_trials(rows.values(), [*columns.values()])
        wanted = [({key: rows[n][column] for key, column in columns.items()}, last) for n, last in selected.items()]
        if wanted and self._method.effort.repeat_control and (control := self._control()) is not None:
            wanted.append((control, max(selected.values(), key=lambda last: last or 0.0)))
        settings = [setting if last is None else {**setting, self.cell.task.last: last} for setting, last in wanted]
        return [setting for place, setting in enumerate(settings) if setting not in settings[:place]]

    def _control(self) -> dict[str, Any] | None:
        """The untuned setting; None where nothing is tuned, or its run did not end well."""
        known = [t for t in self._ledger.trials(self.cell) if t.origin == CONTROL]
        if known and known[0].state != COMPLETE:
            return None
        return search_space.baseline(self.cell.space, self.cell.values) or None

    def _trial(self, trial: Trial, known: Sequence[Trial]) -> Job:
        # Every trial of a cell has the config's own seed, so that trials differ by their setting alone.
        asked = {"origin": trial.origin, "notes": dict(trial.notes), "ranges": search_space.describe(trial.ranges)}
        pruning = self._pruning(trial, known)
        return self._job(TRIAL, trial.index, self.cell.seed, dict(trial.params), pruning=pruning, **asked)

    def _pruning(self, trial: Trial, known: Sequence[Trial]) -> Pruning | None:
        """What the worker of a trial needs to judge its reports: the trials of earlier rounds."""
        if self._method.pruner is None:
            return None
        start = trial.index - trial.index % self._method.effort.trials_per_batch
        earlier = tuple(replace(t, params={}, ranges={}) for t in known if t.index < start)
        node: Any = OmegaConf.to_container(self._method.pruner, resolve=True)
        return Pruning(node, earlier, self.cell.name)

    def _job(self, stage: str, index: int, seed: int, setting: dict[str, Any], **more: Any) -> Job:
        cell = self.cell
        settings = {**setting, cell.task.seed: seed}
        return Job(
            cell.name, str(cell.folder / layout.run_folder(stage, index)), cell.overrides, settings,
            stage, index, seed, values=None if cell.following else cell.values, cost=cell.cost, **more,
        )  # fmt: skip

    def describe(self, asked: Sequence[Trial] = (), **more: Any) -> None:
        """Write the cell's description for the tables: what it is, and what is tuned in which ranges."""
        trials = [*self._ledger.trials(self.cell), *asked]
        space = max(trials, key=lambda trial: trial.index).ranges if trials else self.cell.space
        widened = sorted(key for key, own in self.cell.space.items() if not search_space.holds(own, space[key]))
        content = {"name": self.cell.name, "keys": self.cell.keys, "axes": self.cell.axes}
        content |= {"space": search_space.describe(space), "limits": self.cell.limits, "widened": widened}
        files.write_json(self._ledger.folder / self.cell.folder / layout.CELL, content | more)

    def complete_description(self) -> None:
        """Add importances, and how many settings are repeated, to a cell.json that lacks them: all trials are done."""
        trials = self._ledger.trials(self.cell)
        known = records.read_cell(self._ledger.folder / self.cell.folder)
        if trials and (known is None or not {IMPORTANCES, REPEATED} <= known.keys()):
            importances = certificate.importances(trials[-1].ranges, trials)
            self.describe((), **{IMPORTANCES: importances, REPEATED: len(self._selected())})


def parents(cells: Sequence[Cell], rule: str) -> dict[str, list[Cell]]:
    """The cells that each cell waits for, by its name: along every axis of numbers the next cheaper one, or none."""
    waits: dict[str, list[Cell]] = {cell.name: [] for cell in cells}
    if rule == INDEPENDENT:
        return waits
    # Seeds are replicates, so no cell starts from what a cell of another seed has selected.
    for key in [key for key in cells[0].keys if key != SEED] if cells else ():
        lines: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in cells:
            if isinstance(cell.keys[key], int | float) and not isinstance(cell.keys[key], bool):
                lines.setdefault(tuple(v for k, v in cell.keys.items() if k != key), []).append(cell)
        for line in lines.values():
            line.sort(key=lambda cell: (cell.cost, cell.keys[key]))
            for cheaper, cell in pairwise(line):
                waits[cell.name].append(cheaper)
    return waits


def longest_chains(after: Mapping[str, Sequence[str]], weights: Mapping[str, float]) -> dict[str, float]:
    """The weight of the longest chain from each cell on: its own, and the most of what comes `after` it."""
    chain: dict[str, float] = {}
    for name in TopologicalSorter(after).static_order():
        chain[name] = weights[name] + max((chain[other] for other in after[name]), default=0.0)
    return chain

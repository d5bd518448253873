"""Rounds of a study: one trial of every unfinished cell, longest first, then the repeats, then the tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_scaling import results
from mnist_scaling.errors import InputError
from mnist_scaling.results import FAILED
from mnist_scaling.tuning import records, search_space, tables
from mnist_scaling.tuning.grid import Cell
from mnist_scaling.tuning.job import Job
from mnist_scaling.tuning.progress import StudyProgress, polling
from mnist_scaling.tuning.study import CellStudy, tell

Launch = Callable[[Sequence[Sequence[str]]], None]
"""Runs jobs, given as lists of Hydra overrides, and returns when all have ended or died."""


class Tuner:
    """Tunes the cells of a study and keeps its tables.

    Parameters
    ----------
    folder : Path
        multirun/<name>.
    studies : list of CellStudy
        One a cell of the grid.
    launch : callable
        Runs a batch of jobs.
    n_trials, n_repeats : int
        Counted trials a cell, and re-trainings of its selected setting.
    trials_per_batch : int
        Trials of one cell that run side by side.
    provenance : mapping, optional
        How the study was made, for study.json.
    """

    def __init__(
        self,
        folder: Path,
        studies: list[CellStudy],
        launch: Launch,
        n_trials: int,
        n_repeats: int,
        trials_per_batch: int,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.launch, self.provenance = folder, launch, provenance or {}
        # Longest first: a long run that starts last leaves every other worker idle.
        self.studies = sorted(studies, key=lambda s: -s.cell.cost)
        self.n_trials, self.n_repeats, self.trials_per_batch = n_trials, n_repeats, trials_per_batch
        self.rows = dict(records.read_study(folder))
        self._by_name = {study.cell.name: study for study in studies}
        self._failures_in_a_row = 0

    def run(self) -> None:
        """Tune until every cell has its trials and its repeats; what is there already is kept.

        Raises
        ------
        RuntimeError
            When every run of a round fails: then the set-up is at fault, not a setting.
        """
        self._check_axes()
        for study in self.studies:
            self._write_cell(study)
            self._recover(study)
        self.progress = self._make_progress()
        with self.progress:
            try:
                while jobs := self._next_jobs():
                    self._round(jobs)
                    tables.write(self.folder, self.rows, self.provenance)
                    self.progress.line()
            finally:
                tables.write(self.folder, self.rows, self.provenance)

    def _check_axes(self) -> None:
        """Cells of one table must differ along the same axes."""
        known = records.read(self.folder / records.STUDY)
        axes = list(self.studies[0].cell.axes)
        if known is not None and known["axes"] != axes:
            raise InputError(
                f"A study must keep the axes of its grid, but {self.folder} has {', '.join(known['axes']) or 'none'} "
                f"and this sweep has {', '.join(axes) or 'none'}: give the new study another `name=`."
            )

    def _write_cell(self, study: CellStudy) -> None:
        cell = study.cell
        content = {"name": cell.name, "keys": cell.keys, "axes": cell.axes, "space": search_space.describe(cell.space)}
        records.write(self.folder / cell.folder / records.CELL, content)

    def _recover(self, study: CellStudy) -> None:
        """After a kill: tell what was finished but not told, reclaim what was not finished."""
        for trial in study.running():
            record = records.read(self._record_path(study.cell, "trial", trial.user_attrs.get("index", -1)))
            if record is not None and record["config"]["trial.number"] == trial.number:
                tell(study.study, trial.number, record["state"], (record["result"] or {}).get("val_loss"))
            else:
                study.reclaim(trial)

    def _record_path(self, cell: Cell, stage: str, index: int) -> Path:
        return self.folder / cell.folder / records.run_folder(stage, index) / records.RESULT

    def _next_jobs(self) -> list[Job]:
        """The next round: trials of every cell that lacks some, repeats of every cell that lacks none."""
        jobs = []
        for study in self.studies:
            missing = self.n_trials - study.counted()
            if missing > 0:
                jobs += [self._trial(study) for _ in range(min(missing, self.trials_per_batch))]
            else:
                jobs += self._missing_repeats(study.cell)
        return jobs

    def _trial(self, study: CellStudy) -> Job:
        ask = study.ask()
        # Every trial of a cell has the config's own seed: they differ by their setting alone.
        return Job(study.cell, "trial", ask.index, ask.number, study.cell.run.seed, ask.params)

    def _missing_repeats(self, cell: Cell) -> list[Job]:
        """Repeats of the selected setting that have no record yet; records of an older selection go."""
        best = self._selected(cell)
        if best is None:
            return []
        params = {key: best["config"][key] for key in cell.space}
        jobs = []
        for index in range(self.n_repeats):
            path = self._record_path(cell, "repeat", index)
            record = records.read(path)
            if record is not None and all(record["config"][key] == value for key, value in params.items()):
                continue
            self.rows.pop(path.parent, None)
            shutil.rmtree(path.parent, ignore_errors=True)
            # Seeds that no trial has seen: the selection is not to profit from its own luck.
            jobs.append(Job(cell, "repeat", index, index, cell.run.seed + 1 + index, params))
        return jobs

    def _selected(self, cell: Cell) -> dict[str, Any] | None:
        """The record of the best trial of a cell."""
        rows = [row for path, row in self.rows.items() if path.parent == self.folder / cell.folder]
        best = results.best_trial(results.trials_table(rows, [], []))
        return None if best is None else records.read(self._record_path(cell, "trial", int(best["number"])))

    def _round(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.rows.pop(self.folder / job.folder, None)
            (self.folder / job.folder / records.RESULT).unlink(missing_ok=True)
        self._launch(jobs)
        # A run without a record died with its worker, or beside one that did: once more, each alone,
        # so that only a run that kills its own worker is lost.
        for job in [job for job in jobs if self._row(job) is None]:
            self._launch([job])
            if self._row(job) is None:
                self._bury(job)
        self._settle(jobs)

    def _launch(self, jobs: list[Job]) -> None:
        waiting = list(jobs)

        def look() -> None:
            for job in list(waiting):
                row = self._row(job)
                if row is not None:
                    waiting.remove(job)
                    self.progress.seen(job.stage, job.cell.cost, row.get("val_loss"), job.cell.name)

        with polling(look):
            try:
                self.launch([job.overrides for job in jobs])
            except Exception:
                # A dead worker takes the whole batch's returns with it; records tell what was done.
                # If no run has as much as its folder, the launcher itself is at fault.
                if not any((self.folder / job.folder).exists() for job in jobs):
                    raise

    def _row(self, job: Job) -> dict[str, Any] | None:
        """The row of a job's record, read once; None while there is none."""
        path = self.folder / job.folder
        if path not in self.rows or not (path / records.RESULT).exists():
            record = records.read(path / records.RESULT)
            if record is None:
                return None
            self.rows[path] = records.row(record, job.cell.axes, job.cell.space)
        return self.rows[path]

    def _bury(self, job: Job) -> None:
        """Record a run that killed its worker twice as FAILED, so that the study goes on."""
        settings = job.cell.values | job.params
        record = {
            "stage": job.stage,
            "number": job.index,
            "seed": job.seed,
            "state": FAILED,
            "seconds": None,
            "error": "it left no record twice: its process died, or refused its configuration",
            "config": settings,
            "result": None,
        }
        records.write(self.folder / job.folder / records.RESULT, record)
        self._row(job)

    def _settle(self, jobs: list[Job]) -> None:
        """Tell what the jobs could not tell themselves; stop when nothing works."""
        ended = [(job, row) for job in jobs if (row := self._row(job)) is not None]
        failed = [job for job, row in ended if row["state"] == FAILED]
        self._failures_in_a_row = self._failures_in_a_row + len(failed) if len(failed) == len(jobs) else 0
        if self._failures_in_a_row >= (2 if len(jobs) > 1 else 3):
            self._give_up(failed)
        for job, row in ended:
            if job.stage == "trial":
                tell(self._by_name[job.cell.name].study, job.number, row["state"], row.get("val_loss"))

    def _give_up(self, failed: list[Job]) -> None:
        """A fault of the set-up must not count as trials: forget them, so that a rerun starts clean."""
        error = self.rows[self.folder / failed[0].folder]["error"]
        for job in failed:
            self.rows.pop(self.folder / job.folder)
            if job.stage == "trial":
                self._by_name[job.cell.name].discard(job.number)
            shutil.rmtree(self.folder / job.folder, ignore_errors=True)
        raise RuntimeError(f"Every run of a round failed, the first with:\n{error}")

    def _make_progress(self) -> StudyProgress:
        left: dict[str, int] = {}
        totals = {"trial": 0, "repeat": 0}
        cost = 0.0
        for study in self.studies:
            folder = self.folder / study.cell.folder
            kept = sum(row["stage"] == "repeat" for path, row in self.rows.items() if path.parent == folder)
            trials = max(self.n_trials - study.counted(), 0)
            repeats = max(self.n_repeats - kept, 0)
            left[study.cell.name] = trials + repeats
            totals = {"trial": totals["trial"] + trials, "repeat": totals["repeat"] + repeats}
            cost += (trials + repeats) * study.cell.cost
        return StudyProgress(left, cost, totals)

"""Any Hydra launcher: a batch that dies loses only the runs without an outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from mnist_scaling.config import RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.tuning.workers import rounds
from mnist_scaling.tuning.workers.job import Outcome
from mnist_scaling.tuning.workers.rounds import Rounds

from .helpers import Trains, bowl, composed
from .test_local_workers import job


class Launches:
    """A launcher that runs the application in this process, for each job whose overrides it is given."""

    def __init__(self, folder: Path, before: Callable[[int], None] = lambda place: None) -> None:
        self.folder, self.before = folder, before
        self.batches: list[tuple[int, list[RunConfig]]] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        self.batches.append((initial_job_idx, []))
        done = []
        for place, overrides in enumerate(jobs):
            self.before(place)
            given = {o.key_or_group: o.value() for o in OverridesParser.create().parse_overrides(list(overrides))}
            assert given["hydra.output_subdir"] is None
            rounds.ran_job(self.folder / str(given["hydra.sweep.subdir"]), Trains(bowl))
            done.append(SimpleNamespace(return_value=None))
        return done


def in_rounds(folder: Path, launcher: Any) -> Rounds:
    application: Any = SimpleNamespace(task=Trains(bowl), folder=folder, context=None, config=composed())
    return Rounds(application, launcher)


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_what_was_handed_over_is_launched_together(tmp_path: Path) -> None:
    launcher = Launches(tmp_path)
    with in_rounds(tmp_path, launcher) as workers:
        assert (workers.room(), workers.count(), workers.isolates) == (None, None, False)
        workers.flush()
        first = [workers.submit(job(seed)) for seed in (1, 2)]
        assert not any(future.done() for future in first)
        workers.flush()
        second = workers.submit(job(3))
        workers.flush()
    seeds = [(future.result(0).record or {})["seed"] for future in (*first, second)]
    assert seeds == [1, 2, 3]
    assert [place for place, _ in launcher.batches] == [0, 2]
    assert left(tmp_path) == []  # jobs and outcomes are gone; the sweep writes the records


def test_a_batch_that_dies_loses_only_runs_without_outcome(tmp_path: Path) -> None:
    class NodeLost(Exception):
        pass

    def die(place: int) -> None:
        if place == 1:
            raise NodeLost("node 7 is gone")

    with in_rounds(tmp_path, Launches(tmp_path, die)) as workers:
        found = [workers.submit(job(seed)) for seed in (1, 2, 3)]
        workers.flush()
    assert [future.result(0).record is not None for future in found] == [True, False, False]
    assert found[2].result(0).error == "the launcher ended with NodeLost: node 7 is gone"
    assert left(tmp_path) == []


def test_an_error_of_one_job_is_that_jobs(tmp_path: Path) -> None:
    class Refuses(Launches):
        def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
            class Failed:
                @property
                def return_value(self) -> None:
                    raise LookupError("no such option")

            return [Failed(), *super().launch(jobs[1:], initial_job_idx)]

    with in_rounds(tmp_path, Refuses(tmp_path)) as workers:
        found = [workers.submit(job(seed)) for seed in (1, 2)]
        workers.flush()
    assert found[0].result(0) == Outcome(None, "LookupError: no such option")
    assert found[1].result(0).record is not None


def test_a_launcher_that_starts_nothing_is_at_fault(tmp_path: Path) -> None:
    class Lacks:
        def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
            raise RuntimeError("no sbatch here")

    with in_rounds(tmp_path, Lacks()) as workers:
        workers.submit(job(1))
        with pytest.raises(InputError, match="A launcher must be able to start runs, .* RuntimeError: no sbatch here"):
            workers.flush()


def test_what_the_runs_of_a_killed_sweep_have_left_is_taken_in(tmp_path: Path) -> None:
    def kill(place: int) -> None:
        if place == 1:
            raise KeyboardInterrupt

    jobs = [job(seed) for seed in (1, 2)]
    with pytest.raises(KeyboardInterrupt), in_rounds(tmp_path, Launches(tmp_path, kill)) as workers:
        [workers.submit(one) for one in jobs]
        workers.flush()
    launcher = Launches(tmp_path)
    with in_rounds(tmp_path, launcher) as workers:
        other = replace(jobs[0], settings={**jobs[0].settings, "seed": 99})
        assert not workers.submit(other).done()  # another run of the same number
    with pytest.raises(KeyboardInterrupt), in_rounds(tmp_path, Launches(tmp_path, kill)) as workers:
        [workers.submit(one) for one in jobs]
        workers.flush()
    with in_rounds(tmp_path, launcher) as workers:
        found = [workers.submit(one) for one in jobs]
        assert [future.done() for future in found] == [True, False]
        workers.flush()
    assert len(launcher.batches) == 1
    assert [(future.result(0).record or {})["seed"] for future in found] == [1, 2]
    assert left(tmp_path) == []


def test_an_outcome_without_a_record_is_none_of_a_later_sweeps(tmp_path: Path) -> None:
    given = job(1)
    rounds._write(tmp_path / given.folder / rounds._OUTCOME, Outcome(None, "its process died"))
    with in_rounds(tmp_path, Launches(tmp_path)) as workers:
        found = workers.submit(given)
        workers.flush()
    assert found.result(0).record is not None

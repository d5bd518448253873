"""This machine's own processes: jobs in turn, a killed process takes nothing but its job with it."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mnist_scaling.config import from_values
from mnist_scaling.study.columns import TrainResult
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.task import Report, Values
from mnist_scaling.tuning.workers import faults, local
from mnist_scaling.tuning.workers.job import Job, Outcome
from mnist_scaling.tuning.workers.local import LocalWorkers

from .helpers import Trains, bowl, composed, make_cells

pytestmark = pytest.mark.slow


class Obeys(Trains):
    """A task whose seed says what happens in its process: 666 kills it, 777 does as a full /dev/shm does, 888 waits."""

    def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
        run = from_values(values)
        if run.seed in (666, 777):
            os.kill(os.getpid(), signal.SIGKILL if run.seed == 666 else signal.SIGBUS)
        if run.seed == 888:
            time.sleep(60)
        return replace(bowl(run), device=str(os.getpid()))


@functools.cache
def cell() -> Cell:
    (found,) = make_cells("model.width=8", "data.dir=.")
    return found


def job(seed: int, **more: Any) -> Job:
    given = Job("all", f"all/repeat-{seed:03d}", cell().overrides, {"seed": seed}, "repeat", seed, seed, "sampler")
    return replace(given, **{"values": cell().values, **more})


def pid(found: Future[Outcome]) -> int:
    """The process that ran a job."""
    record = found.result(60).record
    assert record is not None
    return int(record["result"]["device"])


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[LocalWorkers]:
    application: Any = SimpleNamespace(task=Obeys(), folder=tmp_path)
    with LocalWorkers(application, 2) as opened:
        yield opened


def test_jobs_take_turns_in_the_same_processes(workers: LocalWorkers) -> None:
    assert (workers.room(), workers.count()) == (3, 2)
    found = [workers.submit(job(seed)) for seed in range(6)]
    assert workers.room() < 0  # whoever hands over more than there is room for has to wait
    assert len({pid(one) for one in found}) <= 2
    assert workers.room() == 3


def test_a_killed_process_takes_its_job_with_it_and_no_other(workers: LocalWorkers) -> None:
    died, full, fine = (workers.submit(job(seed)) for seed in (666, 777, 1))
    assert died.result(60) == Outcome(None, "its process died with exit code -9")
    assert faults.is_text(full.result(60).error)  # a bus error says that shared memory is full
    assert fine.result(60).record is not None


def test_a_process_that_is_killed_while_it_is_idle_is_replaced(workers: LocalWorkers) -> None:
    before = {pid(workers.submit(job(seed))) for seed in range(2)}
    for one in before:
        os.kill(one, signal.SIGKILL)
    for process in workers._processes:
        process._process.join(0.5)
    after = {pid(workers.submit(job(seed))) for seed in range(2)}
    assert after
    assert not after & before


def test_the_end_waits_for_no_run(tmp_path: Path) -> None:
    application: Any = SimpleNamespace(task=Obeys(), folder=tmp_path)
    with LocalWorkers(application, 1) as workers:
        running, queued = (workers.submit(job(888)) for _ in range(2))
        time.sleep(1.0)
    assert running.result(1).record is None
    assert queued.cancelled() or queued.result(1).record is None


def test_each_process_has_a_gpu_in_its_turn(tmp_path: Path) -> None:
    class Sees(Trains):
        def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
            return replace(bowl(from_values(values)), device=os.environ["CUDA_VISIBLE_DEVICES"])

    application: Any = SimpleNamespace(task=Sees(), folder=tmp_path)
    with LocalWorkers(application, 3, gpus=["3", "5"]) as workers:
        assert [gpu for _, gpu in (one._arguments for one in workers._processes)] == ["3", "5", "3"]
        assert str(pid(workers.submit(job(1)))) in ("3", "5")


def test_a_job_that_cannot_be_composed_is_told_so(tmp_path: Path) -> None:
    cfg = composed(["hydra/launcher=basic"])

    def load(config: Any, overrides: list[str]) -> Any:
        return composed(overrides)

    context = SimpleNamespace(config_loader=SimpleNamespace(load_sweep_config=load))
    application: Any = SimpleNamespace(task=Obeys(), folder=tmp_path, context=context, config=cfg)
    follows = ("model.width=8", "optim.weight_decay=${optim.lr}")
    with LocalWorkers(application, 1) as workers:
        asked = job(1, values=None, overrides=follows, settings={"seed": 1, "optim.lr": 0.25})
        record = workers.submit(asked).result(60).record
        assert record is not None
        assert record["config"]["optim.weight_decay"] == 0.25  # where one value follows another, all is composed
        wrong = workers.submit(replace(asked, settings={"optim.lr": -1.0})).result(60)
        assert "`optim.lr > 0` must hold" in str(wrong.error)
        assert wrong.record is None


def test_there_is_a_process_per_core() -> None:
    assert 1 <= local.cores() <= (os.cpu_count() or 1)

"""What a job costs beside its training.

    python benchmarks/job_overhead.py                              CPU of a trial by part, all in this process
    python benchmarks/job_overhead.py clock                        by the clock, with one process of this machine
    python benchmarks/job_overhead.py clock hydra/launcher=dask    with one worker of Dask, started here; also ray

A small real study runs. By the clock, which needs a quiet machine, a job takes from the moment when its worker could
have begun it (it was handed over, and the last job had ended) to the moment when its outcome is here, less the seconds
of its record; `handing` is what the worker waited for the sweep: its asks, its records, its tables.
"""

from __future__ import annotations

import pickle
import statistics
import sys
import tempfile
import time
from concurrent.futures import Future
from typing import Any

from mnist_scaling.study.columns import TRIAL
from mnist_scaling.tuning.sweeper import CellSweeper
from mnist_scaling.tuning.workers.job import Application, Job, Outcome, Packer
from mnist_scaling.tuning.workers.perform import perform

STUDY = ("model.width=2,8", "data.fraction=0.0625", "hydra.sweeper.n_trials=12", "hydra.launcher.n_workers=1")


class InProcess:
    """One worker that is this process, so that its CPU seconds can be told by part."""

    isolates = True

    def __init__(self, sweeper: CellSweeper) -> None:
        application = Application(sweeper.hydra_context, sweeper.config, sweeper.task_function)
        self._packer, self._task = Packer(application), application.task
        self.seconds: dict[str, list[float]] = {"there and back": [], "whole job": []}
        self._train = self._task.train

    def room(self) -> int:
        return 1

    def count(self) -> int:
        return 1

    def submit(self, job: Job) -> Future[Outcome]:
        training = 0.0

        def train(*arguments: Any) -> Any:
            nonlocal training
            start = time.process_time()
            try:
                return self._train(*arguments)
            finally:
                training += time.process_time() - start

        self._task.train = train  # type: ignore[method-assign]
        start = time.process_time()
        parcel = pickle.loads(pickle.dumps(self._packer.pack(job)))
        packed = time.process_time()
        outcome = pickle.loads(pickle.dumps(perform(parcel, self._task)))
        if job.stage == TRIAL:
            self.seconds["whole job"].append(time.process_time() - start - training)
            self.seconds["there and back"].append(packed - start)
        future: Future[Outcome] = Future()
        future.set_result(outcome)
        return future

    def flush(self) -> None:
        pass

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class Timed:
    """Workers, with the moments when jobs are handed over and when they end."""

    def __init__(self, workers: Any) -> None:
        self._workers, self.isolates = workers, workers.isolates
        self.jobs: list[tuple[Job, float, Future[Outcome], list[float]]] = []
        self.room, self.count, self.flush = workers.room, workers.count, workers.flush

    def submit(self, job: Job) -> Future[Outcome]:
        start, ended = time.perf_counter(), list[float]()
        future = self._workers.submit(job)
        self.jobs.append((job, start, future, ended))
        future.add_done_callback(lambda done: ended.append(time.perf_counter()))
        return future  # type: ignore[no-any-return]

    def __enter__(self) -> Timed:
        self._workers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._workers.__exit__(*error)


def main() -> None:
    """Run the study and print where its time went."""
    from mnist_scaling import train

    by_clock = sys.argv[1:2] == ["clock"]
    made: list[Any] = []
    own = CellSweeper._workers

    def workers(sweeper: CellSweeper) -> Any:
        made.append(Timed(own(sweeper)) if by_clock else InProcess(sweeper))
        return made[0]

    CellSweeper._workers = workers  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as name:
        sys.argv = ["train", "-m", *STUDY, *sys.argv[1 + by_clock :], f"hydra.sweep.dir={name}/study", "name=overhead"]
        train.main()
    if not by_clock:
        found = made[0].seconds
    else:
        found = {"beside training": [], "handing": []}
        before = None
        for job, start, future, (end,) in sorted(made[0].jobs, key=lambda one: one[3]):
            if before is not None and job.stage == TRIAL:
                record = future.result().record
                assert record is not None
                found["handing"].append(max(start - before, 0.0))
                found["beside training"].append(end - max(start, before) - record["seconds"])
            before = end
    kind = "by the clock" if by_clock else "of CPU beside training"
    print(f"\nms {kind}, median and mean of {len(next(iter(found.values())))} trials:")
    for part, seconds in found.items():
        print(f"{part}: {1000 * statistics.median(seconds):.1f}, {1000 * statistics.mean(seconds):.1f}")


if __name__ == "__main__":
    main()

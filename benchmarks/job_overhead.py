"""What a job costs beside its training, and so what it would save to send several trials as one job.

    python benchmarks/job_overhead.py                              this machine's workers: a minute
    python benchmarks/job_overhead.py hydra/launcher=dask          Dask's, started here; also ray
    python benchmarks/job_overhead.py parts                        CPU seconds of a job by part, in this process
    python benchmarks/job_overhead.py tasks                        empty tasks per second of Dask's scheduler

A small real study runs on one worker, and each job is timed by the clock, which needs a quiet machine: from the moment
when the worker could have begun it (it was handed over, and the worker's last job had ended) to the moment when the
sweep heard of its end, less the seconds of its record. `handing` is what the worker waited for the sweep: its asks, its
reading of records, its tables.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnist_scaling.study import files, layout
from mnist_scaling.study.vocabulary import TRIAL
from mnist_scaling.tuning.sweeper import CellSweeper
from mnist_scaling.tuning.workers.job import Job

STUDY = (
    "model.width=2,8",
    "data.fraction=0.0625",
    "hydra.sweeper.n_trials=12",
    "hydra.launcher.n_workers=1",
)


class Timed:
    """A pool that notes when jobs are handed over and when they end."""

    def __init__(self, pool: Any) -> None:
        self._pool, self.isolates = pool, pool.isolates
        self.submitted: dict[Path, float] = {}
        self.ended: list[tuple[Job, float]] = []

    def free(self) -> int | None:
        return self._pool.free()

    def workers(self) -> int | None:
        return self._pool.workers()

    def submit(self, job: Job) -> None:
        self.submitted[job.folder] = time.perf_counter()
        self._pool.submit(job)

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        ended = self._pool.wait(seconds)
        self.ended += [(job, time.perf_counter()) for job, _ in ended]
        return ended

    def __enter__(self) -> Timed:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.__exit__(*error)


class InProcess:
    """One worker that is this process, so that its CPU seconds can be told by part."""

    isolates = True

    def __init__(self, sweeper: CellSweeper) -> None:
        from mnist_scaling.tuning.workers import hydra_job

        launcher: Any = sweeper.launcher
        hydra_job.serve(hydra_job.Application(launcher.hydra_context, launcher.config, launcher.task_function))
        self._run, self._queue, self._done = hydra_job.run, list[Job](), 0
        self.seconds: list[float] = []

    def free(self) -> int | None:
        return 1 - len(self._queue)

    def workers(self) -> int | None:
        return 1

    def submit(self, job: Job) -> None:
        self._queue.append(job)

    def wait(self, seconds: float) -> list[tuple[Job, str | None]]:
        del seconds
        job, start = self._queue.pop(), time.process_time()
        error = self._run(job.cell.overrides, job.settings, job.overrides, self._done)
        self._done += 1
        if job.stage == TRIAL:
            self.seconds.append(time.process_time() - start)
        return [(job, error)]

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


def parts() -> None:
    """Run a study in this process and print the CPU seconds of its jobs."""
    from mnist_scaling import config, train
    from mnist_scaling.tuning.stored.channel import Channel
    from mnist_scaling.tuning.workers import execution

    clocks: dict[str, list[float]] = {}
    for owner, name in ((execution, "measure"), (config, "build"), (Channel, "notes"), (Channel, "tell")):
        setattr(owner, name, _clocked(getattr(owner, name), clocks.setdefault(name, [])))
    pools: list[InProcess] = []

    def in_process(self: CellSweeper, folder: Path) -> InProcess:
        pools.append(InProcess(self))
        return pools[0]

    CellSweeper._pool = in_process  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as name:
        sys.argv = ["train", "-m", *STUDY, *sys.argv[2:], f"hydra.sweep.dir={name}/study", "name=job_overhead"]
        train.main()
    print(f"\nmedians, CPU ms per trial: whole job {1000 * statistics.median(pools[0].seconds):.0f}", end="")
    for name, seconds in clocks.items():
        print(f", {'training' if name == 'measure' else name} {1000 * statistics.median(seconds):.1f}", end="")
    print()


def _clocked(action: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def clocked(*arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        try:
            return action(*arguments, **options)
        finally:
            seconds.append(time.process_time() - start)

    return clocked


def tasks(n: int = 1000) -> None:
    """Print how many empty tasks, as large as ours, two workers of Dask answer per second."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        size = b"x" * 20_000  # about a pickled application
        client.submit(len, size, pure=False).result()
        start = time.perf_counter()
        for future in [client.submit(len, size, pure=False, retries=0) for _ in range(n)]:
            future.result()
        print(f"{n / (time.perf_counter() - start):.0f} tasks per second")
        start = time.perf_counter()
        for _ in range(n // 5):
            client.submit(len, size, pure=False, retries=0).result()
        print(f"{5000 * (time.perf_counter() - start) / n:.1f} ms for one alone")


def main() -> None:
    """Run the study and print where its time went."""
    if sys.argv[1:2] == ["parts"]:
        return parts()
    if sys.argv[1:2] == ["tasks"]:
        return tasks()
    from mnist_scaling import train

    pools: list[Timed] = []
    make = CellSweeper._pool

    def timed(self: CellSweeper, folder: Path) -> Timed:
        pools.append(Timed(make(self, folder)))
        return pools[0]

    CellSweeper._pool = timed  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as name:
        sys.argv = ["train", "-m", *STUDY, *sys.argv[1:], f"hydra.sweep.dir={name}/study", "name=job_overhead"]
        train.main()
        (pool,) = pools
        folder = Path(name) / "study"
        beside, handing, training = [], [], []
        before = None
        for job, end in pool.ended:
            begun = pool.submitted[job.folder]
            if before is not None and job.stage == TRIAL:
                seconds = (files.read_json(folder / job.folder / layout.RESULT) or {})["seconds"]
                training.append(seconds)
                handing.append(max(begun - before, 0.0))
                beside.append(end - max(begun, before) - seconds)
            before = end
    print(f"\n{len(training)} trials of {statistics.mean(training):.3f} s on average; medians, ms per job:")
    print(f"beside training {1000 * statistics.median(beside):.0f}, handing {1000 * statistics.median(handing):.0f}")
    print(f"means: beside training {1000 * statistics.mean(beside):.0f}, handing {1000 * statistics.mean(handing):.0f}")
    return None


if __name__ == "__main__":
    main()

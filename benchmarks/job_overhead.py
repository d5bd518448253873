"""What a job costs beside its training, and so what it would save to send several trials as one job.

    python benchmarks/job_overhead.py                              this machine's workers: a minute
    python benchmarks/job_overhead.py hydra/launcher=dask          Dask's, started here; also ray

A small real study runs on one worker, and each job is timed: from the moment when the worker could have begun it (it
was handed over, and the worker's last job had ended) to the moment when the sweep heard of its end, less the seconds
of its record. `handing` is what the worker waited for the sweep: its asks, its reading of records, its tables.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mnist_scaling.study import files, layout
from mnist_scaling.study.vocabulary import TRIAL
from mnist_scaling.tuning.job import Job
from mnist_scaling.tuning.sweeper import CellSweeper

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


def main() -> None:
    """Run the study and print where its time went."""
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


if __name__ == "__main__":
    main()

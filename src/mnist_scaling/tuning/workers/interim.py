"""Interim workers."""
from __future__ import annotations

import cloudpickle, tempfile, os
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from hydra.core.singleton import Singleton
from mnist_scaling import config
from mnist_scaling.config import RunConfig
from mnist_scaling.tuning import trainer
from mnist_scaling.tuning.workers import execution, faults
from mnist_scaling.tuning.workers.job import Outcome

_APP = []
_RUNS = {}


def _init(state):
    app, single = cloudpickle.loads(state)
    Singleton.set_state(single)
    _APP[:] = [app]


def _run(job):
    app = _APP[0]
    try:
        if job.overrides not in _RUNS:
            cfg = app.context.config_loader.load_sweep_config(app.config, list(job.overrides))
            _RUNS[job.overrides] = config.build(RunConfig, cfg)
        with tempfile.TemporaryDirectory() as t:
            train = trainer.of(app.task)
            return Outcome(execution.run_job(job, _RUNS[job.overrides], lambda run, report: train.train(run, report, Path(t))))
    except Exception as error:
        return Outcome(None, faults.as_text(error))


class Interim:
    isolates = True

    def __init__(self, app, n):
        self.n, self.app, self.busy = n, app, set()

    def room(self):
        return self.n + 1 - len([f for f in self.busy if not f.done()])

    def count(self):
        return self.n

    def submit(self, job):
        f = self.pool.submit(_run, job)
        self.busy.add(f)
        return f

    def flush(self):
        pass

    def __enter__(self):
        state = cloudpickle.dumps((self.app, Singleton.get_state()))
        self.pool = ProcessPoolExecutor(self.n, get_context("spawn"), _init, (state,))
        return self

    def __exit__(self, *e):
        self.pool.shutdown(cancel_futures=True)

"""Jobs of workers that don't share the study's folder, piece by piece; tests/distributed has real clusters of them."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from mnist_scaling.config import DataConfig, RunConfig, TrialConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study import files, layout
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import COMPLETE, PRUNED
from mnist_scaling.tuning.cell.trials import EXCLUDED, counting
from mnist_scaling.tuning.stored.channel import Channel
from mnist_scaling.tuning.stored.storage import open_storage
from mnist_scaling.tuning.stored.study_copy import StudyCopy, held
from mnist_scaling.tuning.sweep.tuner import Tuner
from mnist_scaling.tuning.trainer import Report
from mnist_scaling.tuning.workers import apart, execution, faults
from mnist_scaling.tuning.workers.apart import Answer, Luggage, Token
from mnist_scaling.tuning.workers.hydra_job import Application
from mnist_scaling.tuning.workers.job import Job
from mnist_scaling.tuning.workers.remote import Remote, Task

from .helpers import InProcess, bowl, composed, make_cells, make_tuner, trains_by
from .test_pruning import curve, pruner


def recorded(run: RunConfig, report: Report | None = None) -> TrainResult:
    """An analytic learning curve whose result has its reports, as that of a real run does."""
    if report is None:
        return curve(run)
    reports: list[tuple[float, float]] = []

    def keep(number: int, loss: float) -> bool:
        reports.append((number / 4, loss))
        return report(number, loss)

    return replace(curve(run, keep), reports=tuple(reports))


class Apart:
    """A launcher that runs each job as a worker without the study's folder does, in a folder of its own."""

    def __init__(self, folder: Path, elsewhere: Path, node: Any) -> None:
        self.folder, self.elsewhere, self.node = folder, elsewhere, node
        self.tuner: Tuner | None = None

    def __call__(self, jobs: Sequence[Sequence[str]]) -> None:
        assert self.tuner is not None
        for job in [job for cell in self.tuner.cells.values() for job in cell.running]:
            here = self.elsewhere / f"{job.stage}-{job.number}"
            trial = TrialConfig(job.stage, job.study, job.index, job.number, job.origin)
            run = replace(job.cell.run, seed=job.seed, trial=trial)
            optim = replace(run.optim, lr=job.params["optim.lr"], batch_size=job.params["optim.batch_size"])
            run = replace(run, optim=optim, model=replace(run.model, dropout=job.params["model.dropout"]))
            # What travels has been pickled: it shares nothing with the sweep.
            copy = None if job.study_copy is None else pickle.loads(pickle.dumps(job.study_copy()))
            if copy is None:
                self.work(run, here, job)
            else:
                with copy.held(here):
                    self.work(run, here, job)

    def work(self, run: RunConfig, here: Path, job: Job) -> None:
        own = here / job.folder
        execution.work(run, own, Channel(run.trial, None, here, self.node), trains_by(recorded))
        left = apart._left(own)
        assert left is not None
        apart.keep(job, Answer(None, {str(job.folder): left}), self.folder)


def told(folder: Path) -> list[Any]:
    study = optuna.load_study(study_name="all", storage=open_storage(None, folder))
    return [(t.number, t.state, t.value, t.params, t.intermediate_values, t.system_attrs) for t in study.trials]


@pytest.mark.parametrize("name", ["none", "median", "successive_halving", "hyperband"])
def test_a_pruner_decides_by_the_copy_of_a_study_as_by_the_study(name: str, tmp_path: Path) -> None:
    node, states = pruner(name), []
    near, far = tmp_path / "near", tmp_path / "far"
    apart_launch = Apart(far, tmp_path / "elsewhere", node)
    for folder, launch in ((near, InProcess(near, recorded, pruner=node)), (far, apart_launch)):  # type: ignore[arg-type]
        tuner = make_tuner(folder, launch, "model.width=8", n_trials=10, n_repeats=1, batch=2)
        apart_launch.tuner = tuner
        tuner.run()
        states.append([row["state"] for row in tuner.ledger.rows.values()])
    assert states[0] == states[1]
    assert (PRUNED in states[0]) == (name != "none")
    assert told(far) == told(near)


def test_what_a_killed_sweep_had_not_told_is_told_with_its_reports(tmp_path: Path) -> None:
    """A kill between a record that came back and the word to the storage: the next sweep tells all of it."""
    node = pruner("successive_halving")
    launch = Apart(tmp_path, tmp_path.parent / "elsewhere", node)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    tuner = launch.tuner = make_tuner(tmp_path, launch, "model.width=8", n_trials=4, n_repeats=0)
    tuner.cells["all"].ended = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        tuner.run()
    assert told(tmp_path)[0][1].name == "RUNNING"
    launch.tuner = make_tuner(tmp_path, launch, "model.width=8", n_trials=4, n_repeats=0)
    launch.tuner.run()
    number, state, _, _, reports, notes = told(tmp_path)[0]
    assert (number, state.name, sorted(reports)) == (0, COMPLETE, [1, 2, 3])
    assert any("rung" in key for key in notes)


def test_a_record_that_came_back_is_the_one_that_a_shared_folder_would_have(tmp_path: Path) -> None:
    (cell,) = make_cells("model.width=8", "data.dir=mine")
    job = Job(cell, "repeat", 2, 2, 7, {}, "all")
    run = replace(cell.run, seed=7, trial=TrialConfig("repeat", "all", 2, 2))
    record = execution.measure(run, bowl)
    execution.write_record(tmp_path / "shared" / job.folder, record)

    far = tmp_path / "worker" / job.folder
    elsewhere = replace(run, data=replace(run.data, dir="/a/cache"))
    execution.write_record(far, execution.measure(elsewhere, bowl) | {"seconds": record["seconds"]})
    (far / layout.WEIGHTS).write_bytes(b"weights")
    left = apart._left(far)
    assert left is not None
    apart.keep(job, Answer(None, {str(job.folder): left}), tmp_path / "sweep")

    own = tmp_path / "sweep" / job.folder
    assert (own / layout.RESULT).read_bytes() == (tmp_path / "shared" / job.folder / layout.RESULT).read_bytes()
    assert (own / layout.WEIGHTS).read_bytes() == b"weights"
    assert sorted(path.name for path in own.iterdir()) == [layout.RESULT, layout.WEIGHTS]


def test_a_worker_knows_by_itself_whether_it_shares_the_folder(tmp_path: Path) -> None:
    token = Token(tmp_path)
    assert "can't write to" in str(token.why_apart())
    token.path.write_text("another sweep's")
    assert "can't write to" in str(token.why_apart())
    files.write_atomically(token.path, token.text)
    assert token.why_apart() is None
    assert replace(token, only_host=socket.gethostname()).why_apart() is None
    assert "must not write to a storage that is a file on n7" in str(replace(token, only_host="n7").why_apart())


def test_a_node_without_data_is_nobodys_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = []

    def prepare(data: DataConfig) -> None:
        asked.append(data.dir)
        raise InputError("no source answered.")

    (cell,) = make_cells("model.width=8", f"data.dir={tmp_path / 'there'}")
    luggage = Luggage.of(Job(cell, "repeat", 0, 0, 1, {}, "all"), b"")
    with pytest.raises(faults.MachineError) as raised:
        luggage.run(replace(trains_by(), prepare=prepare), {}, [], 0)
    assert faults.as_text(raised.value) == f"MachineError: on {socket.gethostname()}: no source answered"
    (tmp_path / "there").mkdir()
    with pytest.raises(faults.MachineError):
        luggage.run(replace(trains_by(), prepare=prepare), {}, [], 0)
    assert asked == [str(tmp_path / "cache/mnist_scaling/data"), str(tmp_path / "there")]


def test_a_copy_keeps_which_trials_count(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="all", storage=open_storage(None, tmp_path))
    for value in (1.0, 2.0):
        study.tell(study.ask(), value)
    study.set_user_attr(EXCLUDED, [0])
    with StudyCopy.of(study).held(tmp_path / "far"):
        copy = optuna.load_study(study_name="all", storage=held(tmp_path / "far"))
        assert [t.number for t in counting(copy)] == [t.number for t in counting(study)] == [1]
    assert held(tmp_path / "far") is None


class Idle:
    """An engine that is given nothing to do."""

    def submit(self, task: Task) -> Future[Any]:
        raise AssertionError

    def workers(self) -> int:
        return 1

    def close(self) -> None:
        pass


def test_a_sweep_that_is_refused_leaves_the_token_of_the_one_that_runs(tmp_path: Path) -> None:
    token = Token(tmp_path)
    files.write_atomically(token.path, token.text)
    application = Application(None, composed(), None)  # type: ignore[arg-type]
    with pytest.raises(InputError), Remote(application, Idle(), tmp_path, one_host=True):
        raise InputError("A study takes one sweep at a time")
    assert token.why_apart() is None

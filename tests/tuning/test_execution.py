from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import sqlalchemy.exc
from omegaconf import OmegaConf

from mnist_scaling.config import RunConfig, TrialConfig
from mnist_scaling.study import files
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import FAILED
from mnist_scaling.tuning.stored.channel import Channel
from mnist_scaling.tuning.trainer import Report
from mnist_scaling.tuning.workers import execution, faults

from .helpers import bowl, make_tuner, trains_by


def test_a_record_is_strict_json_with_everything_in_it() -> None:
    record = execution.measure(RunConfig(seed=3, trial=TrialConfig(stage="repeat", index=2)), bowl)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["stage"], record["number"], record["seed"], record["state"]) == ("repeat", 2, 3, "COMPLETE")
    assert record["config"]["optim.lr"] == 5e-3
    assert "state" not in record["result"]


def test_an_error_becomes_text() -> None:
    def fail(run: RunConfig, report: Report | None = None) -> TrainResult:
        raise LookupError("lost")

    record = execution.measure(RunConfig(), fail)
    assert record["state"] == FAILED
    assert record["result"] is None
    assert record["error"].endswith("LookupError: lost")
    with pytest.raises(LookupError):
        execution.measure(RunConfig(), fail, keep_errors=False)


def test_a_record_with_nan_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "result.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_job_ends_when_its_sweep_is_gone() -> None:
    """A killed sweep's loky workers would train on for ever."""
    owner = subprocess.Popen(["sleep", "60"])
    code = (
        "import socket, sys, time; from mnist_scaling.tuning.workers import execution;"
        "execution._end_with(socket.gethostname(), int(sys.argv[1])); print('on', flush=True); time.sleep(60)"
    )
    job = subprocess.Popen([sys.executable, "-c", code, str(owner.pid)], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "on\n"
    time.sleep(2 * execution._ORPHAN_CHECK_SECONDS)
    assert job.poll() is None
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert job.wait(timeout=20) == 1
    job.stdout.close()


def test_a_job_in_the_sweeps_own_process_needs_no_watch() -> None:
    import threading

    execution._end_with(None, os.getpid())
    assert "orphan-watch" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("reports", [True, False])
def test_a_run_whose_trial_was_given_away_leaves_no_record(tmp_path: Path, fails: bool, reports: bool) -> None:
    """A worker that outlives its sweep must not overwrite what the resumed sweep's own run has recorded."""
    cell = make_tuner(tmp_path, None, "model.width=8").cells["all"].study
    ask = cell.ask()
    run = RunConfig(trial=TrialConfig(stage="trial", study="all", index=ask.index, number=ask.number))
    node = OmegaConf.create({"_target_": "optuna.pruners.NopPruner"}) if reports else None

    def train(run: RunConfig, report: Report | None = None) -> TrainResult:
        cell.reclaim(ask.number)  # meanwhile the sweep was killed and resumed
        if report is not None:
            report(1, 0.5)
        if fails:
            raise ZeroDivisionError
        return bowl(run)

    execution.work(run, tmp_path / "trial-000", Channel(run.trial, None, tmp_path, node), trains_by(train))
    assert not (tmp_path / "trial-000/result.json").exists()


def test_a_run_that_a_cluster_starts_again_by_itself_leaves_its_trial_to_the_sweep(tmp_path: Path) -> None:
    """The pruner must not judge the second run by how far the first, whose worker died, had come."""
    cell = make_tuner(tmp_path, None, "model.width=8").cells["all"].study
    ask = cell.ask()
    run = RunConfig(trial=TrialConfig(stage="trial", study="all", index=ask.index, number=ask.number))
    node = OmegaConf.create({"_target_": "optuna.pruners.NopPruner"})
    reached = []

    def train(run: RunConfig, report: Report | None = None) -> TrainResult:
        assert report is not None
        for number in (1, 2):
            report(number, 0.5)
            reached.append(number)
        if len(reached) == 2:
            raise KeyboardInterrupt  # the worker dies
        return bowl(run)

    with pytest.raises(KeyboardInterrupt):
        execution.work(run, tmp_path / "trial-000", Channel(run.trial, None, tmp_path, node), trains_by(train))
    execution.work(run, tmp_path / "trial-000", Channel(run.trial, None, tmp_path, node), trains_by(train))
    assert reached == [1, 2]
    assert not (tmp_path / "trial-000/result.json").exists()


def torch_says(text: str) -> RuntimeError:
    return RuntimeError(f"[enforce fail at inline_container.cc:588] . {text}")


def database_says(text: str) -> optuna.exceptions.StorageInternalError:
    error = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = sqlalchemy.exc.OperationalError(None, None, sqlite3.OperationalError(text))
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/checkpoint.pt"),
            r"the disk is full \(/x/checkpoint.pt\)",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "images"), "No such file or directory"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (torch_says("PytorchStreamWriter failed writing file data/0: file write failed"), "file write failed"),
        (torch_says("unexpected pos 192 vs 128"), "unexpected pos"),
        (database_says("disk I/O error"), "disk I/O error"),
    ],
)
def test_a_fault_of_the_machine_is_nobodys_run(tmp_path: Path, error: Exception, words: str) -> None:
    """It leaves no record, and crosses to the sweep in words."""

    def train(run: RunConfig, report: Report | None = None) -> TrainResult:
        raise error

    run = RunConfig(trial=TrialConfig(stage="repeat"))
    channel = Channel(run.trial, None, tmp_path)
    with pytest.raises(faults.MachineError, match=words) as raised:
        execution.work(run, tmp_path / "repeat-000", channel, trains_by(train))
    assert not (tmp_path / "repeat-000/result.json").exists()
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


@pytest.mark.parametrize("error", [MemoryError("batch too large"), RuntimeError("shapes differ"), ZeroDivisionError()])
def test_other_errors_are_the_runs_own(error: Exception) -> None:
    def train(run: RunConfig, report: Report | None = None) -> TrainResult:
        raise error

    assert execution.measure(RunConfig(), train)["state"] == FAILED


def test_a_record_is_written_although_the_storage_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faults, "STEP_WAITS", (0.0,))
    trial = TrialConfig(stage="trial", study="all", index=0, number=0)
    channel = Channel(trial, f"sqlite:///{tmp_path}/no/such/folder.db", tmp_path)
    execution.work(RunConfig(trial=trial), tmp_path / "trial-000", channel, trains_by())
    record = files.read_json(tmp_path / "trial-000/result.json")
    assert record is not None
    assert record["state"] == "COMPLETE"
    assert "the next try is in 0 s" in capsys.readouterr().err

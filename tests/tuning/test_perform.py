"""The worker's side: a job becomes an outcome, whatever happens inside it."""

from __future__ import annotations

import errno
import functools
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_scaling.config import DataConfig, RunConfig, from_values
from mnist_scaling.errors import InputError
from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import CONTROL, FAILED, NOTES, PRUNED, RANGES, SAMPLER, TrainResult
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.cell.trial import Trial
from mnist_scaling.tuning.task import Report, Values
from mnist_scaling.tuning.workers import faults, perform
from mnist_scaling.tuning.workers.job import Job, Outcome, Parcel, Pruning
from mnist_scaling.tuning.workers.perform import measure

from .helpers import Train, Trains, bowl, make_cells


@functools.cache
def cell_of_width_8() -> Cell:
    (cell,) = make_cells("model.width=8")
    return cell


def parcel(folder: Path, stage: str = "repeat", payload: Mapping[str, Any] | None = None, **more: Any) -> Parcel:
    """A job of a cell of width 8, in a folder of its own."""
    cell = cell_of_width_8()
    job = Job(cell.name, f"all/{stage}-002", (), {"optim.lr": 0.02, "seed": 3}, stage, 2, 3, SAMPLER)
    own = folder / job.folder
    own.mkdir(parents=True, exist_ok=True)
    values = {**cell.values, **job.settings, "trial.stage": stage}
    return Parcel(replace(job, **more), values, str(own), {"data.dir": str(folder)} | dict(payload or {}))


def outcome_of(given: Parcel, train: Train) -> Outcome:
    """What a worker makes of a parcel that has travelled."""
    found: Outcome = pickle.loads(pickle.dumps(perform.perform(pickle.loads(pickle.dumps(given)), Trains(train))))
    return found


def fails_with(error: Exception) -> Train:
    def fail(run: RunConfig, report: Report | None = None) -> TrainResult:
        raise error

    return fail


def test_a_record_is_strict_json_with_everything_in_it(tmp_path: Path) -> None:
    record = outcome_of(parcel(tmp_path), bowl).record
    assert record is not None
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["stage"], record["number"], record["seed"], record["state"]) == ("repeat", 2, 3, "COMPLETE")
    assert (record["config"]["optim.lr"], record["config"]["model.width"]) == (0.02, 8)
    assert "state" not in record["result"]
    assert record["origin"] is None
    assert not {NOTES, RANGES} & set(record)


def test_a_trials_record_says_how_it_was_asked_for(tmp_path: Path) -> None:
    asked = parcel(tmp_path, "trial", notes={"group": [1, 2]}, ranges={"optim.lr": "its range"})
    record = outcome_of(asked, bowl).record
    assert record is not None
    assert (record["origin"], record[NOTES], record[RANGES]) == (SAMPLER, {"group": [1, 2]}, {"optim.lr": "its range"})
    assert record["result"]["test_loss"] is None


def test_an_error_of_the_run_becomes_text_in_its_record(tmp_path: Path) -> None:
    for error in (LookupError("lost"), KeyError("lr"), RuntimeError("shapes differ")):
        record = outcome_of(parcel(tmp_path), fails_with(error)).record
        assert record is not None
        assert (record["state"], record["result"]) == (FAILED, None)
        assert record["error"].endswith(f"{type(error).__name__}: {error}")
    record = outcome_of(parcel(tmp_path), fails_with(InputError("`loss` must be a number."))).record
    assert record is not None
    assert record["error"] == "`loss` must be a number."  # a sentence needs no traceback
    with pytest.raises(LookupError):
        measure({}, "single", 0, lambda: fails_with(LookupError("lost"))(RunConfig(), None), keep_errors=False)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/weights.pt"), "the disk is full (/x/weights.pt)"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0"), "failed writing file"),
        (RuntimeError("[enforce fail] . unexpected pos 192 vs 128"), "unexpected pos"),
    ],
)
def test_a_fault_of_the_machine_leaves_no_record(tmp_path: Path, error: Exception, words: str) -> None:
    found = outcome_of(parcel(tmp_path), fails_with(error))
    assert found.record is None
    assert faults.is_text(found.error)
    assert words in str(found.error)


def test_a_setting_that_breaks_a_rule_leaves_no_record(tmp_path: Path) -> None:
    given = parcel(tmp_path)
    found = outcome_of(replace(given, values={**given.values, "optim.lr": -1.0}), bowl)
    assert found == Outcome(None, found.error)
    assert "`optim.lr > 0` must hold" in str(found.error)
    assert not faults.is_text(found.error)


def reports(losses: list[float]) -> Train:
    """A run that reports these losses, unless it is stopped."""

    def train(run: RunConfig, report: Report | None = None) -> TrainResult:
        assert report is not None
        for number, loss in enumerate(losses, 1):
            if report(number, loss):
                return replace(bowl(run), state=PRUNED, val_loss=None)
        return bowl(run)

    return train


@pytest.mark.parametrize(("origin", "state"), [(SAMPLER, PRUNED), (CONTROL, "COMPLETE")])
def test_a_pruner_stops_a_trial_by_what_travels_with_it_but_never_the_control(
    tmp_path: Path, origin: str, state: str
) -> None:
    node = {"_target_": "optuna.pruners.SuccessiveHalvingPruner", "min_resource": 1, "reduction_factor": 2}
    rung = "completed_rung_0"
    done = Trial(0, {}, {}, state="COMPLETE", value=0.1, reports=(0.1, 0.1), notes={rung: 0.1})
    earlier = (done, replace(done, index=1))
    asked = parcel(tmp_path, "trial", origin=origin, pruning=Pruning(node, earlier, "all"), notes={"own": 1})
    record = outcome_of(asked, reports([0.9, 0.9, 0.9])).record
    assert record is not None
    assert record["state"] == state
    assert record[NOTES].items() >= {"own": 1, rung: 0.9}.items()


def test_files_come_back(tmp_path: Path) -> None:
    given = parcel(tmp_path)

    class Leaves(Trains):
        def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
            (folder / layout.WEIGHTS).write_bytes(b"weights")
            return bowl(from_values(values))

    shared = perform.perform(given, Leaves())
    assert (shared.files, (Path(given.folder) / layout.WEIGHTS).read_bytes()) == ({}, b"weights")
    far = perform.perform(replace(given, folder="/no/such/folder"), Leaves())
    assert far.files == {layout.WEIGHTS: b"weights"}
    assert far.record is not None
    assert shared.record is not None
    assert far.record | {"seconds": 0} == shared.record | {"seconds": 0}


def test_a_record_has_the_places_of_the_sweep_whatever_the_worker_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen: list[RunConfig] = []

    class Watches(Trains):
        def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
            run = from_values(values)
            seen.append(run)
            assert run.init_from is not None
            assert (Path(run.init_from) / layout.WEIGHTS).read_bytes() == b"weights"
            return bowl(run)

    payload = {"data.dir": "/nowhere/data", "init_from": "/nowhere/run", "weights": b"weights"}
    given = parcel(tmp_path, payload=payload)
    given = replace(given, values={**given.values, "data.dir": "data", "init_from": "run"})
    record = perform.perform(given, Watches()).record
    assert record is not None
    assert (record["config"]["data.dir"], record["config"]["init_from"]) == ("data", "run")
    assert seen[0].data.dir == str(tmp_path / "cache/mnist_scaling/data")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / layout.WEIGHTS).write_bytes(b"weights")
    there = {"data.dir": str(tmp_path), "init_from": str(tmp_path / "run")}
    perform.perform(replace(given, payload=there), Watches())
    assert (seen[1].data.dir, seen[1].init_from) == (str(tmp_path), str(tmp_path / "run"))


def test_a_node_without_data_is_nobodys_fault(tmp_path: Path) -> None:
    asked = []

    class NoSource(Trains):
        def fetch(self, data: DataConfig) -> dict[str, Any]:
            asked.append(data.dir)
            raise InputError("no source answered.")

    task = NoSource()
    assert perform.perform(parcel(tmp_path), task).record is not None  # the sweep's own host was prepared before
    found = perform.perform(replace(parcel(tmp_path), host="n7"), task)
    assert found == Outcome(None, f"MachineError: on {socket.gethostname()}: no source answered")
    assert asked == [str(tmp_path)]


def test_a_record_with_nan_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "result.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_worker_ends_when_its_sweep_is_gone() -> None:
    """A killed sweep's workers would train on for ever."""
    owner = subprocess.Popen(["sleep", "60"])
    code = (
        "import sys, time; from mnist_scaling.tuning.workers import perform;"
        "perform._end_with(int(sys.argv[1])); print('on', flush=True); time.sleep(60)"
    )
    job = subprocess.Popen([sys.executable, "-c", code, str(owner.pid)], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "on\n"
    time.sleep(2 * perform._ORPHAN_CHECK_SECONDS)
    assert job.poll() is None
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert job.wait(timeout=20) == 1
    job.stdout.close()


def test_a_job_in_the_sweeps_own_process_needs_no_watch() -> None:
    import threading

    perform._end_with(os.getpid())
    assert "orphan-watch" not in [thread.name for thread in threading.enumerate()]

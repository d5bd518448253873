"""Many runs in one process: the rows of one run per process, also when the process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.study import layout

SWEEP = [
    sys.executable, "-m", "mnist_scaling.train", "-m", "experiment=smoke", "scale=smoke", "hydra.sweeper.n_trials=4",
    "reports.least=16", "reports.cost=0.5", "hydra.launcher.n_workers=1",
]  # fmt: skip


def sweep(folder: Path, data_dir: str, *more: str) -> pd.DataFrame:
    done = subprocess.run([*SWEEP, f"data.dir={data_dir}", *more], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(folder / "multirun/smoke" / layout.TRIALS).drop(columns="seconds")


@pytest.fixture(scope="module")
def one_by_one(data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return sweep(tmp_path_factory.mktemp("alone"), data_dir)


def test_runs_in_threads_of_one_process_give_the_rows_of_processes(
    one_by_one: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    pd.testing.assert_frame_equal(sweep(tmp_path, data_dir, "hydra.launcher.per_process=6"), one_by_one)


def test_a_key_that_follows_a_tuned_one_is_followed_there_too(data_dir: str, tmp_path: Path) -> None:
    follows = "optim.weight_decay=${optim.lr}"
    (tmp_path / "alone").mkdir()
    (tmp_path / "beside").mkdir()
    alone = sweep(tmp_path / "alone", data_dir, follows, "hydra.sweeper.n_trials=1")
    beside = sweep(tmp_path / "beside", data_dir, follows, "hydra.sweeper.n_trials=1", "hydra.launcher.per_process=6")
    pd.testing.assert_frame_equal(beside, alone)


def test_a_killed_process_takes_nothing_but_its_runs(one_by_one: pd.DataFrame, data_dir: str, tmp_path: Path) -> None:
    command = [*SWEEP, f"data.dir={data_dir}", "hydra.launcher.per_process=6"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=tmp_path, stdout=quiet, stderr=quiet) as running:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.rglob(layout.RESULT))) < 5:
            assert running.poll() is None, "the sweep ended"
            assert time.monotonic() < deadline, "the sweep got nowhere"
            time.sleep(0.02)
        tree = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in tree.splitlines()]
        (worker,) = [int(p) for p, parent, args in rows if int(parent) == running.pid and "spawn_main" in args]
        os.kill(worker, signal.SIGKILL)
        assert running.wait(120) == 0
    found = pd.read_csv(tmp_path / "multirun/smoke" / layout.TRIALS).drop(columns="seconds")
    pd.testing.assert_frame_equal(found, one_by_one)

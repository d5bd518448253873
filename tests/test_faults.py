"""Faults while a real sweep runs on real MNIST: processes killed, a disk that fills up, two sweeps at once.

After each, the same command must end with exactly the trials of an undisturbed study, having run no
finished one again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pandas as pd
import pytest

from mnist_scaling.study import layout
from mnist_scaling.tuning.optuna_mirror import GRID

pytestmark = pytest.mark.slow

# Short runs report too, so that what a pruner decides is under test as well.
REPORTS = ("reports.least=16", "reports.cost=0.5")
SWEEP = ("mnist_scaling.train", "-m", "experiment=smoke", "scale=smoke", "hydra.sweeper.n_trials=4", *REPORTS)
N_RUNS = 4 * (4 + 2)

Command = Callable[..., subprocess.CompletedProcess[str]]


def start(folder: Path, data_dir: str, *more: str) -> subprocess.Popen[bytes]:
    """A sweep in a process group of its own."""
    command = [sys.executable, "-m", *SWEEP, f"data.dir={data_dir}", *more]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet, start_new_session=True)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the sweep got nowhere"
        time.sleep(0.02)


def finished(folder: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in folder.rglob("result.json")}


def workers_of(pid: int) -> list[int]:
    """The worker processes of a sweep, which its fork server has forked."""
    tree = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [(int(p), int(parent), args) for p, parent, args in (line.split(None, 2) for line in tree.splitlines())]
    servers = [p for p, parent, args in rows if parent == pid and "forkserver" in args]
    return [p for p, parent, _ in rows if parent in servers]


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended but that nobody waited for (a zombie) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def resume(folder: Path, data_dir: str, command: Command, kept: dict[Path, str], *more: str) -> pd.DataFrame:
    """Run the same command again; its trials, after checking that nothing was lost or run twice."""
    done = command(*SWEEP, f"data.dir={data_dir}", *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    now = finished(folder)
    assert {path: now[path] for path in kept} == kept
    assert len(now) == N_RUNS
    cells = pd.read_csv(folder / "multirun/smoke/cells.csv")
    assert cells["n_trials"].tolist() == [4] * 4
    assert cells["n_repeats"].tolist() == [2] * 4
    return pd.read_csv(folder / "multirun/smoke/trials.csv").drop(columns="seconds")


@pytest.fixture(scope="module")
def undisturbed(data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(folder, data_dir).wait(timeout=300) == 0
    return pd.read_csv(folder / "multirun/smoke/trials.csv").drop(columns="seconds")


@pytest.mark.parametrize("n_done", [0, 9])
def test_kill_9_of_the_whole_sweep_and_the_loss_of_its_mirror(
    n_done: int, undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path, command: Command
) -> None:
    sweep = start(tmp_path, data_dir)
    journal = tmp_path / "multirun/smoke" / layout.JOURNAL
    wait_for(lambda: journal.exists() and len(finished(tmp_path)) >= n_done)
    os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()
    journal.unlink()
    kept = finished(tmp_path)
    assert n_done <= len(kept) < N_RUNS
    url = f"sqlite:///{tmp_path}/other.db"
    table = resume(tmp_path, data_dir, command, kept, *([f"hydra.sweeper.storage={url}"] if n_done else []))
    pd.testing.assert_frame_equal(table, undisturbed)
    if n_done:  # another mirror than the sweep began with holds all trials too
        studies = optuna.get_all_study_summaries(url)
        shown = sum(study.n_trials for study in studies if not study.study_name.endswith(GRID))
        assert shown == (undisturbed["stage"] == "trial").sum()


def test_kill_9_of_the_sweep_alone_leaves_no_workers_behind(
    undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path, command: Command
) -> None:
    sweep = start(tmp_path, data_dir)
    wait_for(lambda: len(finished(tmp_path)) >= 3)
    workers = workers_of(sweep.pid)
    assert workers
    sweep.kill()
    sweep.wait()
    wait_for(lambda: not any(alive(pid) for pid in workers), seconds=30)
    pd.testing.assert_frame_equal(resume(tmp_path, data_dir, command, finished(tmp_path)), undisturbed)


def test_kill_9_of_a_worker_costs_nothing(undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path) -> None:
    sweep = start(tmp_path, data_dir)
    wait_for(lambda: len(finished(tmp_path)) >= 7)
    os.kill(workers_of(sweep.pid)[0], signal.SIGKILL)
    assert sweep.wait(timeout=300) == 0
    trials = pd.read_csv(tmp_path / "multirun/smoke/trials.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(trials, undisturbed)


def test_runs_are_pruned_in_these_tests(undisturbed: pd.DataFrame) -> None:
    assert (undisturbed["state"] == "PRUNED").sum() >= 2


def test_a_setting_that_kills_its_worker_twice_is_recorded_and_the_sweep_goes_on(
    undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    sweep = start(tmp_path, data_dir, "hydra.launcher.n_workers=1", "hydra.sweeper.trials_per_batch=1")
    run = tmp_path / "multirun/smoke/width=4/data_fraction=0.015625/trial-000"

    def killed_twice() -> bool:
        for worker in workers_of(sweep.pid):
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(worker, signal.SIGKILL)
        return (run / layout.RESULT).exists()

    wait_for(killed_twice)
    assert sweep.wait(timeout=300) == 0
    trials = pd.read_csv(tmp_path / "multirun/smoke/trials.csv")
    failed = trials[trials["state"] == "FAILED"]
    assert failed[["width", "data_fraction", "stage", "number"]].to_numpy().tolist() == [[4, 0.015625, "trial", 0]]
    assert failed["error"].iloc[0].startswith("it left no record twice: its process died with exit code -9")
    cells = pd.read_csv(tmp_path / "multirun/smoke/cells.csv")
    assert cells["n_trials"].tolist() == [4] * 4
    assert cells["n_failed"].sum() == 1
    assert len(trials) == len(undisturbed)


def test_a_worker_killed_while_it_starts_does_not_stop_the_sweep(data_dir: str, tmp_path: Path) -> None:
    """Its start-up data once filled a pipe that nobody read any more, and the sweep waited for ever."""
    sweep = start(tmp_path, data_dir, "hydra.launcher.n_workers=1", "hydra.sweeper.n_trials=1")
    for _ in range(3):  # at once, before it has read anything
        seen: list[int] = []
        wait_for(lambda seen=seen: bool(seen.extend(workers_of(sweep.pid)) or seen))  # type: ignore[misc]
        with contextlib.suppress(ProcessLookupError):  # it may have gone by itself since it was seen
            os.kill(seen[0], signal.SIGKILL)
        time.sleep(0.3)
    assert sweep.wait(timeout=300) == 0
    assert pd.read_csv(tmp_path / "multirun/smoke/cells.csv")["n_trials"].tolist() == [1] * 4


def test_a_password_stands_in_no_file_of_a_study_and_a_mirror_that_is_away_costs_a_warning(
    data_dir: str, tmp_path: Path, command: Command
) -> None:
    url = "postgresql+psycopg://me:w0rd@localhost:1/studies"
    done = command(*SWEEP, f"data.dir={data_dir}", "hydra.sweeper.n_trials=1", f"hydra.sweeper.storage={url}")
    assert done.returncode == 0, done.stderr
    assert "the mirror for Optuna's dashboard can't be written" in done.stderr
    study = tmp_path / "multirun/smoke"
    assert "hydra.sweeper.storage=…" in json.loads((study / "study.json").read_text())["command"]
    assert not [path for path in study.rglob("*") if path.is_file() and b"w0rd" in path.read_bytes()]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 120 kB, where mounting one is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing(
    small_disk: Path, undisturbed: pd.DataFrame, data_dir: str, command: Command
) -> None:
    done = command(*SWEEP, f"data.dir={data_dir}", cwd=small_disk)
    assert done.returncode == 1
    assert "but: the disk is full" in done.stderr
    assert done.stderr.endswith("Nothing that was measured is lost: mend it, and run the same command again.\n")
    assert "Traceback" not in done.stderr
    kept = finished(small_disk)
    assert 0 < len(kept) < N_RUNS
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    pd.testing.assert_frame_equal(resume(small_disk, data_dir, command, kept), undisturbed)


def test_a_second_sweep_is_refused_and_harms_nothing(
    undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path, command: Command
) -> None:
    first = start(tmp_path, data_dir)
    wait_for(lambda: len(finished(tmp_path)) >= 2)
    os.killpg(first.pid, signal.SIGSTOP)  # so that it has not ended when the second one starts
    second = command(*SWEEP, f"data.dir={data_dir}", cwd=tmp_path)
    os.killpg(first.pid, signal.SIGCONT)
    assert second.returncode == 1
    assert "A study takes one sweep at a time" in second.stderr
    assert first.wait(timeout=300) == 0
    table = pd.read_csv(tmp_path / "multirun/smoke/trials.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(table, undisturbed)

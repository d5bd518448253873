"""One study, one driver, in a storage that two folders share: real SQLite, real journals, real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.stored.lease import HOST, NAMESPACE, PID, SEEN, Lease
from mnist_scaling.tuning.stored.storage import open_storage

KINDS = ("sqlite:///{}/shared.db", "journal://{}/shared.log")


@pytest.fixture(params=KINDS, ids=["sqlite", "journal"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param.format(tmp_path))


def lease(url: str, folder: Path, beat: float = 0.1, silent: float = 60.0) -> Lease:
    return Lease(open_storage(url, folder), "smoke: ", folder, beat, silent)


def claims(url: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="smoke: sweeps", storage=open_storage(url, Path())).trials


def hold(url: str, folder: Path, held: Event) -> None:
    with lease(url, folder):
        held.set()
        time.sleep(120)


def holder(url: str, folder: Path) -> multiprocessing.process.BaseProcess:
    """Another process that holds the lease."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold, args=(url, folder, held))
    process.start()
    assert held.wait(120)
    return process


def test_a_second_sweep_is_refused_with_the_firsts_host_process_and_folder(url: str, tmp_path: Path) -> None:
    first = holder(url, tmp_path / "one")
    assert first.pid is not None
    try:
        words = f"process {first.pid} on {socket.gethostname()} is running smoke in {tmp_path / 'one'} on the same"
        with pytest.raises(InputError, match=words), lease(url, tmp_path / "two"):
            pass
        assert first.is_alive()
    finally:
        first.kill()
        first.join()


def test_the_lease_of_a_killed_sweep_is_taken_over_with_a_word(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = holder(url, tmp_path / "one")
    first.kill()
    first.join()
    with lease(url, tmp_path / "two") as mine:
        mine.check()
    assert f"Warning: process {first.pid} on {socket.gethostname()} is gone" in capsys.readouterr().err
    assert [claim.state for claim in claims(url)] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_lease_ends_with_its_sweep_however_that_ends(url: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lease(url, tmp_path):
        raise KeyboardInterrupt
    with lease(url, tmp_path):
        pass
    assert [claim.state for claim in claims(url)] == [TrialState.COMPLETE] * 2
    assert "lease" not in [thread.name for thread in threading.enumerate()]


def test_a_silent_sweep_of_another_machine_is_watched_before_it_is_taken_over(url: str, tmp_path: Path) -> None:
    storage = open_storage(url, tmp_path)
    with lease(url, tmp_path / "one") as first:
        first._ended.set()  # its beats stop, as when the machine is gone
        first._thread.join()
        for name, value in ((HOST, "elsewhere"), (PID, 1), (SEEN, time.time() - 3600)):
            storage.set_trial_user_attr(first._claim, name, value)
        with lease(url, tmp_path / "two"), pytest.raises(InputError, match="another one has taken over"):
            first.check()


def test_a_clock_that_runs_behind_makes_nobody_silent(url: str, tmp_path: Path) -> None:
    storage = open_storage(url, tmp_path)
    ended = threading.Event()
    with lease(url, tmp_path / "one", beat=60.0) as first:
        storage.set_trial_user_attr(first._claim, HOST, "elsewhere")
        storage.set_trial_user_attr(first._claim, SEEN, time.time() - 3600)

        def beat() -> None:
            while not ended.wait(0.1):
                storage.set_trial_user_attr(first._claim, SEEN, time.time() - 3600)

        beats = threading.Thread(target=beat)
        beats.start()
        try:
            with pytest.raises(InputError, match="on elsewhere is running"), lease(url, tmp_path / "two", beat=0.5):
                pass
        finally:
            ended.set()
            beats.join()


def test_a_process_of_the_same_number_in_another_container_is_not_the_same(url: str, tmp_path: Path) -> None:
    dead = multiprocessing.get_context("spawn").Process(target=int)
    dead.start()
    dead.join()
    storage = open_storage(url, tmp_path)
    with lease(url, tmp_path / "one") as first:
        for name, value in ((PID, dead.pid), (NAMESPACE, 1)):
            storage.set_trial_user_attr(first._claim, name, value)
        with pytest.raises(InputError, match=f"process {dead.pid} "), lease(url, tmp_path / "two"):
            pass


def claim_at(url: str, folder: Path, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    try:
        with lease(url, folder):
            time.sleep(3)
    except InputError:
        os._exit(3)


def test_of_sweeps_that_start_together_one_goes_on(url: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = time.time() + 10
    processes = [context.Process(target=claim_at, args=(url, tmp_path / str(i), start)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert sorted(process.exitcode or 0 for process in processes) == [0, 3, 3]


def test_a_stopped_sweep_finds_that_it_was_taken_over(tmp_path: Path) -> None:
    """Stopped by a signal for longer than a claim lasts, and continued."""
    url = KINDS[0].format(tmp_path)
    first = holder(url, tmp_path / "one")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGSTOP)
    time.sleep(1)
    try:
        with lease(url, tmp_path / "two", silent=0.3) as second:
            os.kill(first.pid, signal.SIGCONT)
            time.sleep(1)
            second.check()
        assert [claim.state for claim in claims(url)] == [TrialState.FAIL, TrialState.COMPLETE]
    finally:
        first.kill()
        first.join()

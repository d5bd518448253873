"""Studies on a real PostgreSQL: several drivers, kills, a server that goes away, answers that are lost, passwords.

The server is a throw-away one on loopback (`postgres_server.Server`). After each fault the rows must be those of a
study on the default storage.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.study import layout
from mnist_scaling.tuning.stored import patience
from mnist_scaling.tuning.stored.storage import open_once, open_storage
from tests.distributed import postgres_server
from tests.distributed.postgres_server import LossyLink, Server
from tests.distributed.study import N_RUNS, SWEEP
from tests.tuning import analytic_training
from tests.tuning.helpers import InProcess, composed, make_tuner

pytestmark = [
    pytest.mark.distributed,
    # Storages that a test opens in this process are never closed: a sweep's end with its process.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FEW = {
    "max_connections": "8", "superuser_reserved_connections": "0", "max_wal_senders": "0", "log_min_messages": "fatal",
}  # fmt: skip
"""Settings of a server with fewer connections than processes that may want one."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: make test-distributed installs it")
    if postgres_server.programs() is None:
        pytest.skip(postgres_server.MISSING)
    with Server(FEW) as running:
        yield running


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    """An empty database of one's own."""
    return server.create(request.node.name)


@pytest.fixture(autouse=True)
def _connections_end() -> Iterator[None]:
    yield
    open_once.cache_clear()
    gc.collect()


class Driver:
    """A sweep in a process group of its own."""

    def __init__(self, folder: Path, data_dir: str, *more: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        command = [*SWEEP, f"data.dir={data_dir}", *more]
        with (folder / "out").open("a") as out, (folder / "err").open("a") as err:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=out, stderr=err, env=environment, start_new_session=True
            )

    def records(self) -> dict[Path, str]:
        return {path: path.read_text() for path in self.folder.rglob(layout.RESULT)}

    def until(self, n: int) -> Driver:
        """Wait until that many runs have a record."""
        wait_for(lambda: len(self.records()) >= n or self.process.poll() is not None)
        assert self.process.poll() is None, self.err()
        return self

    def code(self) -> int:
        return self.process.wait(timeout=200)

    def err(self) -> str:
        return (self.folder / "err").read_text()

    def trials(self, name: str = "smoke") -> pd.DataFrame:
        assert self.code() == 0, self.err()
        return pd.read_csv(self.folder / layout.MULTIRUN / name / layout.TRIALS).drop(columns="seconds")


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the sweep got nowhere"
        time.sleep(0.02)


def assert_nowhere(word: str, folder: Path) -> None:
    assert not [path for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


@pytest.mark.in_ci
def test_three_drivers_on_one_empty_database(
    server: Server, url: str, undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    """Two of them are checkouts with one name; and the password stands in nothing that they leave."""
    drivers = [
        Driver(tmp_path / folder, data_dir, f"hydra.sweeper.storage={url}", *more, "hydra.launcher.n_workers=1")
        for folder, more in (("one", ()), ("two", ()), ("three", ("name=other",)))
    ]
    for driver, name in zip(drivers, ("smoke", "smoke", "other"), strict=True):
        pd.testing.assert_frame_equal(driver.trials(name), undisturbed)
    names = [str(name) for (name,) in server.sql("SELECT study_name FROM studies", url)]
    cells = [name for name in names if "width=" in name]
    assert len(cells) == 3 * 4
    assert len({name.partition(":")[0] for name in cells}) == 3
    for step in ("fit", "report"):
        done = subprocess.run(
            [sys.executable, "-m", f"mnist_scaling.{step}", "name=smoke"], cwd=tmp_path / "one", capture_output=True
        )
        assert done.returncode == 0, done.stderr
        (tmp_path / "one" / step).write_bytes(done.stdout + done.stderr)
    assert "me:***@" in (tmp_path / "one/multirun/smoke" / layout.STUDY).read_text()
    assert_nowhere(server.password, tmp_path)


def test_a_server_that_stays_away_and_then_a_killed_driver(
    server: Server, url: str, undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    """Three sweeps one after the other, of which two come to harm; a copy of the folder is refused meanwhile."""
    one, storage = tmp_path / "one", f"hydra.sweeper.storage={url}"
    first = Driver(one, data_dir, storage, "hydra.sweeper.storage_patience=3").until(4)
    server.stop()
    try:
        assert first.code() == 1
    finally:
        server.start()
    *_, last = first.err().strip().splitlines()
    assert last.startswith("Error: A study needs a disk, a storage and a network that work, but one does not: the ")
    assert ", for 3 s (" in last
    assert last.endswith("Nothing that was measured is lost: mend it, and run the same command again.")
    assert "Traceback" not in first.err()
    kept = first.records()

    second = Driver(one, data_dir, storage).until(len(kept) + 4)
    # It is stopped, not dead, until the copy was refused.
    os.killpg(second.process.pid, signal.SIGSTOP)
    shutil.copytree(one, tmp_path / "copy", ignore=shutil.ignore_patterns("out", "err", layout.LOCK))
    copy = Driver(tmp_path / "copy", data_dir, storage)
    assert copy.code() == 1
    assert f"process {second.process.pid} on {socket.gethostname()} is running smoke" in copy.err()
    assert f"in {one}/multirun/smoke on the same storage" in copy.err()
    os.killpg(second.process.pid, signal.SIGKILL)
    second.process.wait()
    kept |= second.records()
    assert 8 <= len(kept) < N_RUNS

    third = Driver(one, data_dir, storage)
    pd.testing.assert_frame_equal(third.trials(), undisturbed)
    assert {path: text for path, text in third.records().items() if path in kept} == kept
    assert len(third.records()) == N_RUNS
    assert_nowhere(server.password, tmp_path)


@pytest.mark.in_ci
def test_a_server_that_restarts_and_cuts_connections_costs_nothing(
    server: Server, url: str, undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    driver = Driver(tmp_path, data_dir, f"hydra.sweeper.storage={url}").until(5)
    server.stop()
    time.sleep(6)
    kept = driver.records()
    assert driver.process.poll() is None, driver.err()
    server.start()
    driver.until(len(kept) + 2)
    for _ in range(5):  # in whatever they are doing: asking, reporting, nothing
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                   "AND pid <> pg_backend_pid()", url)  # fmt: skip
        time.sleep(0.4)
    pd.testing.assert_frame_equal(driver.trials(), undisturbed)
    assert {path: text for path, text in driver.records().items() if path in kept} == kept
    assert "Warning: the storage postgresql+psycopg://me:***@127.0.0.1" in driver.err()
    assert "has not answered since" in driver.err()
    assert "Warning: the storage answers again, after" in driver.err()
    assert "Traceback" not in driver.err()
    assert_nowhere(server.password, tmp_path)


def test_what_keeps_a_database_from_opening_is_said_at_once_without_a_password(
    server: Server, data_dir: str, tmp_path: Path
) -> None:
    def sentence(address: str) -> str:
        words = "`hydra.sweeper.storage` must be a database that opens"
        with pytest.raises(InputError, match=words) as raised, patience.hurry():  # as a sweep opens it first
            open_storage(address, tmp_path, 300.0)
        assert "me:***@127.0.0.1" in str(raised.value)
        assert server.password not in str(raised.value)
        return str(raised.value)

    assert 'database "nowhere" does not exist' in sentence(server.url("nowhere"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        assert "Connection refused" in sentence(server.url().replace(f":{server.port}/", f":{port}/"))
    with server.all_connections():
        assert "too many clients already" in sentence(server.url())
    driver = Driver(tmp_path, data_dir, f"hydra.sweeper.storage={server.url(password='wr0ng-w0rd')}")
    assert driver.code() == 1
    assert driver.err().count("\n") == 1
    assert 'password authentication failed for user "me"' in driver.err()
    assert_nowhere("wr0ng-w0rd", tmp_path)


@pytest.mark.parametrize(
    ("lost", "every"), [pytest.param("answer", 5, marks=pytest.mark.in_ci), ("answer", 8), ("question", 13)]
)
def test_answers_that_are_lost_leave_each_trial_once(
    lost: str, every: int, server: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every n-th COMMIT is carried out but its answer lost, or lost before the server has it."""
    monkeypatch.setattr(patience, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr("optuna.storages._rdb.storage.time.sleep", lambda seconds: None)
    pruner = composed()["hydra"]["sweeper"]["pruner"]

    def run(folder: Path, storage: str | None) -> pd.DataFrame:
        launch = InProcess(folder, lambda run, report: analytic_training.train(run, report), None, pruner, storage)
        make_tuner(folder, launch, "model.width=16,32", n_trials=5, batch=2, widen=True, url=storage).run()
        return pd.read_csv(folder / layout.TRIALS).drop(columns="seconds")

    with LossyLink(server.port, lost, every) as link:
        found = run(tmp_path / "lossy", url.replace(f":{server.port}/", f":{link.port}/"))
    pd.testing.assert_frame_equal(found, run(tmp_path / "whole", None))
    assert link.cuts >= 5
    # Each place in a cell has one trial that counts.
    twice = server.sql(
        "SELECT study_id, a.value_json FROM trials JOIN trial_user_attributes a USING (trial_id) WHERE a.key = 'index' "
        "AND trial_id NOT IN (SELECT trial_id FROM trial_user_attributes WHERE key = 'reclaimed') "
        "GROUP BY study_id, a.value_json HAVING count(*) > 1",
        url,
    )
    assert twice == []


def test_workers_of_dask_report_to_a_pruner_through_it(
    server: Server, url: str, undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec("distributed") is None:
        pytest.skip("distributed is not installed: make test-distributed installs it")
    driver = Driver(
        tmp_path, data_dir, f"hydra.sweeper.storage={url}", "hydra/launcher=dask", "hydra.launcher.n_workers=2"
    )
    pd.testing.assert_frame_equal(driver.trials(), undisturbed)
    assert_nowhere(server.password, tmp_path)

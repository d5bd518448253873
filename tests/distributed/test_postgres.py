"""A real PostgreSQL as the mirror of a study: whatever becomes of it, the rows are those of a study without one.

The server is a throw-away one on loopback (`postgres_server.Server`).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.study import layout
from mnist_scaling.tuning.optuna_mirror import GRID
from tests.distributed import postgres_server
from tests.distributed.postgres_server import Server
from tests.distributed.study import SWEEP

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: make test-distributed installs it")
    if postgres_server.programs() is None:
        pytest.skip(postgres_server.MISSING)
    with Server() as running:
        yield running


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    """An empty database of one's own."""
    return server.create(request.node.name)


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
def test_three_drivers_show_their_trials_in_one_empty_database(
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
    assert_nowhere(server.password, tmp_path)


def shown(server: Server, url: str) -> set[tuple[object, ...]]:
    """Number and value of every trial of a cell that the database has."""
    statement = (
        "SELECT s.study_name, t.number, t.state::text, v.value FROM trials t JOIN studies s USING (study_id) "
        "LEFT JOIN trial_values v USING (trial_id)"
    )
    rows = server.sql(statement, url)
    return {(str(name).partition(": ")[2], *rest) for name, *rest in rows if not str(name).endswith(GRID)}


@pytest.mark.in_ci
def test_a_server_that_goes_away_costs_a_warning_and_is_caught_up_with_later(
    server: Server, url: str, undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    whole = server.create(f"{url.rpartition('/')[2]}_whole")
    driver = Driver(tmp_path / "one", data_dir, f"hydra.sweeper.storage={url}").until(5)
    server.stop()
    try:
        pd.testing.assert_frame_equal(driver.trials(), undisturbed)
    finally:
        server.start()
    assert "Warning: the mirror" in driver.err()
    assert "Traceback" not in driver.err()
    kept = driver.records()
    # The same command on the finished study fills what was missed, and another database, and trains nothing.
    for address in (url, whole):
        again = Driver(tmp_path / "one", data_dir, f"hydra.sweeper.storage={address}")
        pd.testing.assert_frame_equal(again.trials(), undisturbed)
    assert driver.records() == kept
    found = shown(server, url)
    assert found == shown(server, whole)
    assert len(found) == (undisturbed["stage"] == "trial").sum()
    assert_nowhere(server.password, tmp_path)


def test_a_database_that_never_opens_costs_a_warning(
    server: Server, undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    driver = Driver(tmp_path, data_dir, f"hydra.sweeper.storage={server.url(password='wr0ng-w0rd')}")
    pd.testing.assert_frame_equal(driver.trials(), undisturbed)
    assert driver.err().count("Warning: ") == 1
    assert_nowhere("wr0ng-w0rd", tmp_path)

"""Clusters of Dask and Ray with two hosts, undisturbed and under faults: the rows of one machine, nothing made again.

The hosts are namespaces of this machine, joined by cables that can be cut (hosts.sh). `-k undisturbed` is one test per
engine, for CI.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.distributed.study import SWEEP, rows

HOSTS = Path(__file__).with_name("hosts.sh")
ENGINES = {"dask": "distributed", "ray": "ray"}

pytestmark = pytest.mark.distributed


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(ENGINES[request.param]) is None:
        pytest.skip(f"{ENGINES[request.param]} is not installed: make test-distributed installs it")
    return str(request.param)


@pytest.fixture(scope="module")
def command(data_dir: str) -> str:
    return " ".join((*SWEEP, f"data.dir={data_dir}"))


def run(folder: Path, script: str, command: str = "", engine: str = "") -> None:
    """Run a script with the words of hosts.sh in namespaces that have only its hosts."""
    isolated = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c"]
    probe = subprocess.run([*isolated, "ip link add probe type bridge"], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"this system allows no network namespace: {probe.stderr.strip()}")
    given = {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable, "SWEEP": command, "ENGINE": engine}
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            [*isolated, f"source {HOSTS}\n{script}"],
            cwd=folder,
            env=os.environ | given,
            stdout=log,
            stderr=log,
            timeout=600,
        )
    assert done.returncode == 0, (done.returncode, (folder / "log").read_text()[-3000:])


def check(folder: Path, undisturbed: pd.DataFrame) -> None:
    """The rows are those of one machine, and what was finished before a fault is the file that it was."""
    pd.testing.assert_frame_equal(rows(folder), undisturbed)
    noted = folder / "finished"
    for line in noted.read_text().splitlines() if noted.exists() else ():
        path, written = line.rsplit(" ", 1)
        assert (folder / path).stat().st_mtime == pytest.approx(float(written), abs=1e-6), f"{path} was made again"


def test_undisturbed_a_cluster_gives_the_rows_of_one_machine(
    engine: str, command: str, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    run(tmp_path, "host 2; cluster; sweep", command, engine)
    check(tmp_path, undisturbed)


def test_a_cluster_that_the_sweep_starts_gives_the_rows_of_one_machine(
    engine: str, command: str, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    run(tmp_path, f"$SWEEP hydra/launcher={engine} hydra.launcher.n_workers=2; pgrep 'raylet|gcs'; [ $? = 1 ]", command)
    check(tmp_path, undisturbed)


def test_a_killed_worker_and_then_its_killed_node_change_no_row(
    engine: str, command: str, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    script = (
        "host 2; cluster; start\nrecords 5; kill -9 $(training 2) || exit 7\nrecords 6; kill -9 $(processes 2)\nended"
    )
    run(tmp_path, script, command, engine)
    check(tmp_path, undisturbed)


def test_a_node_without_network_for_a_while_changes_no_row(
    engine: str, command: str, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    script = (
        "host 2; cluster; start\nrecords 6; training 2; ip link set cable2 down; sleep 45; ip link set cable2 up\nended"
    )
    run(tmp_path, script, command, engine)
    check(tmp_path, undisturbed)


def test_a_head_that_stays_away_ends_the_sweep_and_the_same_command_resumes_it(
    engine: str, command: str, undisturbed: pd.DataFrame, tmp_path: Path
) -> None:
    """With a sentence where the engine lets the sweep say one: Ray ends a driver whose head is gone."""
    script = (
        "host 2; cluster; start\n"
        "records 5; kill_head; ended; mv said first; mv status first_status\n"
        "kill_cluster; cluster; start\n"
        "records 10; kill_head; kill_cluster; cluster; ended; sweep"
    )
    run(tmp_path, script, command, engine)
    said = (tmp_path / "first").read_text()
    assert (tmp_path / "first_status").read_text() != "0\n"
    if engine == "dask":
        assert "`hydra.launcher.address` must be a" in said.splitlines()[-1], said
        assert "Traceback (most recent call last)" not in said.partition("must be a")[2]
    check(tmp_path, undisturbed)


def test_a_second_sweep_is_refused_and_a_killed_one_leaves_no_training_behind(
    engine: str, command: str, tmp_path: Path
) -> None:
    long = f"{command} name=long model.width=128 optim.batch_size=2 data.fraction=1 data.max_train=null regime.scale=1"
    script = (
        "host 2; cluster; start; worker=$(training 2) || exit 6\n"
        "$SWEEP hydra/launcher=$ENGINE hydra.launcher.address=${ADDRESS[$ENGINE]} >second 2>&1 && exit 7\n"
        "kill_sweep; ended; cat second\n"
        "for i in $(seq 60); do [ -d /proc/$worker ] || break; sleep 0.5; done; [ -d /proc/$worker ] && exit 8\n"
        "find multirun/long -name result.json | wc -l >left"
    )
    run(tmp_path, script, long, engine)
    assert "A study takes one sweep at a time" in (tmp_path / "second").read_text().splitlines()[-1]
    assert (tmp_path / "left").read_text() == "0\n"


def test_a_killed_sweep_is_resumed(engine: str, command: str, undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    run(tmp_path, "host 2; cluster; start; records 5; kill_sweep; ended; sweep", command, engine)
    check(tmp_path, undisturbed)

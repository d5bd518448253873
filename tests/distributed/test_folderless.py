"""Workers that see nothing of the study: the same rows as without a cluster, also after one of them was killed.

Each worker runs under another host's name, in a mount namespace in which the sweep's folder and the checkout are empty:
its package is a copy of its own, and its data lie in its own cache. Everything is in a network namespace that has only
loopback, and ends with it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mnist_scaling import cli
from mnist_scaling.study import layout
from tests.distributed.study import SWEEP

pytestmark = pytest.mark.distributed

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
STUDY = " ".join(("timeout 240", *SWEEP, "data.dir=data save_weights=true"))

HIDE = """
for hidden in {folder} {root}/src {root}/conf; do mount -t tmpfs none $hidden; done
cd {elsewhere}
export PYTHONPATH={elsewhere}/package${{PYTHONPATH:+:$PYTHONPATH}} XDG_CACHE_HOME={elsewhere}/cache
"""

DASK = """
{python} -m distributed.cli.dask_scheduler --host 127.0.0.1 --port 8786 --no-dashboard &
for i in 1 2; do
  unshare --mount --uts bash -c 'hostname far-'$i'
    {hide}
    exec {python} -m distributed.cli.dask_worker tcp://127.0.0.1:8786 --no-nanny --nthreads 1 --no-dashboard
  ' &
  NODE=$!
done
sleep 5
{study} hydra/launcher=dask hydra.launcher.address=tcp://127.0.0.1:8786 &
SWEEP=$!
"""

RAY = """
# The cluster asks for a token: one of its own, that ends with it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$({python} -c 'import secrets; print(secrets.token_hex(32))')
export RAY_TMPDIR=$(mktemp -d /tmp/ray-XXXX) RAY_USAGE_STATS_ENABLED=0 PATH={bin}:$PATH
unshare --mount bash -c '
  {hide}
  exec ray start --head --num-cpus 2 --object-store-memory 100000000 --block --disable-usage-stats --port 6379 \
    --node-ip-address 127.0.0.1 --include-dashboard false
' &
sleep 10
{study} hydra/launcher=ray hydra.launcher.address=127.0.0.1:6379 &
SWEEP=$!
"""

CLUSTERS = {"dask": ("distributed", DASK), "ray": ("ray", RAY)}

KILL = """
for i in $(seq 1200); do n=$(find . -name result.json | wc -l)
[ $n -ge 5 ] && break; kill -0 $SWEEP || exit 8; sleep 0.1; done
kill -9 $NODE || exit 7
echo $n > killed_at
"""


def sweep(folder: Path, script: str) -> pd.DataFrame:
    """Run a script in namespaces of its own; the study's trials."""
    # As process 1 of a namespace the script takes everything that it started with it when it ends.
    isolated = ["unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    probe = subprocess.run([*isolated, "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"this system allows no namespaces of one's own: {probe.stderr.strip()}")
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            [*isolated, "bash", "-c", f"ip link set lo up\n{script}"],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            timeout=300,
        )
    assert done.returncode == 0, (folder / "log").read_text()[-3000:]
    return pd.read_csv(folder / "multirun/smoke" / layout.TRIALS).drop(columns="seconds")


def with_data(folder: Path, data_dir: str) -> Path:
    """A folder for a sweep, in which `data` is where MNIST lies."""
    folder.mkdir()
    (folder / "data").symlink_to(data_dir)
    return folder


@pytest.fixture(scope="module")
def elsewhere(data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What workers have instead of the sweep's: the package as a wheel installs it, and a cache with MNIST."""
    folder = tmp_path_factory.mktemp("elsewhere")
    package = folder / "package/mnist_scaling"
    shutil.copytree(Path(cli.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(cli.conf_dir(), package / "conf", dirs_exist_ok=True)
    (folder / "cache/mnist_scaling").mkdir(parents=True)
    (folder / "cache/mnist_scaling/data").symlink_to(data_dir)
    return folder


@pytest.fixture(scope="module")
def local(data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = with_data(tmp_path_factory.mktemp("local") / "sweep", data_dir)
    rows = sweep(folder, f"{STUDY} hydra.launcher.n_workers=2")
    assert {"COMPLETE", "PRUNED"} <= set(rows["state"]), "the pruner must have something to say"
    return folder, rows


def records(folder: Path) -> dict[str, Any]:
    """Every record of a study by its place, without what differs between any two runs, and the commit, which only a
    checkout knows."""
    found = {}
    for path in (folder / "multirun/smoke").rglob(layout.RESULT):
        record = json.loads(path.read_text())
        for key in ("seconds", "crc32", "commit"):
            del record[key]
        found[str(path.relative_to(folder))] = record
    return found


@pytest.mark.parametrize(
    ("engine", "kill"),
    [("dask", False), ("dask", True), ("ray", False)],
    ids=["dask", "dask, a worker killed", "ray"],
)
def test_workers_without_the_study_folder_give_the_rows_of_one_machine(
    engine: str, kill: bool, elsewhere: Path, data_dir: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    package, script = CLUSTERS[engine]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make test-distributed installs it")
    reference, rows = request.getfixturevalue("local")
    folder = with_data(tmp_path / "sweep", data_dir)
    hide = HIDE.format(folder=folder, root=ROOT, elsewhere=elsewhere)
    cluster = script.format(python=PYTHON, bin=Path(PYTHON).parent, hide=hide, elsewhere=elsewhere, study=STUDY)
    found = sweep(folder, f"{cluster}{KILL if kill else ''}wait $SWEEP")

    pd.testing.assert_frame_equal(found, rows)
    assert records(folder) == records(reference)
    weights = [path.parent.name for path in folder.rglob(layout.WEIGHTS)]
    assert len(weights) == (rows["stage"] == "repeat").sum()
    if kill:
        assert 5 <= int((folder / "killed_at").read_text()) < len(rows)

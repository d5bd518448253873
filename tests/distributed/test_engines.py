"""Real clusters on this machine: the same rows as without one, also after one of two nodes was killed.

Everything runs in a network namespace that has only loopback, and ends with it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.study import layout

PYTHON = sys.executable
SWEEP = (
    f"timeout 240 {PYTHON} -m mnist_scaling.train -m experiment=smoke scale=smoke hydra.sweeper.n_trials=4 "
    "reports.least=16 reports.cost=0.5"
)

DASK = f"""
{PYTHON} -m distributed.cli.dask_scheduler --host 127.0.0.1 --port 8786 --no-dashboard &
for i in 1 2; do
  {PYTHON} -m distributed.cli.dask_worker tcp://127.0.0.1:8786 --no-nanny --nthreads 1 --no-dashboard &
  NODE=$!
done
sleep 5
ADDRESS=tcp://127.0.0.1:8786
"""

RAY = f"""
# The cluster asks for a token: one of its own, that ends with it.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$({PYTHON} -c 'import secrets; print(secrets.token_hex(32))')
export RAY_TMPDIR=$(mktemp -d /tmp/ray-XXXX) RAY_USAGE_STATS_ENABLED=0 PATH={Path(PYTHON).parent}:$PATH
start="ray start --num-cpus 1 --object-store-memory 100000000 --block --disable-usage-stats"
$start --head --port 6379 --node-ip-address 127.0.0.1 --include-dashboard false &
sleep 8
$start --address 127.0.0.1:6379 --node-ip-address 127.0.0.1 &
NODE=$!
sleep 8
NODE=$(pgrep -P $NODE raylet || pgrep -n raylet)
ADDRESS=127.0.0.1:6379
"""

CLUSTERS = {"dask": ("distributed", DASK), "ray": ("ray", RAY)}


def sweep(folder: Path, script: str) -> pd.DataFrame:
    """Run a script in a namespace of its own; the study's trials."""
    # As process 1 of a namespace the script takes everything that it started with it when it ends.
    isolated = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c"]
    probe = subprocess.run([*isolated, "ip link set lo up"], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"this system allows no network namespace: {probe.stderr.strip()}")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            [*isolated, f"ip link set lo up\n{script}"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            timeout=300,
        )
    assert done.returncode == 0, (folder / "log").read_text()[-3000:]
    return pd.read_csv(folder / "multirun/smoke" / layout.TRIALS).drop(columns="seconds")


@pytest.fixture(scope="module")
def undisturbed(data_dir: str, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return sweep(tmp_path_factory.mktemp("local"), f"{SWEEP} data.dir={data_dir} hydra.launcher.n_workers=2")


@pytest.mark.distributed
@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "a node killed"])
@pytest.mark.parametrize("engine", CLUSTERS)
def test_a_cluster_gives_the_rows_of_one_machine(
    engine: str, kill: bool, request: pytest.FixtureRequest, data_dir: str, tmp_path: Path
) -> None:
    package, cluster = CLUSTERS[engine]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: make test-distributed installs it")
    undisturbed = request.getfixturevalue("undisturbed")
    script = (
        f"{cluster}\n{SWEEP} data.dir={data_dir} hydra/launcher={engine} hydra.launcher.address=$ADDRESS &\nSWEEP=$!\n"
    )
    if kill:
        script += (
            "for i in $(seq 1200); do n=$(find . -name result.json | wc -l)\n"
            "[ $n -ge 5 ] && break; kill -0 $SWEEP || exit 8; sleep 0.1; done\n"
            "kill -9 $NODE || exit 7; echo $n > killed_at\n"
        )
    found = sweep(tmp_path, f"{script}wait $SWEEP")
    if kill:
        assert 5 <= int((tmp_path / "killed_at").read_text()) < len(undisturbed)
    pd.testing.assert_frame_equal(found, undisturbed)

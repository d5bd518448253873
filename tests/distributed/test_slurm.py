"""A real Slurm on this machine: the rows of one without it, by an allocation, by dask_jobqueue and by submitit."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.distributed import slurm_cluster
from tests.distributed.study import SWEEP, rows

ROOT = Path(__file__).parents[2]
COMMAND = " ".join(SWEEP)

pytestmark = pytest.mark.distributed


@pytest.fixture(autouse=True)
def _only_where_slurm_can_be_started() -> None:
    if (reason := slurm_cluster.missing()) is not None:
        pytest.skip(reason)


def test_an_allocation_gives_the_rows_of_one_machine_also_when_it_ends_early(
    undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    overrides = COMMAND.partition(" -m mnist_scaling.train -m ")[2]
    pilot = f"--output=pilot.log --ntasks=2 --mem-per-cpu=200 {ROOT}/cluster/pilot.sbatch {overrides}"
    script = f"""
    records() {{ find . -name result.json | wc -l; }}
    export PYTHON={sys.executable}
    job=$(sbatch --parsable {pilot} data.dir={data_dir})
    while [ $(records) -lt 5 ]; do squeue --noheader --format=%i | grep -q . || exit 8; sleep 0.1; done
    scancel $job; records > ended_at
    until [ -z "$(squeue --noheader)" ]; do sleep 0.2; done
    sbatch --wait {pilot} data.dir={data_dir} || {{ cat pilot.log; exit 1; }}
    """
    slurm_cluster.run(tmp_path, script)
    assert 5 <= int((tmp_path / "ended_at").read_text()) < len(undisturbed)
    pd.testing.assert_frame_equal(rows(tmp_path), undisturbed)
    assert not list(tmp_path.glob(".pilot-*"))  # the key went with the allocation


def test_workers_that_slurm_starts_for_dask_give_the_rows_of_one_machine_also_when_one_is_cancelled(
    undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    cluster = (
        "hydra/launcher=dask hydra.launcher.n_workers=2 'hydra.launcher.cluster={_target_: dask_jobqueue.SLURMCluster, "
        'cores: 1, memory: 2GB, walltime: "00:30:00", interface: lo}\''
    )
    script = f"""
    {COMMAND} data.dir={data_dir} {cluster} & SWEEP=$!
    while [ $(find . -name result.json | wc -l) -lt 5 ]; do kill -0 $SWEEP || exit 8; sleep 0.1; done
    scancel $(squeue --noheader --states=running --format=%i | head -n 1) && echo cancelled > happened
    wait $SWEEP || exit 9
    until [ -z "$(squeue --noheader)" ]; do sleep 0.2; done
    """
    slurm_cluster.run(tmp_path, script)
    assert (tmp_path / "happened").exists()
    pd.testing.assert_frame_equal(rows(tmp_path), undisturbed)


def test_rounds_through_submitit_give_the_rows_of_one_machine(
    undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is None:
        pytest.skip("hydra-submitit-launcher is not installed")
    launcher = "hydra/launcher=submitit_slurm hydra.launcher.mem_gb=1 hydra.launcher.timeout_min=10"
    slurm_cluster.run(tmp_path, f"{COMMAND} data.dir={data_dir} {launcher}")
    pd.testing.assert_frame_equal(rows(tmp_path), undisturbed)

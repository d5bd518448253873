"""A real Slurm on this machine: the rows of one without it, also when jobs, daemons and the sweep are killed."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.study import layout
from mnist_scaling.tuning.workers.slurm import BEGUN
from tests.distributed import slurm_cluster
from tests.distributed.study import SWEEP, rows

ROOT = Path(__file__).parents[2]
COMMAND = " ".join(SWEEP)
LAUNCHER = "hydra/launcher=slurm hydra.launcher.max_jobs=2 hydra.launcher.ask_seconds=2 hydra.launcher.mem=200MB"

FUNCTIONS = """
records() { find . -name result.json | wc -l; }
until_records() { while [ $(records) -lt $1 ]; do kill -0 $SWEEP || exit 8; sleep 0.1; done; }
# A run that has begun: its folder is there, its record is not.
begun() { find . -type d -name 'trial-*' ! -exec test -e {}/result.json ';' -print -quit; }
until_begun() { until begun | grep -q .; do kill -0 $SWEEP || exit 8; sleep 0.02; done; }
happened() { echo "$1" >> happened; }
"""

FAULTS = f"""
{FUNCTIONS}
{{sweep}} & SWEEP=$!
until_records 2; until_begun
scancel $(squeue --noheader --array --states=running --format=%i) && happened 'jobs cancelled'
until_records 6
kill -9 $(cat $SLURM_HOME/slurmd.pid) && happened 'slurmd killed'
sleep 2; slurmd
until_records 8
kill -9 $(cat $SLURM_HOME/slurmctld.pid) && happened 'slurmctld killed'
sleep 8; slurmctld
until_records 12; until_begun
kill -9 $SWEEP && happened 'sweep killed'
squeue --noheader --array --format=%i > left
{{sweep}} && happened 'resumed'
squeue --noheader --array --format=%i | sed 's/^/still there: /' >> happened
"""


@pytest.fixture(autouse=True)
def _only_where_slurm_can_be_started() -> None:
    if (reason := slurm_cluster.missing()) is not None:
        pytest.skip(reason)


@pytest.mark.distributed
def test_jobs_of_slurm_give_the_rows_of_one_machine(undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path) -> None:
    slurm_cluster.run(tmp_path, f"{COMMAND} data.dir={data_dir} {LAUNCHER}")
    pd.testing.assert_frame_equal(rows(tmp_path), undisturbed)
    assert not (tmp_path / "multirun/smoke" / layout.SLURM).exists()  # nothing died, so no log is kept


@pytest.mark.distributed
def test_jobs_daemons_and_the_sweep_may_be_killed(undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path) -> None:
    slurm_cluster.run(tmp_path, FAULTS.replace("{sweep}", f"{COMMAND} data.dir={data_dir} {LAUNCHER}"))
    happened = (tmp_path / "happened").read_text().splitlines()
    assert happened == ["jobs cancelled", "slurmd killed", "slurmctld killed", "sweep killed", "resumed"]
    assert (tmp_path / "left").read_text().split()  # the killed sweep had jobs, which the resumed one has ended
    pd.testing.assert_frame_equal(rows(tmp_path), undisturbed)


@pytest.mark.distributed
def test_a_run_that_its_time_limit_ends_is_recorded_with_that_reason(data_dir: str, tmp_path: Path) -> None:
    # Slurm's shortest limit is a minute: the end of each job is moved to the next second, and the job waits for it.
    script = f"""
    {COMMAND} data.dir={data_dir} {LAUNCHER} hydra.launcher.time=1 hydra.sweeper.n_trials=1 model.width=4 \\
        data.fraction=1 data.max_train=null regime.scale=1 optim.batch_size=1 &
    SWEEP=$!
    for job in 1 2; do
        log=multirun/smoke/{layout.SLURM}/*/${{job}}_0_log.out
        until grep -qs '{BEGUN}' $log; do sleep 0.1; done
        until [ multirun/smoke/all/trial-000 -nt $(echo $log) ]; do sleep 0.1; done
        pkill -STOP -f submitit.core._submit; scontrol update jobid=$job EndTime=now+1 && echo $job >> ended
        while squeue --noheader --states=running --format=%i | grep -qx $job; do sleep 0.2; done
        while [ $job = 1 ] && ! squeue --noheader --states=running | grep -q .; do sleep 0.2; done
    done
    wait $SWEEP
    """
    slurm_cluster.run(tmp_path, script)
    (trial,) = rows(tmp_path).to_dict("records")
    assert trial["state"] == "FAILED"
    assert "its time limit, `hydra.launcher.time`, ended it (TIMEOUT)" in trial["error"]


@pytest.mark.distributed
def test_what_slurm_refuses_is_named_and_ctrl_c_ends_all_jobs(data_dir: str, tmp_path: Path) -> None:
    command = f"{COMMAND} data.dir={data_dir} {LAUNCHER}"
    script = f"""
    set -m  # without it bash starts what is in the background deaf to Ctrl-C
    {command} hydra.launcher.partition=gpu && exit 2
    {command} hydra.launcher.mem=9000GB && exit 3
    {command} +hydra.launcher.mems=1GB && exit 4
    {command} 'hydra.launcher.setup=["sleep 1000"]' & SWEEP=$!
    until squeue --noheader --states=running --format=%i | grep -q .; do sleep 0.1; done
    kill -INT $SWEEP; wait $SWEEP
    [ -z "$(squeue --noheader --format=%i)" ]
    """
    said = slurm_cluster.run(tmp_path, script)
    assert "`hydra.launcher.partition` must be one of this cluster's, but got gpu: it has main." in said
    assert "Memory specification can not be satisfied. Mend the keys of `hydra.launcher`" in said
    assert "`hydra.launcher` must be as conf/hydra/launcher/slurm.yaml documents it, but Unavailable" in said
    assert not list(tmp_path.rglob(layout.RESULT))


@pytest.mark.distributed
def test_an_allocation_with_dasks_workers_gives_the_rows_of_one_machine_also_when_it_ends_early(
    undisturbed: pd.DataFrame, data_dir: str, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    overrides = COMMAND.partition(" -m mnist_scaling.train -m ")[2]
    pilot = f"--output=pilot.log --ntasks=2 --mem-per-cpu=200 {ROOT}/cluster/pilot.sbatch {overrides}"
    script = f"""
    {FUNCTIONS}
    export PYTHON={sys.executable}
    job=$(sbatch --parsable {pilot} data.dir={data_dir}); SWEEP=$$
    until_records 5; scancel $job; records > ended_at
    until [ -z "$(squeue --noheader)" ]; do sleep 0.2; done
    sbatch --wait {pilot} data.dir={data_dir} || {{ cat pilot.log; exit 1; }}
    """
    slurm_cluster.run(tmp_path, script)
    assert 5 <= int((tmp_path / "ended_at").read_text()) < len(undisturbed)
    pd.testing.assert_frame_equal(rows(tmp_path), undisturbed)
    assert not list(tmp_path.glob(".pilot-*"))  # the key went with the allocation

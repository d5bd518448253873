"""A real Slurm of one node and two processors on this machine, as lines of shell."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")

START = """
export SLURM_HOME=$(mktemp -d /tmp/slurm-XXXX) SLURM_CONF
SLURM_CONF=$SLURM_HOME/slurm.conf
# Slurm looks up addresses only where there is one beside loopback's. This one leads nowhere.
ip address add 10.255.255.1/32 dev lo
(umask 077; mkdir $SLURM_HOME/{munge,state,spool}; head -c 1024 /dev/urandom > $SLURM_HOME/munge/key)
cat > $SLURM_CONF <<CONF
ClusterName=test
SlurmctldHost=$HOSTNAME(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$SLURM_HOME/munge/socket
StateSaveLocation=$SLURM_HOME/state
SlurmdSpoolDir=$SLURM_HOME/spool
SlurmctldPidFile=$SLURM_HOME/slurmctld.pid
SlurmdPidFile=$SLURM_HOME/slurmd.pid
SlurmctldLogFile=$SLURM_HOME/slurmctld.log
SlurmdLogFile=$SLURM_HOME/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=100000
KillWait=2
ReturnToService=2
NodeName=$HOSTNAME NodeAddr=127.0.0.1 CPUs=2 RealMemory=$(slurmd -C | grep -o 'RealMemory=[0-9]*' | cut -d= -f2)
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
munged --key-file=$SLURM_HOME/munge/key --socket=$SLURM_HOME/munge/socket --pid-file=$SLURM_HOME/munge/pid \
  --log-file=$SLURM_HOME/munge/log --seed-file=$SLURM_HOME/munge/seed --force 2> /dev/null
slurmctld
slurmd
for i in $(seq 100); do sinfo --noheader --format=%T | grep -q idle && break; sleep 0.1; done
"""


def missing() -> str | None:
    """What keeps a Slurm from being started here; None when nothing does."""
    absent = [name for name in DAEMONS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} are not installed: apt-get install slurmctld slurmd slurm-client munge"
    lacks = [name for name in ("distributed", "dask_jobqueue") if importlib.util.find_spec(name) is None]
    if lacks:
        return f"{', '.join(lacks)} are not installed: make test-distributed installs them"
    if os.geteuid() != 0:
        return "slurmd must be started by root"
    return None


def run(folder: Path, script: str, seconds: int = 600) -> str:
    """Run a script beside a Slurm of its own, in namespaces that end with it; what it printed."""
    # As process 1 of a namespace the script takes everything that it started with it when it ends.
    isolated = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c"]
    whole = f"ip link set lo up\n{START}\ntrap 'rm -rf $SLURM_HOME' EXIT\n{script}"
    log = folder / "log"
    with log.open("w") as written:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*isolated, whole], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=written, stderr=written,
            timeout=seconds,
        )  # fmt: skip
    assert done.returncode == 0, log.read_text()[-3000:]
    return log.read_text()

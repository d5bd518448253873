"""What Slurm's own commands say and do: its partitions, the states of jobs, and their end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence, Set

from mnist_scaling.errors import InputError

_PATIENCE_SECONDS = 60.0
"""How long one command of Slurm's may take, and how long cancelled jobs may take to end."""

ENDED = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "it was cancelled",
    "COMPLETED": "it left no result",
    "DEADLINE": "its deadline ended it",
    "FAILED": "its process died",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it took more memory than `hydra.launcher.mem` allows",
    "PREEMPTED": "another job took its place",
    "REVOKED": "it was moved to another cluster",
    "TIMEOUT": "its time limit, `hydra.launcher.time`, ended it",
    "UNKNOWN": "Slurm knows nothing of it any more",
}
"""States of jobs that have ended, in words; UNKNOWN is submitit's, for a job that Slurm has forgotten."""

BY_ITSELF = ("COMPLETED", "FAILED", "OUT_OF_MEMORY", "TIMEOUT")
"""States of jobs that nobody else has ended."""


AWAY = ("Unable to contact", "timed out", "temporarily unable", "Zero Bytes", "Connection refused")
"""Words of a command of Slurm's to which the controller did not answer in time."""


class SilentError(Exception):
    """Slurm's controller does not answer, or refuses; the text is what the command wrote."""


def run(command: Sequence[str]) -> str:
    """What a command of Slurm's prints.

    Raises
    ------
    InputError
        When there is no such command here.
    SilentError
        When it fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
    except FileNotFoundError as error:
        raise InputError(
            f"`hydra/launcher=slurm` needs the commands of Slurm, but there is no `{command[0]}` here: start the sweep "
            "on a host from which you can call sbatch."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SilentError(f"{command[0]} took more than {_PATIENCE_SECONDS:g} s") from error
    if done.returncode != 0:
        raise SilentError(done.stderr.strip() or f"{command[0]} ended with code {done.returncode}")
    return done.stdout


def check_partition(partition: str | None) -> None:
    """Refuse a partition that the cluster lacks before anything is asked; None is its default one.

    Raises
    ------
    InputError
        When there is no such partition.
    """
    found = run(["sinfo", "--noheader", "--format=%P"]).split()
    known = sorted({name.rstrip("*") for name in found})
    if not (
        any(name.endswith("*") for name in found) if partition is None else set(partition.split(",")) <= set(known)
    ):
        raise InputError(
            f"`hydra.launcher.partition` must be one of this cluster's, but got {partition}: it has "
            f"{', '.join(known) or 'none'}."
        )


def states(name: str) -> dict[str, str]:
    """State of every job of that name that Slurm still knows, by its id."""
    lines = run(["squeue", *_of(name), "--noheader", "--array", "--states=all", "--format=%i|%T"]).splitlines()
    return dict(line.split("|") for line in lines)


def cancel(name: str) -> None:
    """End all jobs of that name, and wait until they have ended.

    Raises
    ------
    SilentError
        When Slurm does not answer, or they go on.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    run(["scancel", "--quiet", *_of(name)])
    while running := run(["squeue", *_of(name), "--noheader", "--format=%i"]).split():
        if time.monotonic() > until:
            raise SilentError(f"the jobs {', '.join(running)} were cancelled, but still run")
        time.sleep(0.5)


def cancel_others(name: str, known: Set[str]) -> None:
    """End the jobs of that name whose ids are not known.

    Raises
    ------
    SilentError
        When Slurm does not answer.
    """
    others = [job for job, state in states(name).items() if state not in ENDED and job not in known]
    if others:
        run(["scancel", "--quiet", *others])


def answers() -> bool:
    """Whether Slurm's controller answers."""
    try:
        run(["squeue", "--noheader", "--me"])
    except SilentError:
        return False
    return True


def _of(name: str) -> list[str]:
    return [f"--user={os.getuid()}", f"--name={name}"]

"""Slurm's commands where there is no Slurm; tests/distributed/test_slurm.py has the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.workers import slurm_queue


def test_a_host_without_slurm_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="needs the commands of Slurm, but there is no `sinfo` here"):
        slurm_queue.check_partition(None)


def test_a_command_that_fails_is_no_error_of_the_users() -> None:
    with pytest.raises(slurm_queue.SilentError, match="^Unable to contact slurm controller$"):
        slurm_queue.run(["sh", "-c", "echo Unable to contact slurm controller >&2; exit 1"])
    assert slurm_queue.run(["echo", "vm|main*"]) == "vm|main*\n"

"""A key whose value follows a tuned one, in a worker that builds each cell's configuration once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnist_scaling.study import layout
from tests.conftest import Command

pytestmark = pytest.mark.slow

SWEEP = [
    "mnist_scaling.train", "-m", "experiment=smoke", "scale=smoke", "hydra.sweeper.n_trials=2",
    "hydra.launcher.n_workers=1", "optim.weight_decay=${optim.lr}",
]  # fmt: skip


def test_a_key_that_follows_a_tuned_one_is_followed_in_every_run(
    data_dir: str, command: Command, tmp_path: Path
) -> None:
    done = command(*SWEEP, f"data.dir={data_dir}")
    assert done.returncode == 0, done.stderr
    again = command(*SWEEP, f"data.dir={data_dir}")
    assert "nothing is left to do" in again.stdout, again.stderr
    configs = [json.loads(path.read_text())["config"] for path in tmp_path.rglob(layout.RESULT)]
    assert len({config["optim.lr"] for config in configs}) > 1
    assert all(config["optim.weight_decay"] == config["optim.lr"] for config in configs)

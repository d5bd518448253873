"""A study that starts from another run's weights, as a user runs it, on real MNIST."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_study_starts_from_the_weights_of_a_run_and_keeps_them(
    data_dir: str, tmp_path: Path, command: Command
) -> None:
    own = ("scale=smoke", f"data.dir={data_dir}", "model.width=4")
    for seed in (0, 1):
        done = command("mnist_scaling.train", *own, "save_weights=true", f"seed={seed}", f"hydra.run.dir=source-{seed}")
        assert done.returncode == 0, done.stderr
        assert f"Weights: source-{seed}/weights.pt" in done.stdout.replace(str(tmp_path) + "/", "")
    few = ("data.fraction=1,0.125", "hydra.sweeper.n_trials=1", "hydra/launcher=basic")
    scratch, tuned = ("mnist_scaling.train", "-m", *own, *few, "name=scratch"), (*own, *few, "name=tuned")

    done = command("mnist_scaling.train", "-m", *tuned, "init_from=source-9")
    assert done.returncode == 1
    assert "but source-9/weights.pt can't be read" in done.stderr
    assert not list(tmp_path.glob("multirun/tuned/**/result.json"))

    for words in (scratch, ("mnist_scaling.train", "-m", *tuned, "init_from=source-0")):
        done = command(*words)
        assert done.returncode == 0, done.stderr
    losses = [pd.read_csv(tmp_path / f"multirun/{name}/cells.csv")["test_loss"] for name in ("scratch", "tuned")]
    assert (losses[1] < 0.8 * losses[0]).all()

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("multirun/tuned/**/result.json")}
    assert before
    (tmp_path / "source-0").rename(tmp_path / "moved")
    done = command("mnist_scaling.train", "-m", *tuned, "init_from=moved")
    assert done.returncode == 0, done.stderr
    for other in ("init_from=source-1", "init_from=null"):
        done = command("mnist_scaling.train", "-m", *tuned, other)
        assert done.returncode == 1
        assert "init_sha256 was " in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("multirun/tuned/**/result.json")} == before

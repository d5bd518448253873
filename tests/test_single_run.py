"""A run by hand: what it shows, what it leaves when it is interrupted, and sentences for what can't be written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_scaling.config import DataConfig, RunConfig

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[1]
LONG = ("model.width=16", "optim.batch_size=1")


def interrupted(folder: Path, *arguments: str) -> str:
    """What a command says that Ctrl-C reaches once it trains."""
    command = [sys.executable, "-m", "mnist_scaling.train", *arguments]
    started = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in a shell's background ignores it
    )  # fmt: skip
    try:
        # Not earlier: torch aborts the process when it is interrupted while it is imported.
        assert started.stdout is not None
        assert started.stdout.readline().startswith("Training")
        time.sleep(1.0)
        os.kill(started.pid, signal.SIGINT)
        _, errors = started.communicate(timeout=300)
    finally:
        started.kill()
    assert started.returncode == 130
    return errors


def test_a_run_says_what_it_trains_and_where_its_record_is(data_dir: str, command: Command) -> None:
    done = command("mnist_scaling.train", f"data.dir={data_dir}", "model.width=4", "data.fraction=0.01")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert lines[0] == "Training cnn of width 4 on 1 % of mnist, regime single_epoch."
    assert Path(lines[-1].removeprefix("Record: ")).is_file()


def test_a_run_that_diverges_says_when_and_what_to_lower(data_dir: str, command: Command) -> None:
    done = command("mnist_scaling.train", f"data.dir={data_dir}", "optim.lr=1e4", "data.fraction=0.05")
    assert done.returncode == 0, done.stderr  # its record is a result, too
    assert "Lower `optim.lr`, which was 10000." in done.stdout.strip().splitlines()[-2]
    steps = re.search(r"steps +\S+ (\d+) ", done.stdout)
    assert steps is not None
    assert f"\nDiverged after {steps[1]} steps: the loss was not finite, or above 2 times" in done.stdout


@pytest.mark.parametrize("given", ["model.width=0", "hydra.sweeper.n_trials=2"])
def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path, command: Command, given: str) -> None:
    assert command("mnist_scaling.train", given).returncode == 1
    assert not [*tmp_path.glob("multirun/single/*")]


def test_an_interrupted_run_promises_nothing(data_dir: str, tmp_path: Path) -> None:
    said = interrupted(tmp_path, f"data.dir={data_dir}", *LONG)
    assert said.strip().splitlines() == ["Interrupted. No file is half-written; the same command starts anew."]


def test_a_read_only_disk_is_a_sentence(data_dir: str, tmp_path: Path, command: Command) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("mounting a read-only disk needs root")
    try:
        done = command("mnist_scaling.train", f"data.dir={data_dir}", "data.fraction=0.01", cwd=tmp_path)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    assert done.returncode == 1
    assert "must be writable" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_dashboard_of_a_study_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / ".installed").touch()
    command = ["make", f"VENV={tmp_path}", "NAME=nope", "dashboard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("A study must have its journal to be shown, but there is no multirun/nope/optuna.jou")


def test_a_shrunk_study_without_a_name_is_not_the_one_in_full(data_dir: str, tmp_path: Path, command: Command) -> None:
    few = ("hydra/launcher=basic", "hydra.sweeper.n_trials=1", "hydra.sweeper.n_repeats=1")
    done = command("mnist_scaling.train", "-m", "scale=smoke", "model.width=4", *few, f"data.dir={data_dir}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "multirun/default_smoke/cells.csv").is_file()
    assert [path.name for path in (tmp_path / "multirun").iterdir()] == ["default_smoke"]


def test_a_list_of_names_is_refused_in_a_shrunk_study_too(data_dir: str, tmp_path: Path, command: Command) -> None:
    done = command("mnist_scaling.train", "-m", "scale=smoke", "name=a,b", f"data.dir={data_dir}", cwd=tmp_path)
    assert done.returncode == 1
    assert "`name`" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(data_dir: str, tmp_path: Path, command: Command) -> None:
    dry = ("experiment=quickstart", "hydra.sweeper.dry_run=true", "optim.lr=1e-3,1e-2")
    done = command("mnist_scaling.train", "-m", *dry, f"data.dir={data_dir}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "35 cells × (12 trials + 3 repeats) = 525 runs; 0 done, 525 to do" in done.stdout
    assert "optim.lr: one of 0.001, 0.01" in done.stdout
    done = command("mnist_scaling.train", "-m", *dry, "hydra.sweep.subdir=x", f"data.dir={data_dir}", cwd=tmp_path)
    assert done.returncode == 1
    assert "must be named by its axes, so that a rerun finds them, but `hydra.sweep.subdir` was given" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_sampler_that_cannot_tune_a_cell_is_a_sentence(data_dir: str, tmp_path: Path, command: Command) -> None:
    done = command("mnist_scaling.train", "-m", "hydra/sweeper/sampler=grid", f"data.dir={data_dir}", cwd=tmp_path)
    assert done.returncode == 1
    assert "The keys of `hydra.sweeper.sampler` must be those of GridSampler, but Optuna says" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_run_by_hand_keeps_no_password(data_dir: str, command: Command, tmp_path: Path) -> None:
    """Hydra can write the whole command line beside a run; the storage is a sweep's, but may stand in it."""
    url = "postgresql+psycopg://me:s3cret@dbhost:1/db?sslpassword=s3cret"
    small = (f"data.dir={data_dir}", "model.width=4", "data.fraction=0.001")
    done = command("mnist_scaling.train", *small, f"hydra.sweeper.storage='{url}'")
    assert done.stderr.startswith("Error: `hydra.sweeper.storage` must go with -m"), done.stderr
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert [text for text in texts if "s3cret" in text] == []


def test_an_experiment_by_hand_says_what_a_sweep_would_do_and_a_run_where_its_paths_begin(
    data_dir: str, tmp_path: Path, command: Command
) -> None:
    """`~` and relative paths mean the same with hydra.job.chdir=true, and a run that is cut says so."""
    (tmp_path / "here").symlink_to(data_dir)
    arguments = ("experiment=smoke", "scale=smoke", "data.dir=here", "hydra.job.chdir=true", "model.width=2")
    short = ("regime=early_stopping", "regime.max_epochs=1", "regime.patience=1", "data.fraction=0.1")
    done = command("mnist_scaling.train", *arguments, *short)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Note: `experiment=smoke` describes a sweep, and this is a single run")
    assert "Warning: undertrained: a run ended at its cap before it had converged. Raise" in done.stdout


def test_a_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert DataConfig(dir="~/mn").dir == "/home/me/mn"
    assert DataConfig().dir == "data"
    assert RunConfig(init_from="~/run").init_from == "/home/me/run"

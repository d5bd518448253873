"""Checkpoints: a run resumes bit for bit, and a file is whole, this run's own, and never code."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mnist_scaling.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    RegimeConfig,
    ReportsConfig,
    RunConfig,
    TrialConfig,
)
from mnist_scaling.study.layout import CHECKPOINT
from mnist_scaling.training import loop, session
from mnist_scaling.training.checkpoint import Checkpoint
from mnist_scaling.training.regimes import wsd


class Killed(BaseException):
    """What no code of ours catches."""


@pytest.fixture
def run(data_dir: str) -> RunConfig:
    return RunConfig(
        device="cpu",
        model=ModelConfig(width=2, dropout=0.2),
        data=DataConfig(fraction=1 / 64, dir=data_dir, max_eval=200),
        optim=OptimConfig(lr=1e-2, batch_size=8, schedule="wsd"),
        regime=RegimeConfig("wsd", branches=(0.25, 0.5, 1.0)),
    )


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("at", [3, 30, 61, 90])
def test_a_run_cut_anywhere_resumes_bit_for_bit(
    run: RunConfig, optimizer: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wsd, "CHECKPOINT_EVERY", 25)
    run = replace(run, optim=replace(run.optim, name=optimizer))
    whole = loop.train_model(run)
    assert loop.train_model(run, folder=tmp_path / "whole") == whole  # keeping checkpoints changes nothing
    step = session.Session.step
    taken = 0

    def cut(self: session.Session, rows: torch.Tensor, factor: float) -> None:
        nonlocal taken
        taken += 1
        if taken > at:
            raise Killed
        step(self, rows, factor)

    monkeypatch.setattr(session.Session, "step", cut)
    with pytest.raises(Killed):
        loop.train_model(run, folder=tmp_path)
    monkeypatch.setattr(session.Session, "step", step)
    # Another number of the trial, another sweep: it is the same run.
    resumed = loop.train_model(replace(run, trial=TrialConfig(number=7, owner=1, host="x")), folder=tmp_path)
    assert replace(resumed, resumed_at=0) == whole
    assert (resumed.resumed_at > 0) == (at > 25)


def test_a_resumed_run_reports_again_what_it_had_reported(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trial is another one in its study by now, and the pruner judges that one by its own reports."""
    monkeypatch.setattr(wsd, "CHECKPOINT_EVERY", 5)
    run = replace(run, reports=ReportsConfig(cost=0.5, least=16))
    heard: list[tuple[int, float]] = []

    def listen(number: int, loss: float) -> bool:
        heard.append((number, loss))
        return False

    whole = loop.train_model(run, listen)
    told, heard[:] = list(heard), []
    assert [number for number, _ in told] == [1, 2, 3]

    def die_at_the_third(number: int, loss: float) -> bool:
        if number == 3:
            raise Killed
        return listen(number, loss)

    with pytest.raises(Killed):
        loop.train_model(run, die_at_the_third, tmp_path)
    heard.clear()
    resumed = loop.train_model(run, listen, tmp_path)
    assert heard == told
    assert resumed.resumed_at > 0
    assert replace(resumed, resumed_at=0) == whole


def test_another_runs_checkpoint_is_not_read(run: RunConfig, tmp_path: Path) -> None:
    Checkpoint(tmp_path, run).write({"x": torch.ones(2)})
    read = Checkpoint(tmp_path, run).read()
    assert read is not None
    assert torch.equal(read["x"], torch.ones(2))
    for other in (replace(run, seed=1), replace(run, optim=replace(run.optim, lr=2e-2))):
        assert Checkpoint(tmp_path, other).read() is None


def test_a_file_that_would_run_code_is_not_loaded(run: RunConfig, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'sprung'}",)

    torch.save({"run": Trap()}, tmp_path / CHECKPOINT)
    assert Checkpoint(tmp_path, run).read() is None
    (tmp_path / CHECKPOINT).write_bytes(pickle.dumps(Trap(), protocol=2))
    assert Checkpoint(tmp_path, run).read() is None
    assert not (tmp_path / "sprung").exists()


def test_a_torn_file_is_no_checkpoint(run: RunConfig, tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path, run)
    kept.write({"x": 1})
    whole = kept.path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        kept.path.write_bytes(whole[:size])
        assert kept.read() is None


def test_a_failed_write_leaves_the_old_checkpoint_and_no_other_file(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoint(tmp_path, run)
    kept.write({"x": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        kept.write({"x": 2})
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    assert kept.read() == {"x": 1, "run": kept._run}


def test_what_a_killed_writer_left_behind_goes(run: RunConfig, tmp_path: Path) -> None:
    (tmp_path / f".{CHECKPOINT}.abc").write_bytes(b"half a file")
    Checkpoint(tmp_path, run).write({"x": 1})
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]

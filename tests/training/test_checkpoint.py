"""Checkpoints: a run resumes bit for bit, and a file is whole, this run's own, and never code."""

from __future__ import annotations

import io
import os
import pickle
import random
from collections.abc import Iterator
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
)
from mnist_scaling.study.layout import CHECKPOINT
from mnist_scaling.training import loop, weights
from mnist_scaling.training.regimes import wsd
from mnist_scaling.training.run import Run
from mnist_scaling.training.weights import Checkpoint


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
    step = Run.step
    taken = 0

    def cut(self: Run, rows: torch.Tensor, factor: float) -> None:
        nonlocal taken
        taken += 1
        if taken > at:
            raise Killed
        step(self, rows, factor)

    monkeypatch.setattr(Run, "step", cut)
    with pytest.raises(Killed):
        loop.train_model(run, folder=tmp_path)
    monkeypatch.setattr(Run, "step", step)
    resumed = loop.train_model(run, folder=tmp_path)
    assert replace(resumed, resumed_at=0) == whole
    assert (resumed.resumed_at > 0) == (at > 25)


def test_a_resumed_run_reports_again_what_it_had_reported(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that judges it is another one, which heard none of them."""
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

    file = io.BytesIO()
    torch.save({"run": Trap()}, file)
    for content in (file.getvalue(), pickle.dumps(Trap(), protocol=2)):
        for header in (
            b"",
            weights.header("checkpoint", content),
        ):  # with a good checksum too: it keeps out accidents only
            (tmp_path / CHECKPOINT).write_bytes(header + content)
            assert Checkpoint(tmp_path, run).read() is None
    assert not (tmp_path / "sprung").exists()


def damaged(whole: bytes) -> Iterator[bytes]:
    """The bytes of a file, cut short, grown, or with one bit flipped at each of many places."""
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        yield whole[:size]
    yield whole + b"\0"
    rng = random.Random(20261124)
    for place in (*range(120), *rng.choices(range(len(whole)), k=400)):
        yield whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]


def test_no_damaged_checkpoint_is_read(run: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = Checkpoint(tmp_path, run)
    kept.write({"x": torch.arange(1000.0), "steps": 7})
    whole = kept.path.read_bytes()
    aside = tmp_path / f"{CHECKPOINT}.damaged"
    for content in damaged(whole):
        kept.path.write_bytes(content)
        assert kept.read() is None
        assert aside.read_bytes() == content
        assert f"Warning: {kept.path} is damaged (" in capsys.readouterr().err
        assert not kept.path.exists()
    kept.path.write_bytes(whole)
    assert kept.read() is not None


def test_a_run_with_a_damaged_checkpoint_starts_afresh(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wsd, "CHECKPOINT_EVERY", 25)
    whole = loop.train_model(run, folder=tmp_path)
    content = bytearray((tmp_path / CHECKPOINT).read_bytes())
    content[len(content) // 2] ^= 4
    (tmp_path / CHECKPOINT).write_bytes(content)
    assert loop.train_model(run, folder=tmp_path) == whole  # from its first step: resumed_at is 0
    assert "kept as checkpoint.pt.damaged, and the run starts afresh." in capsys.readouterr().err


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

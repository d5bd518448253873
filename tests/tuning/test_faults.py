"""What follows a fault of the machine: a wait, the sweep taken up again, at last one sentence."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from mnist_scaling.config import RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import TrainResult
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.training.cost import check_device
from mnist_scaling.tuning.task import Report
from mnist_scaling.tuning.workers import faults
from mnist_scaling.tuning.workers.faults import MachineError

from .helpers import InProcess, Study, bowl

FULL = OSError(errno.ENOSPC, "No space left on device", "/x")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "SWEEP_WAITS", (0.0, 0.0))


def test_a_sweep_is_taken_up_again_while_it_measures_something() -> None:
    measured: list[int] = []

    def sweep() -> None:
        if len(measured) < 9:
            measured.append(1)
            raise MachineError("the disk is full")

    faults.resume_after(sweep, lambda: len(measured))
    assert len(measured) == 9


def test_a_lasting_fault_ends_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    tries: list[int] = []

    def sweep() -> None:
        tries.append(1)
        raise FULL

    with pytest.raises(InputError) as raised:
        faults.resume_after(sweep, lambda: 0)
    assert len(tries) == 3
    assert str(raised.value) == (
        "A study needs a machine whose disk, memory, devices, network and packages work, but: the disk is full (/x). "
        "Nothing that was measured is lost: mend it, and run the same command again."
    )
    assert capsys.readouterr().err.count("Warning: the disk is full (/x); the next try is in 0 s.") == 2


def test_a_mistyped_address_is_an_error_at_once_but_one_that_went_away_is_waited_for() -> None:
    tries: list[int] = []

    def sweep() -> None:
        tries.append(1)
        if len(tries) == 2:
            raise MachineError("the scheduler closed the connection")
        if len(tries) in (1, 3):
            raise InputError("`hydra.launcher.address` must be a scheduler's") from ConnectionError("refused")

    with pytest.raises(InputError):
        faults.resume_after(sweep, lambda: 0)
    assert len(tries) == 1
    faults.resume_after(sweep, lambda: 0)
    assert len(tries) == 4


def test_a_fault_in_runs_charges_nobody_and_a_resume_has_the_same_rows(tmp_path: Path) -> None:
    """Every third run meets a broken disk; whoever else was lost in the same batch is not charged either."""
    started = []

    def train(run: RunConfig, report: Report | None = None) -> TrainResult:
        started.append(run)
        if len(started) % 3 == 0 and len(started) < 20:
            raise OSError(errno.EIO, "Input/output error")
        return bowl(run)

    grid, broken = ("model.width=8,16",), tmp_path / "broken"

    def sweep() -> None:
        Study(broken, InProcess(train), *grid).run()

    faults.resume_after(sweep, lambda: len(list(broken.rglob("result.json"))))
    Study(tmp_path / "whole", InProcess(), *grid).run()
    whole, got = (read_table(tmp_path / name / "trials.csv").drop(columns="seconds") for name in ("whole", "broken"))
    assert got.equals(whole)
    assert len(started) > len(whole)


def no_device(name: str) -> Exception:
    try:
        check_device(name)
    except InputError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "CUDA out of memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate"),
            "DefaultCPUAllocator",
        ),
        (ModuleNotFoundError("No module named 'mine'"), "No module named 'mine'"),
        (MemoryError(), "MemoryError"),
        (no_device("mps"), r"there is no such device \(mps\)"),
    ],
)
def test_a_fault_of_the_set_up_is_no_runs_and_leaves_no_record(tmp_path: Path, error: Exception, words: str) -> None:
    def train(run: RunConfig, report: Report | None = None) -> TrainResult:
        raise error

    with pytest.raises(InputError, match=words):
        faults.resume_after(lambda: Study(tmp_path, InProcess(train), "model.width=8,16").run(), lambda: 0)
    assert not list(tmp_path.rglob("result.json"))


def test_an_error_of_a_run_stays_its_own() -> None:
    assert not faults.is_fault(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not faults.is_fault(ValueError("no"))

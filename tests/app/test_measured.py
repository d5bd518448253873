"""What an application says of a run is checked: what is wrong is told by rule, value and fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, distribution_to_json

from mnist_scaling.app.application import AppTask
from mnist_scaling.app.measured import EndOfRun, Reports, measured
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import COMPLETE, CONTROL, DIVERGED, FAILED, PRUNED, TRIAL, TrainResult
from mnist_scaling.tuning.cell.composition import Cell
from mnist_scaling.tuning.sweep.ledger import Ledger
from mnist_scaling.tuning.workers.job import Job, Outcome
from mnist_scaling.tuning.workers.perform import measure, of_job


def result(found: Any) -> TrainResult:
    return measured(found, "val_loss", "main", Reports())


def test_a_loss_alone_is_a_result() -> None:
    found = result(np.float32(0.25))
    assert (found.state, found.val_loss, found.n_params, found.further) == (COMPLETE, 0.25, None, {})


def test_numbers_go_under_names_of_ours_or_become_further_ones() -> None:
    found = result({"val_loss": 0.5, "n_params": 12.0, "flops": 3, "accuracy": 0.9, "bits": float("nan"), "none": None})
    assert (found.n_params, found.flops, found.flops_spent) == (12, 3, 3)
    assert type(found.n_params) is int
    assert found.further == {"accuracy": 0.9, "bits": None}


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 100.0])
def test_a_loss_that_is_none_is_a_diverged_run(loss: float) -> None:
    found = result({"val_loss": loss, "test_loss": float("nan"), "n_params": 3})
    assert (found.state, found.val_loss) == (DIVERGED, None)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (None, r"but what it returned is 'None' \(NoneType\): return a float"),
        ("0.3", r"but what it returned is '0.3' \(str\)"),
        ([0.3, 0.4], "but what it returned is"),
        (True, "but what it returned is 'True'"),
        ({"loss": 0.3}, "must return `val_loss`, the loss that is tuned, but `main` returned loss"),
        ({}, "returned an empty dict"),
        ({"val_loss": -1.0}, "`val_loss` must not be negative, but is -1"),
        ({"val_loss": 0.3, "seed": 1}, "returned `seed`: give it another one"),
        ({"val_loss": 0.3, "a b": 1}, "returned `a b`"),
        ({"val_loss": 0.3, "test_loss": float("nan")}, "`test_loss` must be finite and not negative, but is nan"),
        ({"val_loss": 0.3, "n_seen": -5}, "`n_seen` must be finite and not negative, but is -5"),
        ({"val_loss": 0.3, "word": "x"}, "but `word` is 'x'"),
    ],
)
def test_what_is_no_result_is_told(found: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        result(found)


def test_a_pruner_hears_a_report_at_each_quarter_however_many_there_are() -> None:
    heard: list[tuple[int, float]] = []

    def listen(number: int, loss: float) -> bool:
        heard.append((number, loss))
        return False

    report = Reports(listen)
    for done in range(1, 101):
        report(done / 100, 1 / done)
    assert heard == [(1, 1 / 25), (2, 1 / 50), (3, 1 / 75)]
    assert [share for share, _ in report.points] == [0.25, 0.5, 0.75]


def test_a_report_ends_a_run_past_any_except_exception() -> None:
    report = Reports(lambda number, loss: number == 2)
    with pytest.raises(EndOfRun) as ended:
        for done in range(1, 11):
            try:
                report(done / 10, 1.0)
            except Exception:
                pytest.fail("an application would go on")
    assert (ended.value.state, len(report.points)) == (PRUNED, 2)
    with pytest.raises(EndOfRun) as ended:
        Reports()(0.1, float("nan"))
    assert ended.value.state == DIVERGED
    with pytest.raises(InputError, match=r"`0 < share <= 1` must hold in report\(share, loss\), but got 3"):
        Reports()(3, 1.0)


@pytest.mark.parametrize(("further", "state"), [({"lr": 3.0}, FAILED), ({"n": 3.0}, FAILED), ({"bits": 3.0}, COMPLETE)])
def test_a_number_under_the_name_of_a_swept_or_tuned_key_is_told(
    further: dict[str, float], state: str, tmp_path: Path
) -> None:
    values = {"seed": 0, "optim.lr": 0.1, "data.n": 8}
    space, place = {"optim.lr": FloatDistribution(0.1, 1)}, "n=8/trial-000"
    cell = Cell({"data.n": 8}, (), values, {**space}, AppTask(print))
    ranges = {key: distribution_to_json(found) for key, found in space.items()}
    job = Job(cell.name, place, (), {"optim.lr": 0.1, "seed": 0}, TRIAL, 0, 0, CONTROL, ranges=ranges)
    ledger = Ledger(tmp_path, [cell])
    record = measure(values, TRIAL, 0, lambda: result({"val_loss": 0.5, **further}))
    ledger.keep(job, Outcome(of_job(record, job, {})))
    row = ledger.row(job) or {}
    assert row["state"] == state
    told = f"that no swept or tuned key has, but the run returned `{next(iter(further))}`: give it another one."
    assert (told in str(row["error"])) == (state == FAILED)

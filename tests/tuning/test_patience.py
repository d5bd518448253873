"""A database that is away: calls to it are made again, up to a stated time, and nothing is done twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError, ProgrammingError

from mnist_scaling.tuning.stored import patience
from mnist_scaling.tuning.stored.storage import study_prefix
from mnist_scaling.tuning.workers.faults import LastingFaultError

REFUSED = OperationalError("SELECT 1", None, Exception("connection to me:w0rd@host failed: Connection refused"))


class Flaky(optuna.storages.InMemoryStorage):
    """Loses the question or the answer of the next calls."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name == "losses" or not callable(found) or not self.losses:
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            loss = self.losses.pop(0) if self.losses else None
            if loss != "question":
                answer = found(*arguments, **options)
            if loss is None:
                return answer
            raise REFUSED

        return call


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_SECONDS", 0.001)


def test_a_call_waits_and_says_so_without_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    answers: Iterator[bool] = iter([False, False, True])

    def step() -> int:
        if not next(answers):
            raise REFUSED
        return 5

    assert patience.wait_for(step, "postgresql://me:***@host/db", 60.0) == 5
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("Warning: the storage postgresql://me:***@host/db has not answered since ")
    assert "Connection refused); trying again in 0.001 s." in first
    assert "trying again in 0.002 s." in second
    assert third == "Warning: the storage answers again, after 0 s."
    assert "w0rd" not in first + second


def test_after_the_stated_time_one_fault_says_how_long_it_was() -> None:
    def step() -> None:
        raise REFUSED

    with pytest.raises(LastingFaultError, match=r"has not answered since \d\d:\d\d:\d\d, for 0.01 s \("):
        patience.wait_for(step, "postgresql://host/db", 0.01)
    with pytest.raises(OperationalError), patience.hurry():
        patience.wait_for(step, "postgresql://host/db", 60.0)


def test_an_error_that_waiting_does_not_mend_is_raised_at_once() -> None:
    def step() -> None:
        raise ProgrammingError("SELECT", None, Exception('relation "studies" does not exist'))

    with pytest.raises(ProgrammingError):
        patience.wait_for(step, "postgresql://host/db", 60.0)


def test_hurry_is_of_one_thread() -> None:
    found = []
    with patience.hurry():
        thread = threading.Thread(target=lambda: found.append(patience._hurried.get()))
        thread.start()
        thread.join()
    assert found == [False]


@pytest.mark.parametrize("loss", ["question", "answer"])
def test_what_a_lost_answer_had_done_is_done(loss: str) -> None:
    flaky = Flaky()
    storage = patience.patient(flaky, "postgresql://host/db", 60.0)
    flaky.losses = [loss] * 2
    study = optuna.create_study(study_name="s", storage=storage, load_if_exists=True)
    trial = study.ask()
    flaky.losses = [loss]
    storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [1.0])
    assert [(t.state, t.value) for t in study.trials] == [(TrialState.COMPLETE, 1.0)]
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def test_studies_of_two_folders_of_one_name_have_two_names_that_stay(tmp_path: Path) -> None:
    url = "postgresql://host/db"
    for name in ("one", "two"):
        (tmp_path / name / "smoke").mkdir(parents=True)
    one, two = (study_prefix(url, tmp_path / name / "smoke") for name in ("one", "two"))
    assert one != two
    assert one.startswith("smoke ")
    assert study_prefix(url, tmp_path / "one/smoke") == one
    assert study_prefix(None, tmp_path / "one/smoke") == ""
    (tmp_path / "one/smoke/.storage-id").write_text("half")
    assert study_prefix(url, tmp_path / "one/smoke") not in (one, two)


def test_what_was_asked_before_a_write_is_asked_again_after_it() -> None:
    storage = patience.patient(optuna.storages.InMemoryStorage(), "postgresql://host/db", 60.0)
    study = optuna.create_study(storage=storage)
    for n in range(3):
        assert len(study.get_trials(deepcopy=False)) == n
        study.ask()


def test_what_one_thread_asked_for_before_another_ones_write_is_not_remembered() -> None:
    """A run reports and asks for all reports; what a run beside it has asked for earlier lacks that report."""
    asked, written = threading.Event(), threading.Event()

    class Slow(optuna.storages.InMemoryStorage):
        def get_all_trials(self, *arguments: Any, **options: Any) -> Any:
            found = super().get_all_trials(*arguments, **options)
            if threading.current_thread() is beside:
                asked.set()
                written.wait(60)
            return found

    study = optuna.create_study(storage=patience.patient(Slow(), "postgresql://host/db", 60.0))
    beside = threading.Thread(target=lambda: study.get_trials(deepcopy=False))
    beside.start()
    asked.wait(60)
    study.ask()
    written.set()
    beside.join()
    assert len(study.get_trials(deepcopy=False)) == 1

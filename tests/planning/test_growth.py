"""From an irregularity to the runs that resolve it in its own study, and what became of it; with an analytic loss."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from math import log10
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mnist_scaling.config import RunConfig
from mnist_scaling.config.fit_schema import BootstrapConfig, ColumnsConfig, FitConfig
from mnist_scaling.errors import InputError
from mnist_scaling.planning import checks, growth
from mnist_scaling.planning.checks import LONGER, PASS, REPEATS, TRIALS, WARNING, Card
from mnist_scaling.planning.studied import Studied, studied
from mnist_scaling.reporting.text import Sentence, TextTable
from mnist_scaling.reporting.words.plan_words import resolved_parts
from mnist_scaling.study import files, layout
from mnist_scaling.study.columns import INDEPENDENT, TrainResult
from mnist_scaling.tuning.cell import partitioning
from mnist_scaling.tuning.cell.next_settings import Effort
from mnist_scaling.tuning.sweep.driver import Driver
from mnist_scaling.tuning.sweep.next_jobs import Method
from mnist_scaling.tuning.sweep.study_tables import join
from mnist_scaling.tuning.task import Report
from tests.tuning.helpers import SAMPLER, InProcess, bowl, make_cells

COMMAND = "python -m mnist_scaling.train -m name=s model.width=4,8 data.fraction=0.25,0.5,1 hydra.sweeper.n_trials=4"
NARROW, AXES = "optim.lr=tag(log,limit_low,interval(1e-4,2e-3))", ("model.width=4,8", "data.fraction=0.25,0.5,1")
FIXED = ("search_space.optim.batch_size=null", "search_space.model.dropout=null")


def sized(run: RunConfig, report: Report | None = None) -> TrainResult:
    """The best learning rate is 0.005; a model has 100 parameters per channel."""
    result, n = bowl(run, report), 100 * run.model.width
    loss = 0.05 + n**-0.3 + result.n_seen**-0.3 + 0.01 * (log10(run.optim.lr) + 2.3) ** 2 + 1e-3 * run.seed
    tests = {"test_loss": loss, "test_error": 0.1, "train_loss": loss} if run.trial.stage == "repeat" else {}
    sizes = {"n_params": n, "n_params_hidden": n - 80}
    return replace(result, **sizes, val_loss=loss, flops=6 * n * result.n_seen, **tests)


def sweep(folder: Path, *arguments: str, n_trials: int = 4, **more: Any) -> pd.DataFrame:
    """trials.csv after a sweep of these cells."""
    workers, cells = InProcess(sized), make_cells(*FIXED, *arguments, **more)
    workers.folder = folder
    method = Method(Effort(n_trials, 2, 2), SAMPLER, None, INDEPENDENT)
    Driver(folder, cells, method, {"command": COMMAND, **join(folder, cells)}).run(workers)
    return pd.read_csv(folder / layout.TRIALS)


def read(folder: Path) -> tuple[Studied, list[Card]]:
    of = studied(FitConfig(name=str(folder), bootstrap=BootstrapConfig(draws=20), laws="multiplicative"))
    return of, checks.cards(of)


def test_an_edge_is_found_resolved_in_its_study_and_gone(tmp_path: Path) -> None:
    folder = tmp_path / "multirun" / "s"
    before = sweep(folder, *AXES, NARROW)
    of, found = read(folder)
    (edge,) = (card for card in found if card.code == "search_edge")
    assert edge.cells == (0, 1, 2, 3, 4, 5)
    command = shlex.split(growth.resolve(of, [edge]))
    assert command[:4] == ["python", "-m", "mnist_scaling.train", "-m"]
    given = dict(word.split("=", 1) for word in command[4:])
    assert given.pop("name") == "s"
    path = given.pop("hydra.sweeper.cells")
    assert given == {"optim.lr": "tag(log,limit_low,interval(0.0001,0.02))"}, "axes and effort are the list's"
    assert [one["status"] for one in growth.outcomes(of, [edge])] == [growth.OPEN] * 6

    wider = [f"{key}={value}" for key, value in given.items()]
    now = sweep(folder, *wider, listed=partitioning.read_cell_list(path))
    by = ["width", "data_fraction", "stage", "number"]
    kept = before[by].merge(now, on=by, how="left")[before.columns]
    pd.testing.assert_frame_equal(kept, before, check_exact=True)
    of, found = read(folder)
    came = growth.outcomes(of, found)
    assert [one["status"] for one in came] == [growth.GONE] * 6
    assert all(one["after"] < one["before"] for one in came)
    moved = now[(now["stage"] == "trial") & (now["number"] == 4)]["lr"]
    assert moved.tolist() == pytest.approx([(2e-3 * 2e-2) ** 0.5] * 6), "what is new of the range is tried first"
    kept_record = json.loads((folder / layout.RESOLVED).read_text())
    assert kept_record["before"].keys() == kept_record["now"].keys() != set()
    assert kept_record["before"] != kept_record["now"]
    assert [one["status"] for one in kept_record["outcomes"]] == [one["status"] for one in came]
    table, told = resolved_parts(kept_record)
    assert isinstance(table, TextTable)
    assert table.rows[0][:3] == ["search_edge", "width=4 data_fraction=0.25", "gone"]
    assert float(table.rows[0][3]) > float(table.rows[0][4])
    assert isinstance(told, Sentence)
    assert told.text.startswith("Of 6: 6 gone. The fit moved: slope N 0.")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Studied, list[Card]]:
    folder = tmp_path_factory.mktemp("resolve") / "multirun" / "s"
    sweep(folder, *AXES, NARROW, n_trials=2)
    return read(folder)


def listed(of: Studied) -> list[dict[str, Any]]:
    return list(yaml.safe_load((of.folder / layout.RESOLVE).read_text()))


@pytest.mark.parametrize(
    ("asks", "n_trials", "n_repeats"),
    [((TRIALS,), 4, 2), ((REPEATS,), 2, 4), ((TRIALS, REPEATS), 4, 4), ((LONGER,), 6, 2)],
)
def test_a_cell_gets_what_its_card_asks_for_and_no_other_cell_does(
    done: tuple[Studied, list[Card]], asks: tuple[str, ...], n_trials: int, n_repeats: int
) -> None:
    of, _ = done
    growth.resolve(of, [Card(WARNING, "", (1,), asks=asks, code="any")])
    rows = [(row["hydra.sweeper.n_trials"], row["hydra.sweeper.n_repeats"]) for row in listed(of)]
    assert sorted(rows) == sorted([(2, 2)] * 5 + [(n_trials, n_repeats)])
    (grown,) = (row for row in listed(of) if (row["hydra.sweeper.n_trials"], row["hydra.sweeper.n_repeats"]) != (2, 2))
    assert (grown["model.width"], grown["data.fraction"]) == (4, 0.5)


def test_what_is_there_still_after_its_runs_is_confirmed(done: tuple[Studied, list[Card]]) -> None:
    of, _ = done
    (of.folder / layout.RESOLVED).unlink(missing_ok=True)
    card = Card(WARNING, "", (1,), asks=(TRIALS,), code="any")
    growth.resolve(of, [card])
    assert [one["status"] for one in growth.outcomes(of, [card])] == [growth.OPEN]
    more = replace(of, arm=replace(of.arm, frame=of.arm.frame.assign(n_trials=4)))
    assert [one["status"] for one in growth.outcomes(more, [card])] == [growth.CONFIRMED]
    assert [one["status"] for one in growth.outcomes(more, [Card(PASS, "", code="any")])] == [growth.GONE]
    growth.resolve(more, [replace(card, cells=(2,))])
    came = {one["cell"]: one["status"] for one in growth.outcomes(more, [replace(card, cells=(2,))])}
    assert came.keys() == {of.name_of(1), of.name_of(2)}
    assert came[of.name_of(1)] == growth.GONE, "the first is not forgotten"


def test_a_cell_without_a_loss_leaves_a_file_that_can_be_read(done: tuple[Studied, list[Card]]) -> None:
    of, _ = done
    (of.folder / layout.RESOLVED).unlink(missing_ok=True)
    lost = replace(of, arm=replace(of.arm, frame=of.arm.frame.assign(**{of.loss: float("nan")})))
    card = Card(WARNING, "", (1,), asks=(TRIALS,), code="lost")
    growth.resolve(lost, [card])
    assert [one["status"] for one in growth.outcomes(lost, [card])] == [growth.OPEN]
    kept = (files.read_json(of.folder / layout.RESOLVED) or {})["outcomes"][0]
    assert (kept["before"], kept["after"]) == (None, None)
    assert growth.outcomes(lost, [card])


def test_nothing_is_written_for_a_sound_study(done: tuple[Studied, list[Card]], tmp_path: Path) -> None:
    assert growth.resolve(done[0], [Card(PASS, "", code="any")]) == ""
    rows = pd.DataFrame({"n": [1e3, 2e3, 4e3, 8e3], "l": [1, 0.9, 0.8, 0.7]})
    rows.to_csv(tmp_path / "t.csv", index=False)
    of = studied(FitConfig(table=str(tmp_path / "t.csv"), columns=ColumnsConfig(N="n", loss="l"), laws="power_N"))
    with pytest.raises(
        InputError, match=r"Further runs need a study of your own, but .*t\.csv is a table alone: run them by hand"
    ):
        growth.resolve(of, [])


@pytest.mark.parametrize(
    ("low", "high", "log", "value", "expected"),
    [
        (1e-4, 1e-2, True, 9e-3, "tag(log,interval(0.0001,0.1))"),
        (1e-4, 1e-2, True, 2e-4, "tag(log,interval(1e-05,0.01))"),
        (8, 64, True, 60, "tag(log,interval(8,128))"),
        (3, 64, True, 3, "tag(log,interval(1,64))"),
        (0.0, 0.5, False, 0.49, "interval(0,0.75)"),
        (0.0, 0.9, False, 0.89, "interval(0,0.95)"),
        (1.0, 3.0, False, 1.1, "interval(0,3)"),
    ],
)
def test_a_range_is_widened_on_the_side_of_the_value(
    low: float, high: float, log: bool, value: float, expected: str
) -> None:
    of = {"low": low, "high": high, "log": log, "limits": []}
    known = dict(of)
    growth._widen(known, of, value)
    assert growth._spelled(known) == expected

"""What the command plan does with what it is asked: one thing at a time, and one next step."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_scaling import fit, plan
from mnist_scaling.config.fit_schema import BootstrapConfig, ColumnsConfig, FitConfig, PredictConfig
from mnist_scaling.config.plan_schema import PlanConfig
from mnist_scaling.errors import InputError
from mnist_scaling.planning import checks
from mnist_scaling.reporting.text import Sentence
from mnist_scaling.reporting.words import plan_words
from tests.planning.conftest import QUICK
from tests.reporting.builder import Builder

pytestmark = pytest.mark.slow


def test_a_plan_shows_checks_next_runs_and_one_next_step(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = PlanConfig(name=str(study), bootstrap=BootstrapConfig())  # of fewer draws no gain is more than chance
    plan.run(config)
    said = capsys.readouterr().out
    assert "checks passed" in said
    assert said.count("Next: ") == 1
    found, of = plan.asked(config).record, plan.studied(config.fit)
    assert found["known"]["cells"] == 16
    taken = (of.costs["flops"] * of.costs["runs"]).sum()
    assert 0 < sum(move.cost for move in found["moves"]) <= 0.1 * taken * (1 + 1e-9)
    table = said.partition("Next runs within")[2]
    assert table.count("width=") == len({*(move.place for move in found["moves"])})
    assert not (of.folder / "next_runs.yaml").exists(), "a plan without a budget writes nothing"


def test_a_table_alone_is_shown_its_next_runs_and_what_was_typed_goes_on(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ColumnsConfig(N="n_params", D="n_seen", C="flops", loss="test_loss", se="test_loss_se")
    config = PlanConfig(table=str(study / "cells.csv"), columns=columns)
    plan.run(config, ["table=cells.csv", "columns.N=n_params"])
    said = capsys.readouterr().out
    assert "Next runs within" in said
    assert "Next: python -m mnist_scaling.plan table=cells.csv columns.N=n_params flops=" in said


def test_of_too_few_cells_more_are_the_next_step(tmp_path: Path) -> None:
    folder = Builder(axes={"width": (4, 8), "data_fraction": (0.5, 1.0)}, noise=0.03).write(tmp_path / "multirun/few")
    columns = ColumnsConfig(N="n_params", D="n_seen", loss="test_loss")
    table = str(folder / "cells.csv")
    for rows, where in (
        (FitConfig(name=str(folder)), "values of width and data_fraction in `python -m mnist_scaling.train -m …`."),
        (FitConfig(table=table, columns=columns), f"in {table}."),
    ):
        of = plan.studied(rows)
        (said,) = plan_words.next_step(of, checks.cards(of), "", offer=None)
        assert isinstance(said, Sentence)
        assert said.text == f"More cells help most, of other sizes and amounts of data: {where}"


def test_a_budget_that_buys_nothing_says_so_in_json_too(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.run(PlanConfig(name=str(study), bootstrap=QUICK, flops=1.0, format="json"))
    found = json.loads(capsys.readouterr().out)
    assert (found["moves"], found["command"]) == ([], "")
    assert found["message"].startswith("No run within the budget says anything")


def test_json_is_the_same_record(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.run(PlanConfig(name=str(study), bootstrap=QUICK, format="json"))
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    assert {card["status"] for card in found["cards"]} <= {"PASS", "INFO", "WARNING", "FAIL", "N/A"}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"minutes": 5, "flops": 1e9}, "One plan must do one thing, but got minutes and flops"),
        ({"minutes": 5, "target": {"width": 32}}, "got target.… and minutes"),
        ({"resolve": True, "score": True}, "got resolve and score"),
        ({"name": ""}, "Exactly one of `name` and `table` must be given, but got neither"),
        ({"flops": -1.0}, "`flops > 0` must hold, but got -1: give a positive number."),
        ({"cores": 2}, "`cores=2` must go with minutes=…"),
        ({"register": False}, "`register=false` must go with a cell to predict"),
        (
            {"target": {"flops": "3e10FLOPs"}},
            "`target.flops` must be a positive number, but got '3e10FLOPs': write a plain",
        ),
        ({"format": "xml"}, "`format` must be one of text, json, but got 'xml'"),
    ],
)
def test_one_thing_at_a_time(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence.replace("(", r"\(")):
        PlanConfig(**{"name": "any", **more})


def test_fit_and_plan_trust_a_loss_by_the_same_doubts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many cells are certified is no flag, and lowers every number of `fit`."""
    folder, n, d = Path(__file__).parents[2] / "multirun/reference/predict_mnist_converged", 5_000.0, 30_000.0
    doubt = "; 44 % of the cells are certified tuned;"
    fit.run(FitConfig(name=str(folder), out=str(tmp_path), bootstrap=QUICK, predict=PredictConfig(N=n, D=d)))
    assert doubt in capsys.readouterr().out
    plan.run(PlanConfig(name=str(folder), bootstrap=QUICK, target={"N": n, "D": d}, register=False))
    assert doubt in capsys.readouterr().out


def test_a_mean_at_the_best_size_and_a_run_of_a_width_point_to_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(Path(__file__).parents[2] / "multirun/reference/quickstart")
    fit.run(FitConfig(name=folder, out=str(tmp_path), predict=PredictConfig(C=3e10)), [f"name={folder}"])
    said = capsys.readouterr().out
    assert "It is the expected loss of a model of exactly that N; a cell that you train scatters about it" in said
    headline = json.loads((tmp_path / "fits.json").read_text())["headline"]
    scatter, noise = headline["scatter"], headline["noise"]
    assert f"about it by {100 * scatter:.1f} %" in said
    assert scatter > 1.2 * noise  # luck in tuning is in it, which repeats don't show
    assert re.search(
        "target.flops=3e[+]10 register=false` names a model that can be trained with it, what one run", said
    )
    plan.run(PlanConfig(name=folder, bootstrap=QUICK, target={"flops": 3e10}, register=False))
    assert "`fit` with predict.C=3e+10 gives the expected loss" in capsys.readouterr().out


def test_a_study_of_the_repository_is_read_and_nothing_is_written_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever fits or plans it in a fresh clone finds no changed file, and a note says where it is read from."""
    kept = Builder(noise=0.03, seed=1).write(tmp_path / "multirun/reference/grid")
    (kept / "fits.json").write_text("{}")
    before = {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    fit.run(FitConfig(name="grid", bootstrap=QUICK, laws="additive"))
    said = capsys.readouterr()
    assert said.err == "Note: grid is read from multirun/reference/grid, which comes with the repository.\n"
    assert "multirun/reference/grid/fits.json stays as it came with the repository: out=FOLDER keeps" in said.out
    asked = PlanConfig(name="grid", bootstrap=QUICK, target={"width": 64, "data_fraction": 1.0})
    plan.run(asked, ["name=grid", "target.width=64"])
    said = capsys.readouterr()
    assert said.err.startswith("Note: grid is read from")
    assert "Not registered: it counts for nothing. The next command registers this prediction.\n" in said.out
    assert said.out.rstrip().endswith("Next: python -m mnist_scaling.plan name=grid target.width=64 out=FOLDER")
    with pytest.raises(
        InputError, match="study of your own, but .*reference/grid/cells.csv is a table alone: start it"
    ):
        plan.run(PlanConfig(name="grid", bootstrap=QUICK, resolve=True))
    plan.run(PlanConfig(name="grid", bootstrap=QUICK, flops=1e15))
    assert {path: path.read_bytes() for path in kept.rglob("*") if path.is_file()} == before
    plan.run(replace(asked, out="mine"))
    assert Path("mine/predictions.csv").is_file()
    registered = Path(shutil.copy("mine/predictions.csv", kept)).read_bytes()
    plan.run(PlanConfig(name="grid", score=True))
    assert (kept / "predictions.csv").read_bytes() == registered, "a score is shown and not written"

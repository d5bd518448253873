"""predictions.csv: registered, sealed, scored."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnist_scaling import plan
from mnist_scaling.arms.reading import read
from mnist_scaling.config.fit_schema import ColumnsConfig, FitConfig
from mnist_scaling.config.plan_schema import PlanConfig
from mnist_scaling.errors import InputError
from mnist_scaling.planning import predictions
from mnist_scaling.planning.new_cell import expect, place_of
from mnist_scaling.planning.studied import Studied, studied
from mnist_scaling.study import layout
from mnist_scaling.tuning.cell import partitioning
from tests.fitting.tables import numbers, public
from tests.planning.conftest import QUICK
from tests.planning.test_growth import sweep
from tests.reporting.builder import Builder

TARGETS = ({"width": 64, "data_fraction": 1.0}, {"width": 64, "data_fraction": 0.5})
AXES = {"width": (4, 8, 16, 32, 64), "data_fraction": (0.125, 0.25, 0.5, 1.0)}


@pytest.fixture
def registered(of: Studied, tmp_path: Path) -> Path:
    for target in TARGETS:
        cell = place_of(of, target)
        predictions.register(of, cell, expect(of, cell, np.random.default_rng(0)), tmp_path)
    return tmp_path


def test_a_row_has_what_it_rests_on_and_is_registered_once(of: Studied, registered: Path) -> None:
    rows = predictions.read_predictions(registered)
    assert [row["width"] for row in rows] == ["64", "64"]
    assert rows[0]["tables_hash"] == predictions.tables_hash(of)
    assert float(rows[0]["low"]) < float(rows[0]["predicted_loss"]) < float(rows[0]["high"])
    assert float(rows[0]["reach"]) == pytest.approx(2**1.5, rel=0.01)
    assert rows[0]["beyond"] == "2.83 times the largest compute"
    assert rows[0]["by_law"] == "" or "lr" in rows[0]
    cell = place_of(of, TARGETS[0])
    again = predictions.register(of, cell, expect(of, cell, np.random.default_rng(0)), registered)
    assert again == rows[0]
    assert predictions.read_predictions(registered) == rows


def test_a_target_by_its_sizes_joins_the_file_and_leaves_the_seals_before_it(of: Studied, registered: Path) -> None:
    cell = place_of(of, {"N": 1e6, "D": 40_000})
    row = predictions.register(of, cell, expect(of, cell, np.random.default_rng(0)), registered)
    found = predictions.read_predictions(registered)
    assert found[2]["seal"] == row["seal"]
    assert found[2]["width"] == ""
    assert float(found[2]["flops"]) == pytest.approx(6e6 * 40_000, rel=0.01)


@pytest.mark.parametrize("edit", ["number", "row", "added"])
def test_a_file_that_was_edited_is_refused(registered: Path, edit: str) -> None:
    path = registered / layout.PREDICTIONS
    lines = path.read_text().splitlines()
    if edit == "number":
        low = predictions.read_predictions(registered)[1]["low"]
        lines[2] = lines[2].replace(low, "0.0001")
    elif edit == "row":
        del lines[1]
    else:
        lines.append(lines[-1])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="must stay as it was registered, but line"):
        predictions.read_predictions(registered)


def test_a_score_says_what_came_and_a_second_one_the_same(registered: Path, study: Path, tmp_path: Path) -> None:
    own = read(FitConfig(name=str(study)))
    waiting = predictions.score(registered, [own])
    assert predictions.summary(waiting) == {"registered": 2, "scored": 0}
    assert waiting[0]["why_not"] == "not measured yet"
    later = Builder(axes=AXES, noise=0.03, seed=5).write(tmp_path / "multirun" / "later")
    came = read(FitConfig(name=str(later)))
    rows = predictions.score(registered, [own, came])
    assert [row["inside"] for row in rows] == ["true", "true"]
    cells = came.rows.arms[0].frame.set_index(["width", "data_fraction"])
    assert float(rows[0]["measured_loss"]) == pytest.approx(cells.loc[(64, 1.0), "test_loss"])
    assert rows[0]["measured_in"] == "later"
    assert predictions.score(registered, [own, came]) == rows
    one_axis = Builder(axes={"width": (32, 64)}).write(tmp_path / "multirun" / "widths")
    elsewhere = predictions.score(registered, [own, read(FitConfig(name=str(one_axis)))])
    assert elsewhere[0]["why_not"] == "not measured yet", "another grid has no cell of two axes"
    found = predictions.summary(rows)
    assert (found["scored"], found["inside"]) == (2, 2)
    assert 0 < found["crps"] < found["width"]


def test_what_was_measured_before_its_prediction_is_not_scored(registered: Path, tmp_path: Path) -> None:
    later = Builder(axes=AXES).write(tmp_path / "multirun" / "later")
    run = later / "width=64" / "data_fraction=1" / "trial-000" / "result.json"
    run.parent.mkdir(parents=True)
    run.write_text("{}")
    os.utime(run, (0, 0))
    rows = predictions.score(registered, [read(FitConfig(name=str(later)))])
    assert rows[0]["why_not"].endswith("data_fraction=1 was begun before")
    assert rows[1]["inside"] == "true"


def test_crps_is_that_of_a_normal_distribution() -> None:
    from scipy.stats import norm

    quantiles = norm.ppf(predictions.LEVELS, -1.0, 0.2)
    for off in (-0.3, 0.0, 0.1):
        z = off / 0.2
        truth = 0.2 * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
        assert predictions.crps(-1.0 + off, quantiles) == pytest.approx(truth, rel=0.06, abs=1e-3)


@pytest.mark.slow
def test_the_command_registers_scores_and_refuses(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(study, tmp_path / "multirun" / "grid"))
    asked = PlanConfig(name=str(folder), bootstrap=QUICK, target=dict(TARGETS[0]))
    plan.run(asked)
    said = capsys.readouterr().out
    assert "2.83 times the largest compute" in said
    assert "Registered in" in said
    plan.run(replace(asked, target=dict(TARGETS[1]), register=False, format="json"))
    looked = json.loads(capsys.readouterr().out)
    assert len(predictions.read_predictions(folder)) == 1, "a look writes nothing"
    row = looked["prediction"]
    assert (row["width"], row["data_fraction"], row["study"]) == (64, 0.5, "grid")
    assert row["low"] < row["predicted_loss"] < row["high"]
    assert row["lr_low"] <= row["lr"] <= row["lr_high"]
    assert len(row["quantiles"]) == len(predictions.LEVELS)
    assert row["tables_hash"] == predictions.read_predictions(folder)[0]["tables_hash"]
    assert looked["command"].endswith(f"name={folder}"), "registers it"
    Builder(axes=AXES, noise=0.03, seed=5).write(folder)
    with pytest.raises(InputError, match="must be predicted before it is run"):
        plan.run(asked)
    plan.run(PlanConfig(name=str(folder), score=True, format="json"))
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["scored"] == 1
    assert found["predictions"][0]["inside"] is True


def test_a_score_without_predictions_is_refused(study: Path) -> None:
    with pytest.raises(InputError, match="A score needs a prediction, but"):
        plan.run(PlanConfig(name=str(study), score=True))


@pytest.mark.slow
def test_predicted_cells_are_run_in_their_study_by_the_list_and_then_scored(tmp_path: Path) -> None:
    folder = tmp_path / "multirun" / "s"
    sweep(folder, "model.width=4,8,16", "data.fraction=0.25,0.5,1")
    config = FitConfig(name=str(folder), bootstrap=QUICK, laws="additive")
    of = studied(config)
    for width, share in ((32, 1.0), (32, 0.5)):
        cell = place_of(of, {"width": width, "data_fraction": share})
        assert cell.keys == {"model.width": width, "data.fraction": share}
        predictions.register(of, cell, expect(of, cell, np.random.default_rng(0)), folder)
    (first, _) = rows = predictions.read_predictions(folder)
    predictions.command(of, [first], folder)
    listed = partitioning.read_cell_list(str(folder / layout.PREDICTED_CELLS))
    assert len(listed) == 9 + 1, "one prediction asks for its own cell alone"
    words = shlex.split(predictions.command(of, rows, folder))
    path = next(word for word in words if word.startswith("hydra.sweeper.cells"))
    sweep(folder, listed=partitioning.read_cell_list(path.partition("=")[2]))
    rows = predictions.score(folder, [read(config)])
    assert [row["inside"] for row in rows] == ["true", "true"]
    assert max(abs(float(row["log_error"])) for row in rows) < 0.1
    assert predictions.command(studied(config), predictions.read_predictions(folder), folder) == ""
    with pytest.raises(InputError, match="must be predicted before it is run"):
        place_of(studied(config), {"width": 32, "data_fraction": 1.0})


def test_the_largest_model_of_a_published_ladder_is_foreseen(tmp_path: Path) -> None:
    columns = public("olmo_ladder_c4.csv")
    runs = pd.DataFrame({k: numbers(columns, k) for k in ("N", "D", "C_olmo", "loss_c4")}).assign(mode=columns["mode"])
    runs.to_csv(tmp_path / "runs.csv", index=False)
    roles = ColumnsConfig(N="N", D="D", C="C_olmo", loss="loss_c4")
    config = FitConfig(table=str(tmp_path / "runs.csv"), columns=roles, where="mode == 'train'", bootstrap=QUICK)
    of, target = studied(config), runs.iloc[-1]
    found = expect(of, place_of(of, {"N": target["N"], "D": target["D"]}), np.random.default_rng(0)).loss
    assert found.holds(target["loss_c4"])
    assert found.value == pytest.approx(target["loss_c4"], rel=0.03)
    assert found.high / found.low < 1.2


def test_larger_cells_of_a_recorded_study_are_foreseen_from_the_smaller_ones() -> None:
    """What `python benchmarks/predictions.py --recorded` does with eleven of them."""
    import predictions as benchmark

    rows = benchmark.foreseen("tuned_on", draws=40)
    assert len(rows) == 5
    assert max(row["reach"] for row in rows) > 15
    assert sum(row["inside"] == "true" for row in rows) >= 4
    assert np.sqrt(np.mean([row["log_error"] ** 2 for row in rows])) < 0.1
    assert "| all | 5 |" in benchmark.by_distance(rows)

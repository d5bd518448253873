"""A cell that was never run: where it lies, what it should give, and which targets are refused."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from mnist_scaling import cli, config, plan
from mnist_scaling.arms.reading import read
from mnist_scaling.config import DataConfig, ModelConfig, RunConfig
from mnist_scaling.config.fit_schema import ColumnsConfig, FitConfig
from mnist_scaling.config.plan_schema import PlanConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.analysis import Result
from mnist_scaling.fitting.misfit.posterior import Model, surface
from mnist_scaling.fitting.rows import make_table
from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.image_task import TASK
from mnist_scaling.planning import predictions
from mnist_scaling.planning.new_cell import (
    Expected,
    NewCell,
    expect,
    extrapolated,
    log_loss,
    loss_draws,
    on_grid,
    place_of,
)
from mnist_scaling.planning.studied import Studied, studied
from mnist_scaling.reporting import terminal
from mnist_scaling.reporting.documents.fit_record import fit_record
from mnist_scaling.reporting.words import plan_words
from tests.planning.conftest import QUICK
from tests.reporting.builder import Builder, power_law

REFERENCE = Path(__file__).parents[2] / "multirun/reference"
FAR = {"width": 64, "data_fraction": 1.0}


@pytest.fixture(scope="module")
def quickstart() -> Studied:
    """The kept study, which our own program counts."""
    return replace(studied(FitConfig(name=str(REFERENCE / "quickstart"))), counts=plan._counts)


def test_sizes_go_on_along_the_axes_where_nothing_counts_them(of: Studied) -> None:
    cell = place_of(of, FAR)
    assert cell.at["N"] == pytest.approx(200 * 64**1.5, rel=1e-3)
    assert cell.at["D"] == pytest.approx(40_000, rel=1e-6)
    assert cell.at["C"] == pytest.approx(6 * cell.at["N"] * cell.at["D"], rel=2e-3)
    assert cell.counted == "n_params, n_seen, flops read off along width, data_fraction"


def test_a_bent_size_goes_on_along_a_parabola_and_a_noisy_one_along_a_line() -> None:
    width = np.repeat([2.0, 3, 4, 6, 8, 11, 16], 3)
    exact, rng = 9 * width**2 + 900 * width, np.random.default_rng(0)
    noisy = width * np.exp(0.3 * rng.standard_normal(len(width)))
    cells = pd.DataFrame({"width": width, "n": exact, "seen": noisy})
    assert extrapolated(cells, "n", {"width": 64}) == pytest.approx(9 * 64**2 + 900 * 64, rel=0.15)  # a line: -32 %
    assert extrapolated(cells, "seen", {"width": 64}) == pytest.approx(64, rel=0.4)


def test_our_own_program_counts_what_a_run_then_measures() -> None:
    run = RunConfig(model=ModelConfig(width=2), data=DataConfig(fraction=0.0625))
    values = config.flatten(asdict(run))
    known = TASK.counts(TASK.checked({**values, "regime.name": "single_epoch"}))
    # tests/asking/kept/quickstart_quick/cells.csv, first row.
    assert {k: known[k] for k in ("n_params", "n_params_hidden", "n_train", "n_seen", "flops")} == {
        "n_params": 2066, "n_params_hidden": 76, "n_train": 3125, "n_seen": 3125, "flops": 147_000_000,
    }  # fmt: skip
    stops = {"regime.name": "early_stopping", "regime.patience": 3, "regime.max_epochs": 9, "optim.schedule": "wsd"}
    assert not {"n_seen", "flops"} & TASK.counts(TASK.checked({**values, **stops})).keys()


@pytest.mark.parametrize("name", ["quickstart", "isoflop", "transformer", "passes", "predict_fashion_mlp"])
def test_a_study_that_came_without_its_runs_is_counted_by_the_program_too(name: str) -> None:
    """Of every cell it gives what its runs measured, and further cells are not read off the grid."""
    source = read(FitConfig(name=str(REFERENCE / name)))
    (arm,) = source.rows.arms
    kept = Studied(source, arm, cast(Result, SimpleNamespace(cost=None)), plan._counts)
    for number in range(len(arm.frame)):
        row = arm.frame.iloc[number]
        cell = on_grid(kept, {axis: row[axis] for axis in source.axes})
        assert cell.counted == "counted by the program"
        assert cell.at == {k: row[source.rows.names[k]] for k in ("N", "D", "C")}


def test_the_cost_of_a_target_by_its_sizes_is_that_of_the_tables_own_plane(of: Studied) -> None:
    assert place_of(of, {"N": 1e6, "D": 40_000}).at["C"] == pytest.approx(6e6 * 40_000, rel=1e-3)


def test_the_interval_holds_the_truth_and_the_scatter_of_a_cell_beyond_the_surface(of: Studied) -> None:
    cell = place_of(of, FAR)
    found = expect(of, cell, np.random.default_rng(0))
    truth = power_law(cell.at["N"], cell.at["D"])
    assert found.loss.holds(truth)
    falls, scatter = falling(of.model, cell.at), of.model.posterior.scatter()
    beyond = found.log_loss - log_loss(of, cell.at)[falls]
    assert beyond.std() == pytest.approx(np.sqrt((scatter**2).mean()), rel=0.15)
    assert found.error.value == pytest.approx(found.loss.value / 5, rel=0.02)
    assert found.error.holds(truth / 5)
    again = expect(of, cell, np.random.default_rng(0))
    assert (again.log_loss == found.log_loss).all()
    assert (expect(of, cell, np.random.default_rng(1)).log_loss != found.log_loss).any()


def falling(model: Model, at: Mapping[str, float]) -> np.ndarray:
    """Mask of the surfaces that fall in N and in D at a point, by points that lie a per mille apart."""
    around = {"N": [1, 1, 1.001], "D": [1, 1.001, 1]}
    here, more_data, larger = model.posterior.log_loss({k: np.log(at[k] * np.array(around[k])) for k in "ND"}).T
    return np.asarray((more_data <= here) & (larger <= here))


def table_of(loss: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Model:
    """The model of 16 cells with 10 % noise."""
    n, d = (x.ravel() for x in np.meshgrid(2000 * 2.0 ** np.arange(4), 2000 * 2.0 ** np.arange(4)))
    noise = np.exp(0.1 * np.random.default_rng(0).standard_normal(16))
    table = make_table(loss(n, d) * noise, {"N": n, "D": d})
    return Model(surface(table, 300, np.random.default_rng(0)), table, 0.0, 0.95)


def test_surfaces_that_rise_at_a_cell_count_only_where_most_of_them_do() -> None:
    at = {"N": 6e4, "D": 1.3e5}
    falls = table_of(lambda n, d: 30 * n**-0.1 * d**-0.3)
    kept = falling(falls, at)
    assert 0.5 < kept.mean() < 1
    whole = falls.posterior.log_loss({k: np.log([v]) for k, v in at.items()})[:, 0]
    drawn = loss_draws(falls, at, np.random.default_rng(0))
    assert len(drawn) == kept.sum()
    noise = falls.posterior.scatter() * np.random.default_rng(0).standard_normal(len(whole))
    assert drawn == pytest.approx((whole + noise)[kept])
    rises = table_of(lambda n, d: 0.01 * n**0.5 * d**-0.3)
    assert falling(rises, at).mean() < 0.5
    assert len(loss_draws(rises, at, np.random.default_rng(0))) == len(rises.posterior.scatter())


def test_settings_are_recommended_for_every_tuned_key(of: Studied) -> None:
    found = expect(of, place_of(of, FAR), np.random.default_rng(0))
    assert set(found.settings) == {"lr", "batch_size"}
    batch, lr = found.settings["batch_size"], found.settings["lr"]
    assert isinstance(batch, Interval)
    assert isinstance(lr, Interval)
    assert batch.value == round(batch.value)
    assert lr.low <= lr.value <= lr.high
    # The nearest cells are the three largest; what they selected is known.
    near = of.cells.sort_values("flops").tail(3)["lr"]
    assert found.by_law or near.min() <= lr.low <= lr.high <= near.max()


def test_a_setting_stays_within_its_limits_and_a_mere_range_does_not_hold_it(of: Studied) -> None:
    free = expect(of, place_of(of, FAR), np.random.default_rng(0)).settings
    assert isinstance(free["lr"], Interval)
    least = 2 * free["lr"].high
    for limits, expected in ((["low"], least), ([], free["lr"].value)):
        shared = {"attributes": {"low": least, "high": 1.0, "log": True}, "limits": limits}
        study = {**(of.source.study or {}), "identity": {"ranges": {"optim.lr": json.dumps(shared)}}}
        found = expect(replace(of, source=replace(of.source, study=study)), place_of(of, FAR), np.random.default_rng(0))
        assert isinstance(found.settings["lr"], Interval)
        assert found.settings["lr"].value == expected


def test_the_command_of_one_run_is_taken(tmp_path: Path) -> None:
    """Of a kept study of another family, on other data or with another optimiser."""
    for name in ("mlp", "fashion", "sgd"):
        kept = Path(__file__).parents[2] / "multirun/reference" / name
        target = {"width": 24, "data_fraction": 0.01}
        said = plan.asked(PlanConfig(name=str(kept), target=target, register=False, bootstrap=QUICK))
        command, *overrides = str(said.record["run"]).split("mnist_scaling.train ")[1].split()
        with initialize_config_dir(str(Path(cli.conf_dir()).resolve())):
            composed = compose("train", [command, *overrides])
        assert composed.model.width == 24
        assert name in (composed.model.name, composed.data.name.partition("_")[0], composed.optim.name)
        assert 0.0005 < composed.optim.lr < 1


def test_a_choice_is_a_setting_of_one_run_as_it_is() -> None:
    of = studied(FitConfig(name=str(Path(__file__).parents[2] / "multirun/reference/mlp"), bootstrap=QUICK))
    cell = place_of(of, {"width": 24, "data_fraction": 0.01})
    expected = replace(
        expect(of, cell, np.random.default_rng(0)), settings={"dropout": "some", "batch_size": Interval(9.6)}
    )
    command = plan._one_run(of, cell, expected)
    assert command.endswith("model.dropout=some optim.batch_size=10")


@pytest.mark.parametrize("times", [4, 0.3])  # beyond the grid, and between its cells
def test_the_best_cell_of_a_compute_costs_it_and_no_neighbour_is_better(tmp_path: Path, times: float) -> None:
    axes = {"width": (4, 8, 16, 32), "data_fraction": (0.015625, 0.03125, 0.0625, 0.125)}
    folder = Builder(noise=0.03, axes=axes).write(tmp_path / "multirun" / "small")
    of = studied(FitConfig(name=str(folder), bootstrap=QUICK, laws="additive"))
    flops = times * float(of.costs["flops"].max())
    cell = place_of(of, {"flops": flops})
    assert cell.at["C"] == pytest.approx(flops, rel=0.02)
    assert isinstance(cell.axes["width"], int)

    def predicted(at: Mapping[str, float]) -> float:
        return float(np.median(loss_draws(of.model, at, np.random.default_rng(0))))

    for factor in (0.25, 4.0):
        other = {"N": cell.at["N"] * factor, "D": cell.at["D"] / factor}
        assert predicted(other) > predicted(cell.at)


@pytest.mark.parametrize(
    ("flops", "least", "said"),
    [
        (2e10, 0.98, ""),
        (
            3e10,
            0.90,
            "It uses 91 % of the compute: larger models fit with less data alone, and none should have a lower loss.",
        ),
        (2e14, 0.95, ""),  # 16 times the largest width takes a tenth of it
    ],
)
def test_a_budget_is_used_or_it_is_said_why_not(quickstart: Studied, flops: float, least: float, said: str) -> None:
    cell = place_of(quickstart, {"flops": flops})
    assert least < cell.at["C"] / flops < 1.02
    assert cell.unspent == said
    assert said in shown(quickstart, cell, expect(quickstart, cell, np.random.default_rng(0)))


def shown(of: Studied, cell: NewCell, expected: Expected) -> str:
    """What `plan` prints of a prediction."""
    row, out = predictions.register(of, cell, expected, of.folder, write=False), io.StringIO()
    fits = fit_record(of.result)
    terminal.show(plan_words.prediction(of, fits, row, Path(), cell, expected, ""), Console(file=out, width=200))
    return out.getvalue()


def test_a_cell_is_a_mean_of_repeats_and_one_run_scatters_more(of: Studied) -> None:
    cell = place_of(of, {"width": 11, "data_fraction": 0.5})
    expected = expect(of, cell, np.random.default_rng(0))
    alone, loss = expected.one_run, expected.loss
    seeds = 1.96 * of.seed_sd * np.sqrt(1 - 1 / 3)
    assert np.log(alone.high / loss.value) == pytest.approx(np.hypot(np.log(loss.high / loss.value), seeds), rel=1e-3)
    assert alone.low < 0.995 * loss.low < 1.005 * loss.high < alone.high
    said = shown(of, cell, expected)
    assert "test loss of a cell, the mean of its 3 repeats  " in said
    assert re.search(rf"test loss of one run +{alone.value:.3g} \[{alone.low:.3g}, {alone.high:.3g}\]", said)
    said = shown(of, cell, replace(expected, one_run=Interval(0.5, 0.3, 0.8)))
    assert re.findall(r"^test loss of .*\] +(\w+) *$", said, re.M) == ["fair", "low"], "each row has its own trust"
    unrepeated = replace(of, result=replace(of.result, table=replace(of.table, repeats=None)))
    assert not expect(unrepeated, cell, np.random.default_rng(0)).one_run.known


def test_sizes_beyond_those_that_a_program_counts_at_once_are_not_tried(of: Studied) -> None:
    cell = place_of(of, {"flops": 1e15})
    assert 1e7 <= cell.at["N"] < 4e7
    assert cell.unspent.endswith("% of the compute: larger models were not tried.")


def test_without_a_count_of_flops_a_cell_costs_six_n_d(tmp_path: Path) -> None:
    folder = Builder(noise=0.03).write(tmp_path / "multirun" / "own")
    pd.read_csv(folder / "cells.csv").assign(flops=np.nan).to_csv(folder / "cells.csv", index=False)
    of = studied(FitConfig(name=str(folder), bootstrap=QUICK, laws="additive"))
    cell = place_of(of, FAR)
    assert cell.at["C"] == pytest.approx(6 * cell.at["N"] * cell.at["D"])


def test_an_axis_of_another_program_is_not_held_to_the_rule_of_ours(of: Studied) -> None:
    cell = place_of(replace(of, counts=None), {"width": 64, "data_fraction": 2.0})
    assert cell.at["D"] == pytest.approx(80_000, rel=1e-6)


def test_an_axis_that_stood_still_says_nothing_of_another_value(of: Studied) -> None:
    arm = replace(of.arm, frame=of.cells.assign(depth=2))
    deeper = replace(of, arm=arm, source=replace(of.source, axes=(*of.source.axes, "depth")))
    at = {"width": 64, "data_fraction": 0.5}
    assert on_grid(deeper, at | {"depth": 2}).at == on_grid(deeper, at).at
    with pytest.raises(InputError, match="`target.depth` must be 2, as in all cells, which say nothing of another"):
        on_grid(deeper, at | {"depth": 3})


def test_a_compute_on_a_ladder_says_its_sizes(tmp_path: Path) -> None:
    """Of sizes that are on no ladder none took it, so that every compute was refused."""
    n = 2e3 * 2.0 ** np.arange(8)
    pd.DataFrame({"n": n, "d": 20 * n, "c": 120 * n**2, "l": 0.3 + 60 * n**-0.4}).to_csv(tmp_path / "t.csv")
    columns = ColumnsConfig(N="n", D="d", C="c", loss="l")
    of = studied(FitConfig(table=str(tmp_path / "t.csv"), columns=columns, bootstrap=QUICK))
    cell = place_of(of, {"flops": 1.2e14})
    assert cell.at == pytest.approx({"N": 1e6, "D": 2e7, "C": 1.2e14}, rel=0.02)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ({"width": 32, "data_fraction": 1.0}, "must be predicted before it is run, but row"),
        ({"N": 200 * 32**1.5, "D": 40_000}, "must be predicted before it is run, but row"),
        ({"width": 64, "data_fraction": 2.0}, "0 < data.fraction <= 1` must hold, but got 2"),
        ({"widht": 32}, "must name axes of the study, N, D, C or flops, but got widht: did you mean `width`"),
        ({"flop": 3e10}, "but got flop: did you mean `flops`"),
        ({"width": 64}, "but lacks data_fraction: add target.data_fraction"),
        ({"flops": 1e6}, "must not lie below the smallest compute"),
        ({"flops": 1e12, "width": 3}, "must stand alone"),
        ({"width": -3, "data_fraction": 1.0}, "`target.width` must be a positive number, but got -3"),
        ({"width": "wide", "data_fraction": 1.0}, "`target.width` must be a positive number, but got wide"),
        ({"N": 1e5, "D": 1e6, "C": 1e9}, "leave target.C out, or mend its N or D"),
        ({"N": 1e5}, "The model is of N and D: give target.D=…, too."),
    ],
)
def test_a_target_that_can_not_be_predicted_is_refused(of: Studied, target: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        place_of(of, target)

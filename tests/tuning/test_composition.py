"""Configs of cells that are composed once per choice of groups equal those that Hydra composes one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from mnist_scaling import cli, config
from mnist_scaling.errors import InputError
from mnist_scaling.image_task import TASK
from mnist_scaling.tuning.cell import composition, partitioning

pytestmark = pytest.mark.slow

CONF = Path(cli.conf_dir())
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


class Counting:
    """Hydra's composition, and how often it was asked."""

    def __init__(self, *given: str) -> None:
        self.given, self.calls = given, 0

    def __call__(self, overrides: Sequence[str]) -> DictConfig:
        self.calls += 1
        return compose("train", [*self.given, *overrides], return_hydra_config=True)


MANY, STRIDE = 22, 11
"""Of a grid of more cells each eleventh is composed alone: as no axis has eleven values, each of its values is met."""


def both_ways(arguments: Sequence[str], *given: str) -> tuple[list[composition.Cell], list[composition.Cell], int]:
    """Cells of a sweep; the same, each from a composition of its own; compositions that the first took."""
    with initialize_config_dir(str(CONF)):
        count = Counting(*given)
        cfg = count([])
        count.calls = 0
        parts = partitioning.partition(arguments, config.flatten(cfg["search_space"]))
        together = composition.cells(parts, count, TASK)
        calls = count.calls
        together = together[:: STRIDE if len(together) > MANY else 1]
        alone = []
        for cell in together:
            chosen = dict(text.split("=", 1) for text in cell.overrides[len(parts.fixed) :])
            single = partitioning.Partition(parts.fixed, {key: (value,) for key, value in chosen.items()}, parts.space)
            alone += composition.cells(single, Counting(*given), TASK)
    return together, alone, calls


def assert_equal(together: list[composition.Cell], alone: list[composition.Cell]) -> None:
    assert together == alone
    for a, b in zip(together, alone, strict=True):
        assert repr(a) == repr(b)  # of the same types too: 1 == 1.0
        assert (a.name, a.settings, a.ranges) == (b.name, b.settings, b.ranges)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_has_the_cells_that_hydra_composes(experiment: str) -> None:
    with initialize_config_dir(str(CONF)):
        params = compose("train", [f"experiment={experiment}"], return_hydra_config=True).hydra.sweeper.params
    together, alone, calls = both_ways([f"{k}={v}" for k, v in params.items()], f"experiment={experiment}")
    assert_equal(together, alone)
    groups = 2 if experiment == "early_stopping_widths" else 1  # it sweeps the regime
    assert calls == groups


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [
        (["model.width=4,8", "optim=adam,sgd"], 2),
        (["optim=adam,sgd", "regime=single_epoch,repeat,early_stopping", "data.fraction=1,0.5"], 6),
        (["model.width=4,8", "scale=full,smoke"], 2),
        (["data.max_train=null,1000", "seed=0,1,2"], 1),
        (["model.parametrization=standard,mup", "data.name=mnist,kmnist"], 1),
        (["model.dropout=0,0.5", "search_space.model.dropout=null"], 1),
        (["data.dir='a b','c'", "device=cpu,auto"], 1),
        # What may hang together is composed by Hydra, cell by cell.
        (["data.dir=${data.name},x", "model.width=4,8"], 4),
        (["data.dir=x,${data.name}", "model.width=4,8"], 3),
        (["data.name=mnist,kmnist", "data.dir=${data.name}"], 2),
        (["+tag=a,b", "data.dir=${tag}", "model.width=4,8"], 4),
        (["++model.width=4,8"], 2),
        (["~curve", "model.width=4,8"], 1),
        (["model.name=cnn", "model.width=4,8"], 1),
        # Each value breaks a rule beside the other's first one, but no cell does.
        (["optim.lr_scaling=none,fan_in", "model.parametrization=standard"], 1),
    ],
)
def test_odd_axes_have_the_cells_that_hydra_composes(arguments: list[str], calls: int) -> None:
    together, alone, found = both_ways(arguments)
    assert_equal(together, alone)
    assert found == calls


def test_a_default_that_refers_to_an_axis_follows_it(tmp_path: Path) -> None:
    """${data.name} in the user's own file: a value that is set afterwards would leave it behind."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nmodel:\n  base_width: ${model.width}\n")
    together, alone, _ = both_ways(["model.width=4,8"], f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine")
    assert_equal(together, alone)
    assert [cell.values["model.base_width"] for cell in together] == [4, 8]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.width=8,0"], "`model.width >= 1` must hold, but got 0"),
        (["model.parametrization=standard,mup", "optim.lr_scaling=none,fan_in"], "must go with model.parametrization"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_in_any_cell(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        both_ways(arguments)

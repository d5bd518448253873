"""What a sweep takes of training: from the task function alone, for every data set of the grid, before it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext
from omegaconf import DictConfig

import mnist_scaling
from mnist_scaling import cli, train
from mnist_scaling.config import DataConfig
from mnist_scaling.errors import InputError
from mnist_scaling.image_task import ImageTask
from mnist_scaling.tuning import task
from mnist_scaling.tuning.sweeper import CellSweeper

from .helpers import composed, make_cells

ROOT = Path(mnist_scaling.__file__).parent


def sweeper(**changes: object) -> CellSweeper:
    node = composed(["hydra/launcher=basic"]).hydra.sweeper
    options = {key: node[key] for key in node if key != "_target_"} | changes
    return CellSweeper(**options)


def test_the_command_hands_over_how_it_trains() -> None:
    assert task.of(train.main) is train.TASK
    assert train.TASK.program == "mnist_scaling.image_task"


def test_an_application_without_a_task_is_told_so() -> None:
    def main(cfg: DictConfig) -> None: ...

    cfg = composed(["hydra/launcher=basic"])
    HydraConfig.instance().set_config(cfg)
    path = create_config_search_path(cli.conf_dir())
    context = HydraContext(config_loader=ConfigLoaderImpl(path), callbacks=None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"says how it trains, but this one does not: put `@cell_task"):
        sweeper().setup(hydra_context=context, task_function=main, config=cfg)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"widen": "maybe"}, "`hydra.sweeper.widen` must be true or false, but got maybe"),
        ({"max_values_per_axis": 0}, "`hydra.sweeper.max_values_per_axis` must be null or a whole number of 1 or more"),
        ({"max_values_per_axis": 1.5}, "but got 1.5"),
    ],
)
def test_an_option_of_a_sweep_acts_or_is_refused(option: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        sweeper(**option)


def test_every_data_set_of_a_grid_is_prepared_once() -> None:
    prepared: list[DataConfig] = []

    class Prepares(ImageTask):
        def fetch(self, data: DataConfig) -> dict[str, Any]:
            prepared.append(data)
            return {"name": data.name, "sha256": None}

    made = sweeper()
    made.task = Prepares()
    _, facts = made._prepare(make_cells("data.name=mnist,fashion_mnist", "model.width=4,8"))
    assert [data.name for data in prepared] == ["mnist", "fashion_mnist"]
    assert [known["name"] for known in facts] == ["mnist", "fashion_mnist"]


def test_no_text_of_tuning_names_training() -> None:
    texts = [*ROOT.joinpath("tuning").rglob("*.py"), *Path(cli.conf_dir(), "hydra").rglob("*.yaml")]
    assert len(texts) > 20
    assert [path for path in texts if "mnist_scaling.training" in path.read_text()] == []


def test_a_rule_of_transfer_that_is_unknown_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"`hydra.sweeper.transfer` must be one of neighbours, independent, but got 'fitted'"
    ):
        sweeper(transfer="fitted")

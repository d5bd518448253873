"""Every sampler and pruner that the command line offers: each composes, and tunes a cell or says why not."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from mnist_scaling import cli
from mnist_scaling.errors import InputError
from mnist_scaling.study.tables.csv_table import read_table
from mnist_scaling.tuning.cell import optuna_objects

from .helpers import InProcess, Study, composed
from .test_pruning import curve

pytestmark = pytest.mark.slow


def options(group: str) -> list[str]:
    """What a group offers, whoever brings it: conf/, Hydra or a plugin."""
    loader = ConfigLoaderImpl(create_config_search_path(cli.conf_dir()))
    return loader.get_group_options(f"hydra/sweeper/{group}", ObjectType.CONFIG)


REFUSED = {"grid": "must be those of GridSampler", "motpe": "must be those of"}
if find_spec("cmaes") is None:
    REFUSED["cmaes"] = "run `pip install cmaes`, or choose another sampler"


def tune(folder: Path, sampler: DictConfig, pruner: DictConfig | None = None) -> list[str]:
    """States of six trials in each of two cells on an analytic loss, by the shipped worker."""
    study = Study(
        folder, InProcess(curve), "model.width=4,8", n_trials=6, n_repeats=1, batch=2, rule="neighbours",
        sampler=sampler, pruner=pruner,
    )  # fmt: skip
    study.run()
    trials = read_table(folder / "trials.csv")
    return trials[trials["stage"] == "trial"]["state"].tolist()


@pytest.mark.parametrize("name", options("sampler"))
def test_every_sampler_tunes_or_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    node = composed([f"hydra/sweeper/sampler={name}"]).hydra.sweeper.sampler
    if name in REFUSED:
        with pytest.raises(InputError, match=REFUSED[name]):
            optuna_objects.check(node, None)
        return
    optuna_objects.check(node, None)
    assert tune(tmp_path, node) == ["COMPLETE"] * 12


@pytest.mark.parametrize(
    ("group", "option", "said"),
    [
        ("pruner", {"foo": 1}, "must be those of SuccessiveHalvingPruner, but Optuna says: "),
        ("pruner", {"reduction_factor": 0}, "must be those of SuccessiveHalvingPruner, but Optuna says: "),
        ("sampler", {"foo": 1}, "must be those of TPESampler, but Optuna says: "),
    ],
)
def test_an_option_that_optuna_has_not_fails_no_trial(group: str, option: dict[str, int], said: str) -> None:
    """It would have failed inside every trial that reports."""
    targets = {"pruner": "optuna.pruners.SuccessiveHalvingPruner", "sampler": "optuna.samplers.TPESampler"}
    nodes = {key: OmegaConf.create({"_target_": target}) for key, target in targets.items()}
    optuna_objects.check(**nodes)
    with pytest.raises(InputError, match=said):
        optuna_objects.check(**nodes | {group: OmegaConf.merge(nodes[group], option)})


@pytest.mark.parametrize("name", options("pruner"))
def test_every_pruner_runs(name: str, tmp_path: Path) -> None:
    node = composed([f"hydra/sweeper/pruner={name}"]).hydra.sweeper
    states = tune(tmp_path, node.sampler, node.pruner)
    assert len(states) == 12
    assert set(states) <= {"COMPLETE", "PRUNED"}


def test_readmes_samplers_are_among_them() -> None:
    assert {"gp", "cmaes", "tpe", "tpe_multivariate", "random", "qmc"} <= set(options("sampler"))
    assert {"none", "median", "patient", "hyperband"} <= set(options("pruner"))

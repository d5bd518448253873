"""Nesterov, clipping, and optimisers of anyone's: the same steps on every path, refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from mnist_scaling import cli, config
from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.image_task import TASK
from mnist_scaling.training import cost, loop, models, seeding
from mnist_scaling.training.data import splits
from mnist_scaling.tuning.cell import composition
from tests.training.engines import chosen, plain

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def run(data_dir: str) -> RunConfig:
    source = DataConfig(fraction=1 / 128, dir=data_dir, max_eval=200)
    return RunConfig(device="cpu", model=ModelConfig(width=3), data=source)


def small_cnn() -> nn.Module:
    with seeding.global_stream(0, "init", CPU):
        return models.build(ModelConfig(width=3), (1, 28, 28), 10)


@pytest.mark.parametrize(
    "values",
    [
        {"name": "adam", "clip": 0.5},
        {"name": "sgd", "clip": 0.5},
        {"name": "sgd", "nesterov": True},
        {"name": "sgd", "nesterov": True, "clip": 0.5, "weight_decay": 0.01},
    ],
    ids=str,
)
def test_steps_by_hand_and_by_autograd_are_the_same(data_dir: str, values: dict[str, Any]) -> None:
    """Four steps at a rate that makes each option matter: without it the weights differ."""
    part = splits.load(DataConfig(dir=data_dir), CPU).train.take(torch.arange(500))
    optim = OptimConfig(lr=0.02, **values)
    without = replace(optim, clip=None, nesterov=False)
    ends = []
    for build, own in ((plain, optim), (chosen, optim), (chosen, without)):
        stepper = build(small_cnn(), part, own)
        for rows in torch.arange(128).split(32):
            stepper.step(rows, 0.02)
        ends.append(parameters_to_vector(stepper.model.parameters()).detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-3, atol=2e-5)
    assert (ends[1] - ends[2]).abs().max() > 1e-3


def test_a_clipped_step_is_as_long_as_clip_says(data_dir: str) -> None:
    """Plain SGD moves the weights by rate times gradient, so by no more than rate times clip."""
    part = splits.load(DataConfig(dir=data_dir), CPU).train.take(torch.arange(32))
    model = small_cnn()
    before = parameters_to_vector(model.parameters()).detach()
    loss = cross_entropy(model(part.pictures(part.rows)), part.labels)
    norm = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]).norm().item()
    for most, moved in ((norm / 3, norm / 3), (norm * 3, norm)):
        stepper = chosen(small_cnn(), part, OptimConfig("sgd", momentum=0.0, clip=most))
        stepper.step(torch.arange(32), 0.1)
        after = parameters_to_vector(stepper.model.parameters()).detach()
        assert (after - before).norm().item() == pytest.approx(0.1 * moved, rel=1e-3)


def test_a_class_by_its_place_is_the_one_by_its_name(run: RunConfig) -> None:
    """Torch's own SGD, given as anyone's class would be: same training, though not by the same code."""
    named = OptimConfig("sgd", 0.05, weight_decay=1e-3)
    own = OptimConfig(lr=0.05, weight_decay=1e-3, _target_="torch.optim.SGD", kwargs={"momentum": 0.9})
    assert (own.name, own.rule) == ("sgd", "adam")
    by_name, by_place = (loop.train_model(replace(run, optim=optim)) for optim in (named, own))
    assert by_place.val_loss == pytest.approx(by_name.val_loss, rel=1e-4)


def test_its_name_is_its_class_unless_it_is_given_one() -> None:
    assert OptimConfig(_target_="torch.optim.RAdam").name == "radam"
    assert OptimConfig("mine", _target_="torch.optim.RAdam").name == "mine"


def test_an_optimiser_from_another_package(run: RunConfig) -> None:
    pytest.importorskip("lion_pytorch", reason="lion-pytorch is not installed: would train with an outside optimiser")
    lion = OptimConfig(lr=3e-3, _target_="lion_pytorch.Lion", kwargs={"betas": [0.9, 0.98]})
    result = loop.train_model(replace(run, optim=lion, data=replace(run.data, fraction=1 / 16)))
    assert result.val_loss is not None
    assert result.val_loss < 1.5


def composed(*overrides: str) -> RunConfig:
    with initialize_config_dir(cli.conf_dir()):
        return config.build(RunConfig, compose("train", list(overrides)))


def test_a_study_is_told_apart_by_its_optimiser_and_its_arguments() -> None:
    def settings(*overrides: str) -> dict[str, Any]:
        run = composed(*overrides)
        cell = composition.Cell({}, (), config.flatten(asdict(run)), {}, TASK)
        return {key: value for key, value in cell.settings.items() if key.startswith("optim.")}

    assert settings() == {}  # the new keys at their defaults leave old studies as they were
    own = ("optim._target_=torch.optim.NAdam", "+optim.kwargs.momentum_decay=0.01")
    expected = {"optim.name": "nadam", "optim._target_": "torch.optim.NAdam", "optim.kwargs.momentum_decay": 0.01}
    assert settings(*own) == expected
    assert settings("optim.clip=1.0") == {"optim.clip": 1.0}
    tuned = config.with_values(composed(*own), {"optim.kwargs.momentum_decay": 0.02})
    assert config.flatten(asdict(tuned))["optim.kwargs.momentum_decay"] == 0.02


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"clip": 0.0}, "`optim.clip > 0` must hold, but got 0: give the largest norm, such as 1.0, or null"),
        ({"nesterov": True}, "`optim.nesterov=true` must go with optim=sgd and a momentum, but got optim.name=adam"),
        ({"name": "sgd", "momentum": 0.0, "nesterov": True}, "and optim.momentum=0: set it back"),
        ({"kwargs": {"rho": 1}}, r"`optim.kwargs` must be given with optim._target_ only, but got {'rho': 1} with"),
    ],
)
def test_rules(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        OptimConfig(**values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"_target_": "nosuch.Lion"},
            "importable optimiser .* nosuch.Lion with {} says: No module named",
        ),
        ({"_target_": "torch.optim.Lion"}, "torch.optim.Lion with {} says: .*has no attribute 'Lion'"),
        ({"_target_": "Lion"}, "Lion with {} says: Empty module name"),
        ({"_target_": "torch.nn.Linear"}, "torch.nn.Linear .* it is no subclass of torch.optim.Optimizer"),
        ({"_target_": "torch.optim.LBFGS"}, r"whose `step\(\)` needs nothing but gradients, but torch.optim.LBFGS"),
        (
            {"_target_": "torch.optim.RAdam", "kwargs": {"foo": 1}},
            "RAdam with {'foo': 1} says: .*unexpected",
        ),
        ({"_target_": "torch.optim.RAdam", "kwargs": {"lr": 1}}, "got multiple values for keyword argument 'lr'"),
        ({"_target_": "torch.optim.Rprop", "weight_decay": 0.1}, "must be 0 for an optimiser without weight decay"),
    ],
)
def test_an_optimiser_that_cannot_be_used_is_refused_before_training(
    run: RunConfig, values: dict[str, Any], sentence: str
) -> None:
    for ask in (cost.cost, loop.train_model):
        with pytest.raises(InputError, match=sentence):
            ask(replace(run, optim=OptimConfig(**values)))


def test_one_yaml_file_brings_ones_own_optimiser_into_a_study(
    tmp_path: Path, data_dir: str, command: Callable[..., Any]
) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\nclass SignDescent(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr=0.01, shrink=1.0):\n"
        "        super().__init__(params, {'lr': lr, 'shrink': shrink})\n\n"
        "    @torch.no_grad()\n    def step(self):\n        for group in self.param_groups:\n"
        "            for p in group['params']:\n"
        "                p.mul_(group['shrink']).sub_(group['lr'] * p.grad.sign())\n"
    )
    (tmp_path / "conf/optim").mkdir(parents=True)
    (tmp_path / "conf/optim/signs.yaml").write_text(
        "# @package _global_\noptim:\n  _target_: mine.SignDescent\n  kwargs: {shrink: 0.999}\n  lr: 1e-3\n"
    )
    study = ["mnist_scaling.train", "--config-dir", "conf", "-m", "name=signs", "optim=signs", "model.width=2,3",
             "device=cpu", f"data.dir={data_dir}", "data.max_train=256", "data.max_eval=100",
             "hydra.sweeper.n_trials=1", "hydra.sweeper.n_repeats=1", "hydra.launcher.n_workers=1"]  # fmt: skip
    done = command(*study)
    assert done.returncode == 0, done.stderr
    cells = (tmp_path / "multirun/signs/cells.csv").read_text().splitlines()
    assert len(cells) == 3
    again = command(*study, "optim.kwargs.shrink=0.99")
    assert again.returncode == 1
    assert "optim.kwargs.shrink was 0.999 and is now 0.99" in again.stderr

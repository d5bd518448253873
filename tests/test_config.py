from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict
from importlib import import_module

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, ValidationError

from mnist_scaling import cli, config
from mnist_scaling.config import (
    SCHEMAS,
    CurveConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RegimeConfig,
    RunConfig,
)
from mnist_scaling.errors import InputError


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (DataConfig, {"fraction": 0}, "`0 < data.fraction <= 1` must hold, but got 0: "),
        (DataConfig, {"fraction": 1.5}, "`0 < data.fraction <= 1` must hold, but got 1.5: "),
        (DataConfig, {"fraction": float("nan")}, "but got nan"),
        (DataConfig, {"max_train": 3}, "`data.max_train` must be at least 10"),
        (ModelConfig, {"width": 0}, "`model.width >= 1` must hold, but got 0"),
        (ModelConfig, {"depth": 0}, "`model.depth >= 1` must hold, but got 0"),
        (ModelConfig, {"dropout": 1.0}, "`0 <= model.dropout < 1` must hold, but got 1"),
        (OptimConfig, {"lr": 0.0}, "`optim.lr > 0` must hold, but got 0"),
        (OptimConfig, {"lr": float("inf")}, "but got inf"),
        (OptimConfig, {"batch_size": 0}, "`optim.batch_size >= 1`"),
        (OptimConfig, {"name": "lion"}, "`optim.name` must be one of adam, adamw, sgd, but got 'lion'"),
        (OptimConfig, {"schedule": "step"}, "`optim.schedule` must be one of cosine, constant, linear"),
        (OptimConfig, {"warmup": 1.0}, "`0 <= optim.warmup < 1`"),
        (OptimConfig, {"momentum": 1.0}, "`0 <= optim.momentum < 1`"),
        (OptimConfig, {"beta2": -0.1}, "`0 <= optim.beta2 < 1`"),
        (OptimConfig, {"weight_decay": -1.0}, "`optim.weight_decay >= 0`"),
        (OptimConfig, {"decay": 1.0}, "`0 < optim.decay < 1` must hold, but got 1: "),
        (OptimConfig, {"decay_shape": "cube"}, "`optim.decay_shape` must be one of sqrt, linear, but got 'cube'"),
        (RegimeConfig, {"epochs": 0}, "`regime.epochs >= 1` must hold, but got 0: "),
        (RegimeConfig, {"patience": 0}, "`regime.patience >= 1` must hold, but got 0: "),
        (RegimeConfig, {"max_epochs": -1}, "`regime.max_epochs >= 1` must hold, but got -1: "),
        (RegimeConfig, {"flops": 0.0}, "`regime.flops > 0` must hold, but got 0: "),
        (RegimeConfig, {"flops": float("inf")}, "`regime.flops > 0` must hold, but got inf"),
        (RegimeConfig, {"scale": 0.0}, "`regime.scale > 0` must hold, but got 0: "),
        (RegimeConfig, {"branches": (0.5, 0.25)}, "`regime.branches` must ascend within 0 < share <= 1, but got [0.5,"),
        (RegimeConfig, {"branches": (0.5, 1.5)}, "`regime.branches` must ascend within 0 < share <= 1, but got [0.5,"),
        (RegimeConfig, {"last": 0.0}, "`0 < regime.last <= 1` must hold, but got 0: "),
        (CurveConfig, {"points": -1}, "`curve.points >= 0` must hold, but got -1: "),
        (CurveConfig, {"images": 3}, "`curve.images >= 10` must hold, but got 3: "),
        (RunConfig, {"device": "tpu"}, "`device` must be one of auto, cpu, cuda, mps"),
        (RunConfig, {"seed": -1}, "`seed >= 0`"),
        (RunConfig, {"threads": 0}, "`threads >= 1`"),
    ],
)
def test_every_rule_names_value_and_key(cls: type, values: dict[str, object], message: str) -> None:
    import re

    with pytest.raises(InputError, match=re.escape(message)):
        cls(**values)


def test_build_turns_a_config_into_frozen_classes() -> None:
    cfg = OmegaConf.create(
        {"name": "not ours", "seed": 3, "model": {"width": 5}, "data": {"fraction": "${seed_share}"}, "seed_share": 0.5}
    )
    run = config.build(RunConfig, cfg)
    assert run == RunConfig(seed=3, model=ModelConfig(width=5), data=DataConfig(fraction=0.5))
    with pytest.raises(FrozenInstanceError):
        run.seed = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"model": {"width": "wide"}}, ValidationError, "'wide' of type 'str' could not be converted to Integer"),
        ({"model": {"widht": 5}}, ConfigKeyError, "'widht'"),
        ({"model": {"width": 0}}, InputError, "model.width >= 1"),
    ],
)
def test_build_refuses(values: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        config.build(RunConfig, OmegaConf.create(values))


@pytest.mark.parametrize("command", ["train", "fit", "compare", "report", "ask"])
def test_a_key_that_nothing_reads_is_refused(command: str) -> None:
    import_module(f"mnist_scaling.{command}")
    cls = RunConfig if command == "train" else SCHEMAS[command]
    with pytest.raises(InputError, match="Every key must exist in the configuration, but got `foo`"):
        config.build(cls, OmegaConf.create({"foo": 1}))


def test_flatten() -> None:
    assert config.flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {"a.b": 1, "a.c.d": None, "e": [1]}
    flat = config.flatten(asdict(RunConfig(regime=RegimeConfig(branches=(0.5, 1.0)))))
    assert flat["optim.batch_size"] == 32
    assert flat["regime.branches"] == [0.5, 1.0]  # a fingerprint comes back from JSON with lists


@pytest.mark.parametrize(
    "choices",
    [(), ("model=transformer", "regime=wsd", "optim=sgd"), ("model=resnet", "data.off_distribution=[noisy]"),
     ("optim._target_=torch.optim.RMSprop", "+optim.kwargs.alpha=0.9", "optim.clip=1.5")],
)  # fmt: skip
def test_a_run_comes_back_from_its_values(choices: tuple[str, ...]) -> None:
    with initialize_config_dir(cli.conf_dir()):
        run = config.build(RunConfig, compose("train", list(choices)))
    values = json.loads(json.dumps(config.flatten(asdict(run))))
    assert config.from_values(values) == run


def test_values_of_a_setting_have_the_types_of_their_keys() -> None:
    values = config.flatten(asdict(RunConfig()))
    run = config.from_values(values | {"optim.weight_decay": 0, "optim.clip": 2, "model.width": 16, "seed": 3})
    kinds = [type(value) for value in (run.optim.weight_decay, run.optim.clip, run.model.width, run.seed)]
    assert kinds == [float, float, int, int]
    assert config.from_values(values | {"optim.clip": None}).optim.clip is None


def test_values_that_break_a_rule_together_are_refused_and_no_half_of_them() -> None:
    values = config.flatten(asdict(RunConfig(optim=OptimConfig("sgd", nesterov=True))))
    assert not config.from_values(values | {"optim.momentum": 0.0, "optim.nesterov": False}).optim.nesterov
    with pytest.raises(InputError, match="must go with optim=sgd and a momentum"):
        config.from_values(values | {"optim.momentum": 0.0})


@pytest.mark.parametrize("command", ["ask", "compare", "fit", "plan", "report", "train"])
def test_the_help_says_what_every_key_means(command: str) -> None:
    """No key is without a meaning, and a default stands as one types it."""
    import_module(f"mnist_scaling.{command}")
    found = list(cli.described_keys(SCHEMAS[command]))
    assert [key for key, _, meaning in found if not meaning] == []
    assert {key for key, _, _ in found} >= {"fit": {"predict.N"}, "train": {"model.width", "optim.lr"}}.get(
        command, set()
    )
    printed = cli.help_page(command)
    assert f"python -m mnist_scaling.{command}" in printed
    assert not {"None", "True", "False", "()"} & {line.partition("=")[2] for line in printed.splitlines()}

"""Families: a new one fits in by its file, its keys and one YAML file, and those that we have train in every regime."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

import mnist_scaling
from mnist_scaling import cli, config
from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import COMPLETE
from mnist_scaling.training import cost, loop, model_size, models
from tests.training import toy_config, toy_transformer
from tests.training.toy_config import ToyConfig

SHAPE = (1, 28, 28)


@pytest.fixture
def toy() -> Iterator[None]:
    """The toy family is known inside the test, and only there."""
    toy_transformer.add()
    yield
    del models.FAMILIES["toy_transformer"]
    del config.MODEL_CONFIGS["toy_transformer"]


@pytest.fixture
def run(toy: None, data_dir: str) -> RunConfig:
    return RunConfig(
        device="cpu",
        model=ToyConfig(width=8, heads=4, attention_dropout=0.1, residual_dropout=0.2),
        data=DataConfig(fraction=1 / 32, dir=data_dir, max_eval=500),
        optim=OptimConfig(lr=1e-2, batch_size=32),
    )


def test_a_family_with_heads_and_two_dropouts_trains(run: RunConfig) -> None:
    result = loop.train_model(run)
    assert result.state == COMPLETE
    assert result.val_loss is not None
    assert result.val_loss < 1.5  # chance is 2.30
    # Embedding, one block and the head on 16 tokens, biases included.
    assert (result.n_params_input, result.n_params_hidden, result.n_params_output) == (50 * 8, 27 * 8, 1290)
    assert cost.cost(run) > 0
    assert loop.train_model(run) == result
    for key in ("attention_dropout", "residual_dropout", "heads"):
        other = replace(run.model, **{key: 1 if key == "heads" else 0.0})
        assert loop.train_model(replace(run, model=other)).val_loss != result.val_loss


@pytest.mark.parametrize("regime", [RegimeConfig("repeat", epochs=2), RegimeConfig("wsd", branches=(0.5, 1.0))])
def test_it_trains_in_other_regimes_and_in_mup(run: RunConfig, regime: RegimeConfig) -> None:
    run = replace(run, regime=regime, optim=replace(run.optim, schedule="wsd"))
    run = replace(run, model=replace(run.model, parametrization="mup", base_width=4))
    assert loop.train_model(run).state == COMPLETE


def test_its_config_is_built_from_yaml(toy: None) -> None:
    values = {"name": "toy_transformer", "width": 6, "heads": 3, "residual_dropout": 0.5}
    run = config.build(RunConfig, OmegaConf.create({"model": values}))
    assert run.model == ToyConfig(width=6, heads=3, residual_dropout=0.5)
    flat = config.flatten(asdict(run))
    assert (flat["model.heads"], flat["model.attention_dropout"], flat["optim.lr"]) == (3, 0.0, 5e-3)
    assert config.with_values(run, {"model.attention_dropout": 0.3}).model.attention_dropout == 0.3  # type: ignore[attr-defined]
    with pytest.raises(ConfigKeyError, match="'haeds'"):
        config.build(RunConfig, OmegaConf.create({"model": values | {"haeds": 3}}))
    with pytest.raises(InputError, match="`model.heads` must divide the embedding, `model.width`, but got 3 and 8"):
        config.build(RunConfig, OmegaConf.create({"model": values | {"width": 8}}))


def test_its_keys_are_no_other_familys(toy: None) -> None:
    with pytest.raises(ConfigKeyError, match="'heads'"):
        config.build(RunConfig, OmegaConf.create({"model": {"name": "cnn", "heads": 3}}))
    with pytest.raises(TypeError, match=r"model.name=toy_transformer needs a ToyConfig, but got a ModelConfig"):
        models.build(ModelConfig("toy_transformer"), SHAPE, 10)


def test_an_unknown_family_is_refused_before_anything_is_imported() -> None:
    with pytest.raises(InputError, match="`model.name` must be one of .*cnn.*, but got 'base'"):
        config.build(RunConfig, OmegaConf.create({"model": {"name": "base"}}))


@pytest.mark.parametrize("name", config.model_names())
def test_every_family_has_its_yaml_file_and_its_defaults_agree(name: str) -> None:
    with initialize_config_dir(cli.conf_dir()):
        run = config.build(RunConfig, compose("train", [f"model={name}"]))
    assert run.model == replace(models.family(name).Config(), name=name)
    assert model_size.measure(run.model, SHAPE, 10).n_params > 0


@pytest.mark.slow
def test_a_file_its_keys_and_one_yaml_file_make_a_family(data_dir: str, tmp_path: Path) -> None:
    """In a copy of the package, by the command: nothing else knows of it."""
    package = Path(mnist_scaling.__file__).parent
    shutil.copytree(package, tmp_path / "src" / "mnist_scaling", ignore=shutil.ignore_patterns("__pycache__", "conf"))
    shutil.copytree(cli.conf_dir(), tmp_path / "conf")
    source = (
        Path(toy_transformer.__file__)
        .read_text()
        .replace("class ToyT", '@register("toy_transformer")\nclass ToyT')
        .replace("tests.training.toy_config", "mnist_scaling.config.family")
    )
    (tmp_path / "src/mnist_scaling/training/models/toy_transformer.py").write_text(source)
    keys = "\n\n@dataclass" + Path(toy_config.__file__).read_text().split("@dataclass")[1]
    with (tmp_path / "src/mnist_scaling/config/family.py").open("a") as file:
        file.write(f'{keys}\n\nMODEL_CONFIGS["toy_transformer"] = ToyConfig\n')
    (tmp_path / "conf/model/toy_transformer.yaml").write_text(
        "# @package _global_\n"
        "model: {name: toy_transformer, width: 8, depth: 1, heads: 2, attention_dropout: 0.0, residual_dropout: 0.0}\n"
        "search_space: {model: {attention_dropout: 'interval(0.0, 0.3)'}}\n"
    )
    command = ["mnist_scaling.train", "model=toy_transformer", "model.heads=4", "device=cpu",
               f"data.dir={data_dir}", "data.fraction=0.01", "data.max_eval=100"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    words = [sys.executable, "-m", *command]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "toy_transformer, width 8: COMPLETE" in " ".join(done.stdout.split())

"""Runs side by side are the runs alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig, TrialConfig
from mnist_scaling.study.vocabulary import COMPLETE, DIVERGED
from mnist_scaling.training import loop
from mnist_scaling.training.data import splits
from mnist_scaling.training.fast import stack
from mnist_scaling.training.run.run_monitor import CHECK_EVERY
from mnist_scaling.training.together import train_models


def repeats(data_dir: str, count: int = 3, **values: object) -> list[RunConfig]:
    """Repeats of one setting: 781 images, width 3."""
    base = RunConfig(
        device="cpu",
        model=ModelConfig(width=3, dropout=0.1),
        data=DataConfig(fraction=1 / 64, dir=data_dir, max_eval=500),
        optim=OptimConfig(lr=1e-2, batch_size=32),
        trial=TrialConfig(stage="repeat"),
    )
    return [replace(base, seed=seed, **values) for seed in range(1, count + 1)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"optim": OptimConfig("adamw", 1e-2, 8, weight_decay=0.1)},
        {"optim": OptimConfig("sgd", 0.1, 50)},
        {"optim": OptimConfig(lr=1e-2, lr_scaling="fan_in")},
        {"model": ModelConfig(width=5, parametrization="mup", dropout=0.2)},
        {"model": ModelConfig(width=11), "regime": RegimeConfig("repeat", epochs=2)},
    ],
    ids=["adam", "adamw", "sgd", "fan_in", "mup", "repeat"],
)
def test_a_stack_gives_what_its_runs_give_alone_to_the_bit(data_dir: str, values: dict) -> None:
    configs = repeats(data_dir, **values)
    together = train_models(configs, size=3)
    assert together == [loop.train_model(config) for config in configs]
    assert len({result.test_loss for result in together}) == 3


def test_rates_dropout_and_stages_may_differ_in_a_stack(data_dir: str) -> None:
    one, two, three = repeats(data_dir)
    two = replace(two, optim=replace(two.optim, lr=3e-3), model=replace(two.model, dropout=0.3))
    three = replace(three, trial=TrialConfig(stage="trial"))
    together = train_models([one, two, three], size=3)
    assert together == [loop.train_model(config) for config in (one, two, three)]
    assert together[2].test_loss is None


def test_a_diverged_run_ends_alone(data_dir: str) -> None:
    one, two, three = repeats(data_dir, optim=OptimConfig("sgd", 0.05, 8, schedule="constant", warmup=0.0))
    two = replace(two, optim=replace(two.optim, lr=1e20))
    together = train_models([one, two, three], size=3)
    assert [result.state for result in together] == [COMPLETE, DIVERGED, COMPLETE]
    assert together == [loop.train_model(config) for config in (one, two, three)]
    assert together[1].steps == CHECK_EVERY


def test_what_cannot_be_stacked_is_trained_alone(data_dir: str) -> None:
    """Shapes, batch sizes and families that differ, and results in the order asked for."""
    one, two, three = repeats(data_dir)
    configs = [
        replace(one, model=ModelConfig(width=2)),
        one,
        replace(one, model=ModelConfig(width=2, depth=3)),
        replace(two, model=ModelConfig(width=2, depth=3)),
        replace(two, optim=replace(two.optim, batch_size=16)),
        three,
    ]
    together = train_models(configs, size=8)
    assert together == [loop.train_model(config) for config in configs]


def test_the_size_of_a_stack_is_measured_once_and_changes_nothing(data_dir: str) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    configs = repeats(data_dir, 2)
    stack.fastest.cache_clear()
    results = train_models(configs)
    assert torch.equal(before, torch.get_rng_state())
    assert results == [loop.train_model(config) for config in configs]
    train_models(configs)
    assert (stack.fastest.cache_info().misses, stack.fastest.cache_info().hits) == (1, 1)


def test_only_a_clear_gain_makes_a_stack() -> None:
    assert stack.choose({1: 1.0, 2: 0.5, 4: 0.97, 8: 0.4}) == 8
    assert stack.choose({1: 1.0, 2: 0.9, 4: 0.97}) == 2
    assert stack.choose({1: 1.0, 2: 0.96, 4: 1.2}) == 1


def test_every_size_is_timed(data_dir: str) -> None:
    dataset = splits.load(DataConfig(dir=data_dir), torch.device("cpu"))
    times = stack.seconds(ModelConfig(width=1), OptimConfig(batch_size=8), dataset, [1, 2])
    assert list(times) == [1, 2]
    assert all(0 < t < 1 for t in times.values())

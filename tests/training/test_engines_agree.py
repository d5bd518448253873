"""The step by hand and the flat optimiser are speed only: by autograd runs come out the same to rounding."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig
from mnist_scaling.training.loop import train_model
from tests.training.engines import use_plain_ones

REGIME = RegimeConfig("early_stopping", patience=1, max_epochs=2)
CHANGES = {
    "adam": {},
    "sgd": {"optim": OptimConfig("sgd", 0.05, 32, weight_decay=1e-3)},
    "mup": {"optim": OptimConfig("adamw", 3e-3, 32), "model": ModelConfig(width=8, parametrization="mup")},
    "depth": {"model": ModelConfig(width=4, depth=3)},
    "early_stopping": {"regime": REGIME, "optim": OptimConfig(lr=5e-3, batch_size=16, schedule="constant")},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_losses_are_the_same_to_rounding(data_dir: str, change: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """No dropout, whose masks differ."""
    base = RunConfig(
        device="cpu",
        model=ModelConfig(width=4),
        data=DataConfig(fraction=1 / 64, dir=data_dir, max_eval=500),
        optim=OptimConfig(lr=5e-3, batch_size=16),
    )
    run = replace(base, **change)
    fast = train_model(run)
    use_plain_ones(monkeypatch)
    plain = train_model(run)
    losses = [(result.val_loss, result.test_loss, result.train_loss) for result in (fast, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] != losses[1]  # or the two were one
    assert (fast.steps, fast.flops) == (plain.steps, plain.flops)

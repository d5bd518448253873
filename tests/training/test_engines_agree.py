"""The step by hand is speed and nothing else: by torch's own, runs come out the same to rounding."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.training import loop
from mnist_scaling.training.step.engine import AutogradEngine


def runs(data_dir: str) -> list[RunConfig]:
    """Both kinds of step, every optimiser; no dropout, whose masks differ."""
    base = RunConfig(
        device="cpu",
        model=ModelConfig(width=4),
        data=DataConfig(fraction=1 / 64, dir=data_dir, max_eval=500),
        optim=OptimConfig(lr=5e-3, batch_size=16),
    )
    return [
        base,
        replace(base, optim=OptimConfig("sgd", 0.05, 32, weight_decay=1e-3)),
        replace(base, optim=OptimConfig("adamw", 3e-3, 32), model=ModelConfig(width=8, parametrization="mup")),
        replace(base, model=ModelConfig(width=4, depth=3)),
        replace(
            base,
            regime=RegimeConfig("early_stopping", patience=1, max_epochs=2),
            optim=replace(base.optim, schedule="constant"),
        ),
    ]


def test_both_engines_give_the_same_losses_to_rounding(data_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(result: TrainResult) -> list[float | None]:
        return [result.val_loss, result.test_loss, result.train_loss, result.steps, result.flops]

    chosen = [losses(loop.train_model(run)) for run in runs(data_dir)]
    monkeypatch.setattr(loop, "build_engine", AutogradEngine)
    for run, fast in zip(runs(data_dir), chosen, strict=True):
        assert losses(loop.train_model(run)) == pytest.approx(fast, rel=1e-4)

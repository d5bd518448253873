"""Both ways to take a step: the one that a run would have, and torch's own."""

from __future__ import annotations

import pytest
from torch import nn

from mnist_scaling.config import OptimConfig
from mnist_scaling.training import optimizers, small_cnn
from mnist_scaling.training.data import splits
from mnist_scaling.training.engine import Engine, build_engine
from mnist_scaling.training.optimizers import TorchOptimizer


def chosen(model: nn.Module, part: splits.Examples, config: OptimConfig) -> Engine:
    """The engine of a run."""
    return build_engine(model, optimizers.build(model, config), part)


def plain(model: nn.Module, part: splits.Examples, config: OptimConfig) -> Engine:
    """Autograd and torch's optimiser."""
    return Engine(model, TorchOptimizer(model, config), part)


def use_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs have plain engines and evaluations from here on."""
    monkeypatch.setattr(optimizers, "build", TorchOptimizer)
    monkeypatch.setattr(small_cnn, "supports", lambda model, part: False)

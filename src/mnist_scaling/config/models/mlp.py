"""Configuration of the multilayer perceptron."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_scaling.config.family import ModelConfig


@dataclass(frozen=True)
class MLPConfig(ModelConfig):
    """The keys that every family has: `width` counts the units of each hidden layer, `depth` the hidden layers."""

    name: str = "mlp"
    width: int = 32


CONFIG = MLPConfig

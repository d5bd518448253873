"""Configuration of the residual network."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_scaling.config.family import ModelConfig


@dataclass(frozen=True)
class ResNetConfig(ModelConfig):
    """The keys that every family has: `width` counts the channels of the first layer, `depth` the residual blocks."""

    name: str = "resnet"


CONFIG = ResNetConfig

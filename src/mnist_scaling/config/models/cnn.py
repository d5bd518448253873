"""Configuration of the convolutional network: the keys that every family has."""

from __future__ import annotations

from mnist_scaling.config.family import ModelConfig

CONFIG = ModelConfig

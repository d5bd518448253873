"""The multilayer perceptron: fully connected layers on the flattened image."""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from mnist_scaling.config import ModelConfig
from mnist_scaling.config.family import MLPConfig
from mnist_scaling.training.models import LayeredFamily, Pace, register


@register("mlp")
class MLP(LayeredFamily):
    """Fully connected layers of one width with ReLU, then dropout and a linear head.

    With P pixels (all channels counted), K classes, width W and depth L:

        parameters = (P W + W) + (L - 1) (W^2 + W) + (W K + K)
        forward FLOPs = 2 (P W + (L - 1) W^2 + W K)
    """

    Config = MLPConfig

    def __init__(self, image_shape: tuple[int, ...], classes: int, config: MLPConfig) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.first = nn.Linear(channels * height * width, config.width)
        layers = [nn.Linear(config.width, config.width) for _ in range(config.depth - 1)]
        self.hidden = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())])
        self.add_head(config.width, classes, config)

    def features(self, images: Tensor) -> Tensor:
        """See `LayeredFamily.features`."""
        return cast(Tensor, self.hidden(torch.relu(self.first(images.flatten(1)))))

    @classmethod
    def pace(cls, config: ModelConfig, image_shape: tuple[int, ...], flops: int) -> Pace:
        """0.18 ms per step, 15 us per layer, 1.5 ns per weight (the optimiser); per example 2.5 us and 80 GFLOP/s."""
        weights = flops / 6  # two FLOPs forward and four backward each, nearly
        example = 2.5e-6 * prod(image_shape) / 784 + flops / 80e9
        return Pace(1.8e-4 + 1.5e-5 * config.depth + 1.5e-9 * weights, example, example / 3)

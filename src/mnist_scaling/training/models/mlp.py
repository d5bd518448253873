"""The multilayer perceptron: fully connected layers on the flattened image."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from mnist_scaling.config import ModelConfig
from mnist_scaling.config.family import MLPConfig
from mnist_scaling.training.models import parametrization
from mnist_scaling.training.models.base import Family, Pace, Parts, labels_by_layer, register
from mnist_scaling.training.models.parametrization import Label


@register("mlp")
class MLP(Family):
    """Fully connected layers of one width with ReLU, then dropout and a linear head.

    With P pixels (all channels counted), K classes, width W and depth L:

        parameters = (P W + W) + (L - 1) (W^2 + W) + (W K + K)
        forward FLOPs = 2 (P W + (L - 1) W^2 + W K)

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height, width.
    classes : int
        Number of logits.
    config : MLPConfig
    """

    Config = MLPConfig

    def __init__(self, image_shape: tuple[int, ...], classes: int, config: MLPConfig) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.first = nn.Linear(channels * height * width, config.width)
        layers = [nn.Linear(config.width, config.width) for _ in range(config.depth - 1)]
        self.hidden = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())])
        self.dropout = nn.Dropout(config.dropout)
        self.head = parametrization.Readout(config.width, classes)
        self.growth = parametrization.growth(config)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        x_BxW = self.hidden(torch.relu(self.first(images.flatten(1))))
        return self.head(self.dropout(x_BxW))

    def parts(self) -> Parts:
        """Layers by role."""
        return Parts(self.first, self.hidden, self.head)

    def labels(self) -> dict[str, Label]:
        """Role and growth of every parameter: each layer's units grow as the width."""
        return labels_by_layer(self, self.growth)

    @classmethod
    def pace(cls, config: ModelConfig, image_shape: tuple[int, ...], flops: int) -> Pace:
        """0.18 ms per step, 15 us per layer, 1.5 ns per weight (the optimiser); per example 2.5 us and 80 GFLOP/s."""
        weights = flops / 6  # two FLOPs forward and four backward each, nearly
        example = 2.5e-6 * prod(image_shape) / 784 + flops / 80e9
        return Pace(1.8e-4 + 1.5e-5 * config.depth + 1.5e-9 * weights, example, example / 3)

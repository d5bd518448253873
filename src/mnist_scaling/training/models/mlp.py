"""The multilayer perceptron: fully connected layers on the flattened image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnist_scaling.config.models.mlp import MLPConfig
from mnist_scaling.training import parametrization
from mnist_scaling.training.models.base import Family, Parts, labels_by_layer, register
from mnist_scaling.training.parametrization import Label


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

"""The convolutional network: the default family, and the one with a hand-written step (small_cnn.py)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mnist_scaling.config import ModelConfig
from mnist_scaling.training.models import LayeredFamily, register


@register("cnn")
class CNN(LayeredFamily):
    """Strided 3x3 convolutions, then dropout and a linear head on the flattened features.

    Channels: width after the first layer, 2 * width after every later one. The first two layers halve
    the image, later ones keep its size. Strides cost a half to a third of the time per step that
    pooling costs; a flattened head instead of a global average learns in the few steps a small subset gives.
    """

    first: nn.Conv2d

    def __init__(self, image_shape: tuple[int, ...], classes: int, config: ModelConfig) -> None:
        super().__init__()
        channels, height, width = image_shape
        sizes = [channels, config.width] + [2 * config.width] * (config.depth - 1)
        strides = [2, 2] + [1] * config.depth
        layers = [
            nn.Conv2d(sizes[i], sizes[i + 1], kernel_size=3, stride=strides[i], padding=1) for i in range(config.depth)
        ]
        halvings = min(config.depth, 2)
        for _ in range(halvings):
            height, width = (height + 1) // 2, (width + 1) // 2
        self.first = layers[0]
        self.hidden = nn.Sequential(*[part for layer in layers[1:] for part in (layer, nn.ReLU())])
        self.add_head(sizes[-1] * height * width, classes, config)

    def features(self, images: Tensor) -> Tensor:
        """See `LayeredFamily.features`."""
        return cast(Tensor, self.hidden(torch.relu(self.first(images))))

"""Model families by name. A new family is one class here and one file in conf/model/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_scaling.config import ModelConfig, one_of


@dataclass(frozen=True)
class Parts:
    """A model's layers by their role, from which parameters are counted by every convention."""

    input: nn.Module
    """The layer that touches the image."""
    hidden: nn.Module
    """All between; it may hold no parameters."""
    output: nn.Linear
    """The layer that makes the logits."""


class CNN(nn.Module):
    """Strided 3x3 convolutions, then dropout and a linear head on the flattened features.

    Channels: width after the first layer, 2 * width after every later one. The first two layers halve
    the image, later ones keep its size. Strides instead of pooling cost a half to a third of the time a
    step; a flattened head instead of a global average learns in the few steps a small subset gives.

    Parameters
    ----------
    image_shape : tuple of int
        Channels, height, width.
    classes : int
        Number of logits.
    config : ModelConfig
        `width`, `depth` and `dropout`.
    """

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
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(sizes[-1] * height * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        features = self.hidden(torch.relu(self.first(images)))
        return self.head(self.dropout(features.flatten(1)))

    def parts(self) -> Parts:
        """Layers by role."""
        return Parts(self.first, self.hidden, self.head)


FAMILIES: dict[str, Callable[[tuple[int, ...], int, ModelConfig], CNN]] = {"cnn": CNN}
"""Every family by the value of `model.name`."""


def build(config: ModelConfig, image_shape: tuple[int, ...], classes: int) -> CNN:
    """A model with fresh weights from torch's global generator, on torch's default device.

    Raises
    ------
    InputError
        When the family is unknown.
    """
    one_of("model.name", config.name, tuple(FAMILIES))
    return FAMILIES[config.name](image_shape, classes, config)

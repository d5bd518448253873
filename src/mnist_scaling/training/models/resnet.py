"""The residual network: convolutions whose outputs are added to what they read."""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from mnist_scaling.config import ModelConfig
from mnist_scaling.training.models import LayeredFamily, Pace, register


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), with 3 x 3 convolutions (He et al. 2016, arXiv 1603.05027).

    The norm is group norm with one group: it standardises each example over all channels and positions, so no
    example sees another, and a batch of 1 trains like any other. Where the block changes the shape, a 1 x 1
    convolution does so for x.
    """

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(1, channels)
        self.first = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(1, out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        changes = stride != 1 or channels != out_channels
        self.shortcut = nn.Conv2d(channels, out_channels, 1, stride, bias=False) if changes else None

    def forward(self, x_BxCxHxW: Tensor) -> Tensor:
        """Features (batch, out_channels, height / stride, width / stride)."""
        x = x_BxCxHxW
        added = self.first(torch.relu(self.first_norm(x)))
        added = self.second(torch.relu(self.second_norm(added)))
        return cast(Tensor, added + (x if self.shortcut is None else self.shortcut(x)))


@register("resnet")
class ResNet(LayeredFamily):
    """A strided 3 x 3 convolution, residual blocks, then norm, dropout and a linear head on the flattened features.

    The first layer has W channels at half the image's height and width; the first block makes them 2 W at a quarter,
    and every later one keeps both. With C channels of the image, K classes, depth L, and H and Q positions at half and
    at a quarter of the image's sides:

        parameters = (9 C W + W) + (56 W^2 + 8 W) + (L - 1) (72 W^2 + 10 W) + 4 W + (2 W Q K + K)
        forward FLOPs = 2 (9 C W H + 56 W^2 Q + (L - 1) 72 W^2 Q + 2 W Q K)
    """

    def __init__(self, image_shape: tuple[int, ...], classes: int, config: ModelConfig) -> None:
        super().__init__()
        channels, height, width = image_shape
        wide = 2 * config.width
        self.first = nn.Conv2d(channels, config.width, 3, stride=2, padding=1)
        later = [ResidualBlock(wide, wide, 1) for _ in range(config.depth - 1)]
        self.hidden = nn.Sequential(ResidualBlock(config.width, wide, 2), *later, nn.GroupNorm(1, wide), nn.ReLU())
        self.add_head(wide * ((height + 3) // 4) * ((width + 3) // 4), classes, config)

    @classmethod
    def pace(cls, config: ModelConfig, image_shape: tuple[int, ...], flops: int) -> Pace:
        """0.7 ms per step, 0.4 per block; per example 8 us, (10 + W / 2) us per block, and FLOPs at 200 GFLOP/s."""
        traffic = (8e-6 + config.depth * (10e-6 + 0.5e-6 * config.width)) * prod(image_shape[1:]) / 784
        example = traffic + flops / 200e9
        return Pace(7e-4 + 4e-4 * config.depth, example, example / 3)

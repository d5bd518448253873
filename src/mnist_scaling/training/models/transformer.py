"""The transformer on patches: the image as a short sequence of tokens."""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnist_scaling.config import ModelConfig
from mnist_scaling.config.family import TransformerConfig
from mnist_scaling.errors import require
from mnist_scaling.training import parametrization
from mnist_scaling.training.models import LayeredFamily, Pace, register
from mnist_scaling.training.parametrization import Label, Role

POSITION_STD = 0.5
"""Standard deviation of the positions' initial values; with the usual 0.02 one epoch hardly tells them apart."""

EXPANSION = 4
"""Units of a block's perceptron for each entry of the embedding."""


class Embedding(nn.Module):
    """Patches of the image, each a linear map of its pixels plus a vector for its position."""

    def __init__(self, image_shape: tuple[int, ...], config: TransformerConfig) -> None:
        super().__init__()
        channels, height, width = image_shape
        side = config.patch
        common = [str(n) for n in range(2, min(height, width) + 1) if height % n == 0 == width % n]
        require(
            height % side == 0 == width % side,
            f"`model.patch` must divide the image's height and width, but got {side} and {height} x {width}: "
            + (f"give one of {', '.join(common)}." if common else "crop or pad the images to sides with a divisor."),
        )
        self.grid = (height // side, width // side)
        self.side = side
        self.patches = nn.Linear(channels * side * side, config.width)
        self.positions = nn.Parameter(torch.randn(self.grid[0] * self.grid[1], config.width) * POSITION_STD)

    def forward(self, images_BxCxHxW: Tensor) -> Tensor:
        """Tokens (batch, positions, width)."""
        channels, (rows, columns) = images_BxCxHxW.shape[1], self.grid
        split = images_BxCxHxW.view(-1, channels, rows, self.side, columns, self.side)
        p_BxLxP = split.permute(0, 2, 4, 1, 3, 5).reshape(-1, rows * columns, channels * self.side**2)
        return cast(Tensor, self.patches(p_BxLxP) + self.positions)


class Attention(nn.Module):
    """softmax(q k' s) v in each head, then a linear map; s = d_head^-1/2, and under µP s ~ 1 / d_head.

    Without dropout torch's fused operation is 1.5 times as fast as plain products on a CPU; with dropout on its
    weights it is 1.2 times slower, so that the products are written out (LOG.md).
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.attention_dropout
        self.project = nn.Linear(config.width, 3 * config.width)
        self.combine = nn.Linear(config.width, config.width)
        # Yang et al. 2022, definition 4.1: q and k of wide models are correlated, so q k' grows as d, not as d^1/2.
        self.scale = (config.width // config.heads * parametrization.growth(config)) ** -0.5

    def forward(self, x_BxLxD: Tensor) -> Tensor:
        """What each token takes from the others, (batch, positions, width)."""
        b, n, d = x_BxLxD.shape
        qkv = self.project(x_BxLxD).view(b, n, 3, self.heads, d // self.heads)
        q_BxHxLxE, k_BxHxLxE, v_BxHxLxE = qkv.permute(2, 0, 3, 1, 4)
        if self.training and self.dropout:
            share_BxHxLxL = torch.softmax((q_BxHxLxE * self.scale) @ k_BxHxLxE.mT, -1)
            y_BxHxLxE = functional.dropout(share_BxHxLxL, self.dropout) @ v_BxHxLxE
        else:
            y_BxHxLxE = functional.scaled_dot_product_attention(q_BxHxLxE, k_BxHxLxE, v_BxHxLxE, scale=self.scale)
        return cast(Tensor, self.combine(y_BxHxLxE.transpose(1, 2).reshape(b, n, d)))


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)): pre-norm, with dropout on both branches."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config)
        self.perceptron_norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, EXPANSION * config.width)
        self.contract = nn.Linear(EXPANSION * config.width, config.width)
        self.dropout = nn.Dropout(config.residual_dropout)

    def forward(self, x_BxLxD: Tensor) -> Tensor:
        """Tokens (batch, positions, width)."""
        x_BxLxD = x_BxLxD + self.dropout(self.attention(self.attention_norm(x_BxLxD)))
        added_BxLxD = self.contract(functional.gelu(self.expand(self.perceptron_norm(x_BxLxD))))
        return cast(Tensor, x_BxLxD + self.dropout(added_BxLxD))


@register("transformer")
class Transformer(LayeredFamily):
    """Patches with positions, pre-norm blocks, a norm, then dropout and a linear head on all tokens.

    A head on the mean of the tokens learns too slowly for one epoch (LOG.md). With P numbers in a patch, L tokens,
    width D, depth N and K classes:

        parameters = (P D + D + L D) + N (12 D^2 + 13 D) + 2 D + (L D K + K)
        forward FLOPs = 2 (L P D + N (12 L D^2 + 2 L^2 D) + L D K)

    A patch that does not divide the image is an `InputError`.
    """

    Config = TransformerConfig

    def __init__(self, image_shape: tuple[int, ...], classes: int, config: TransformerConfig) -> None:
        super().__init__()
        self.first = embedding = Embedding(image_shape, config)
        blocks = [TransformerBlock(config) for _ in range(config.depth)]
        self.hidden = nn.Sequential(*blocks, nn.LayerNorm(config.width))
        self.add_head(embedding.positions.numel(), classes, config)

    def labels(self) -> dict[str, Label]:
        """Role and growth of every parameter: embeddings, heads and perceptrons all grow as the width."""
        return super().labels() | {"first.positions": Label(Role.INPUT, fan_out=self.growth)}

    @classmethod
    def pace(cls, config: ModelConfig, image_shape: tuple[int, ...], flops: int) -> Pace:
        """0.3 ms per step, 0.33 per block; per example and 16 tokens 8 us, (6 + D / 10) us per block; 80 GFLOP/s.

        Dropout inside the blocks makes a step 1.25 times as long.
        """
        assert isinstance(config, TransformerConfig)
        tokens = prod(image_shape[1:]) / config.patch**2
        example = tokens / 16 * (8e-6 + config.depth * (6e-6 + 1e-7 * config.width)) + flops / 80e9
        slower = 1.25 if config.attention_dropout or config.residual_dropout else 1.0
        return Pace(slower * (3e-4 + 3.3e-4 * config.depth), slower * example, example / 3)

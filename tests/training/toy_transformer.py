"""A family unlike the CNN: attention with heads and two dropouts of its own, as small as it can be."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from mnist_scaling.training import parametrization
from mnist_scaling.training.models import Family, Parts, register
from mnist_scaling.training.parametrization import Label, Role
from tests.training.toy_config import ToyConfig

PATCH = 7


class Block(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.project = nn.Linear(config.width, 3 * config.width)
        self.attention_dropout = nn.Dropout(config.attention_dropout)
        self.residual_dropout = nn.Dropout(config.residual_dropout)

    def forward(self, x_BxTxW: Tensor) -> Tensor:
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in self.project(x_BxTxW).chunk(3, 2))
        shares = self.attention_dropout(torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1))
        return x_BxTxW + self.residual_dropout((shares @ v).transpose(1, 2).flatten(2))


class ToyTransformer(Family):
    Config = ToyConfig

    def __init__(self, image_shape: tuple[int, ...], classes: int, config: ToyConfig) -> None:
        super().__init__()
        channels, height, width = image_shape
        tokens = (height // PATCH) * (width // PATCH)
        self.embed = nn.Linear(channels * PATCH * PATCH, config.width)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.depth)])
        self.dropout = nn.Dropout(config.dropout)
        self.head = parametrization.Readout(tokens * config.width, classes)
        self.growth = parametrization.growth(config)

    def forward(self, images: Tensor) -> Tensor:
        tokens_BxTxP = unfold(images, PATCH, stride=PATCH).mT
        return self.head(self.dropout(self.blocks(self.embed(tokens_BxTxP)).flatten(1)))

    def parts(self) -> Parts:
        return Parts(self.embed, self.blocks, self.head)

    def labels(self) -> dict[str, Label]:
        n = self.growth
        found = {
            name: Label(Role.VECTOR if name.endswith("bias") else Role.HIDDEN, n, n)
            for name, _ in self.blocks.named_parameters(prefix="blocks")
        }
        return found | {
            "embed.weight": Label(Role.INPUT, fan_out=n),
            "embed.bias": Label(Role.VECTOR, fan_out=n),
            "head.weight": Label(Role.OUTPUT, fan_in=n),
            "head.bias": Label(Role.VECTOR, fan_in=n),
        }


def add() -> None:
    """Make the family known, as the decorator `@register` does in a file of training/models/."""
    register("toy_transformer")(ToyTransformer)

"""The configuration of the toy family, as it would stand in config/family.py."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_scaling.config.family import ModelConfig
from mnist_scaling.errors import require


@dataclass(frozen=True)
class ToyConfig(ModelConfig):
    name: str = "toy_transformer"
    depth: int = 1
    heads: int = 2
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.width % self.heads == 0,
            f"`model.heads` must divide `model.width`, but got {self.heads} and {self.width}: give a divisor.",
        )

"""Configuration of the transformer on patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mnist_scaling.config.family import ModelConfig
from mnist_scaling.errors import holds, require


@dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """`width` is the length of a token's embedding (`embed_dim` says the same), `depth` counts the blocks."""

    ALIASES: ClassVar[Mapping[str, str]] = {"embed_dim": "width"}

    name: str = "transformer"
    width: int = 32
    heads: int = 2
    """Attention heads; each takes its share of the embedding."""
    patch: int = 7
    """Side of the square patches that become tokens, in pixels; it must divide the image's height and width."""
    attention_dropout: float = 0.0
    """Probability that an attention weight is dropped while training."""
    residual_dropout: float = 0.0
    """Probability that an entry of what attention, or the perceptron after it, adds to a token is dropped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("heads", "patch"):
            value = getattr(self, key)
            holds(value >= 1, f"model.{key} >= 1", value, "give a positive whole number.")
        divisors = [str(n) for n in range(1, self.width + 1) if self.width % n == 0]
        require(
            self.width % self.heads == 0,
            f"`model.heads` must divide the embedding, `model.width`, but got {self.heads} and {self.width}: give one "
            f"of {', '.join(divisors)} heads, or another width.",
        )
        for key in ("attention_dropout", "residual_dropout"):
            value = getattr(self, key)
            holds(0 <= value < 1, f"0 <= model.{key} < 1", value, "give a probability.")

    @property
    def embed_dim(self) -> int:
        """`width` by its usual name."""
        return self.width


CONFIG = TransformerConfig

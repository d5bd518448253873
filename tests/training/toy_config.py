"""The configuration of the toy family, as it would stand in config/family.py."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_scaling.config.family import TransformerConfig


@dataclass(frozen=True)
class ToyConfig(TransformerConfig):
    name: str = "toy_transformer"
    width: int = 8
    depth: int = 1

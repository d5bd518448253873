"""Model families, one file each. A new one is training/models/<name>.py and conf/model/<name>.yaml."""

from __future__ import annotations

from mnist_scaling.training.models.base import FAMILIES, Family, Parts, build, register

__all__ = ["FAMILIES", "Family", "Parts", "build", "register"]

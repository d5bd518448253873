"""Model families, one file each. config/models/<name>.py configures one, conf/model/<name>.yaml names it."""

from __future__ import annotations

from mnist_scaling.training.models.base import FAMILIES, Family, Pace, Parts, build, family, register

__all__ = ["FAMILIES", "Family", "Pace", "Parts", "build", "family", "register"]

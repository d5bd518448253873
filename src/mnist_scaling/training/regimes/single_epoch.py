"""Training on every example once."""

from __future__ import annotations

from mnist_scaling.training.regimes.base import Passes


class SingleEpoch(Passes):
    """Every example is seen once: D = U, and the generalisation gap plays no part."""

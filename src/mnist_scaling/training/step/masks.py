"""Dropout masks in an eighth of the time that torch takes."""

from __future__ import annotations

import torch
from torch import Tensor

_LEVELS = 2**16


class Dropout:
    """Masks that keep an entry with probability 1 - p and scale what they keep by 1 / (1 - p).

    p is rounded to a multiple of 2^-16 and the scale is that of the rounded p, so the mean is exact. Each
    entry takes sixteen bits of torch's global generator, where `bernoulli_` makes one draw per entry: that takes 8 ns
    per entry on a CPU, as long as all else in a narrow network's step (docs/performance.md).

    Parameters
    ----------
    rate : float
        p.
    """

    def __init__(self, rate: float) -> None:
        self._dropped = round(rate * _LEVELS)
        self.active = self._dropped > 0

    def fill(self, mask: Tensor) -> None:
        """Draw a float32 mask."""
        words = torch.empty((mask.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: mask.numel()].view(mask.shape)
        torch.ge(bits, self._dropped - _LEVELS // 2, out=mask)
        mask.mul_(_LEVELS / (_LEVELS - self._dropped))

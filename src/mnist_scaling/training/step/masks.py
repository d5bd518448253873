"""Dropout masks for models that train side by side, each from its own stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LEVELS = 2**16


class Dropout:
    """Masks that keep an entry with probability 1 - p and scale what they keep by 1 / (1 - p).

    p is rounded to a multiple of 2^-16 and the scale is that of the rounded p, so the mean is exact. Each
    entry takes sixteen random bits, where torch's `bernoulli_` makes one draw per entry: that takes 8 ns per entry on a
    CPU, as long as all else in a narrow network's step (docs/performance.md).

    Parameters
    ----------
    rates : sequence of float
        p of each model.
    generators : sequence of torch.Generator or None
        The stream of each; None for torch's global generator.
    """

    def __init__(self, rates: Sequence[float], generators: Sequence[torch.Generator | None]) -> None:
        self._dropped = [round(rate * _LEVELS) for rate in rates]
        self._generators = generators
        self.active = any(self._dropped)

    def fill(self, mask: Tensor) -> None:
        """Draw masks (S, …), float32, one for each model; a model without dropout draws nothing."""
        for own, dropped, generator in zip(mask, self._dropped, self._generators, strict=True):
            if dropped == 0:
                own.fill_(1)
                continue
            words = torch.empty((own.numel() + 3) // 4, dtype=torch.int64)
            words.random_(-(2**63), None, generator=generator)
            bits = words.view(torch.int16)[: own.numel()].view(own.shape)
            torch.ge(bits, dropped - _LEVELS // 2, out=own)
            own.mul_(_LEVELS / (_LEVELS - dropped))

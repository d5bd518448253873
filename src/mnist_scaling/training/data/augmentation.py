"""Training images distorted anew each time that they are seen, before the step, so that any engine trains on them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mnist_scaling.config import DataConfig
from mnist_scaling.training import seeding
from mnist_scaling.training.data import distortions
from mnist_scaling.training.data.splits import Examples

DEGREES, SHIFT, SCALE = 15.0, 0.1, 0.1
"""affine: the largest turn, the largest shift as a share of the side, the largest change of size; all uniform."""

ALPHA, SIGMA = 68.0, 4.0
"""elastic: torchvision's alpha and sigma. These are the strength 34 and the smoothness 4 of Simard et al. (2003), in
pixels of a 28 x 28 image; torchvision counts alpha in halves of a pixel."""

_CHUNK = 256
"""Draws that are made at a time."""


class Augmenter:
    """What a run trains on when its images are augmented: a part whose pixels are drawn anew before each step.

    Draw number t of a run belongs to the example that the run sees as its t-th, so it depends on the seed and on t
    alone: not on the batch size, and a run that goes back to an earlier state gets the same draws again.

    Parameters
    ----------
    base : Examples
        The run's training images as they are.
    kind : str
        Value of `data.augment`, not none.
    seed : int
        The run's.
    """

    def __init__(self, base: Examples, kind: str, seed: int) -> None:
        self.base, self.kind, self.seed = base, kind, seed
        # Each image has two places, for odd and for even passes: a batch may hold it twice where one pass ends and
        # the next one starts. The memory is taken only as images are drawn.
        rows = torch.arange(2 * len(base), device=base.rows.device)
        pixels = base.pixels.new_empty((len(rows), *base.pixels.shape[1:]))
        self.part = replace(base, pixels=pixels, rows=rows, labels=base.labels.repeat(2))
        self._grids: dict[int, Tensor] = {}

    def draw(self, positions: Tensor, seen: int) -> Tensor:
        """Draw images anew; their positions in `part`.

        Parameters
        ----------
        positions : Tensor of shape (batch,)
            Of the images in `base`.
        seen : int
            Examples that the run has seen before them.

        Returns
        -------
        Tensor of shape (batch,), int64
        """
        positions = positions.to(self.base.rows.device)
        drawn = distortions.warp(self.base.pixels[self.base.rows[positions]], self._next(seen, len(positions)))
        passes = torch.arange(seen, seen + len(positions), device=positions.device) // len(self.base)
        places = positions + passes % 2 * len(self.base)
        self.part.pixels[self.part.rows[places]] = drawn
        return places

    def _next(self, start: int, count: int) -> Tensor:
        """Grids of the draws from `start` on, (count, height, width, 2)."""
        first, last = start // _CHUNK, (start + count - 1) // _CHUNK
        self._grids = {c: self._grids[c] if c in self._grids else self._chunk(c) for c in range(first, last + 1)}
        grids = torch.cat(list(self._grids.values())) if last > first else self._grids[first]
        return grids[start - first * _CHUNK :][:count]

    def _chunk(self, number: int) -> Tensor:
        stream = seeding.generator(self.seed, f"augment/{number}")
        height, width = self.base.pixels.shape[2:]
        if self.kind == "elastic":
            noise = 2 * torch.rand(_CHUNK, 2, height, width, generator=stream) - 1
            grids = distortions.elastic(noise, ALPHA, SIGMA)
        else:
            draws = 2 * torch.rand(_CHUNK, 4, generator=stream) - 1
            # Whole pixels, as torchvision's RandomAffine draws them.
            shifts = (draws[:, 1:3] * SHIFT * torch.tensor([width, height])).round()
            grids = distortions.affine(draws[:, 0] * DEGREES, shifts, 1 + draws[:, 3] * SCALE, (height, width))
        return grids.to(self.base.pixels.device)


def augmenter(base: Examples, config: DataConfig, seed: int) -> Augmenter | None:
    """What augments a run's images; None for a run that trains on them as they are."""
    return None if config.augment == "none" else Augmenter(base, config.augment, seed)

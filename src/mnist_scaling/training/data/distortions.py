"""Images turned, moved and bent, each with parameters of its own: test images once, training images anew at each step.

The transforms are torchvision's affine and elastic ones, which draw one set of parameters for a whole batch. Here every
image of a batch has its own, and one call of `grid_sample` applies them all. A grid holds, for each pixel of the new
image, the place (x, y) in the old one that it shows; -1 and 1 are the outer edges of the image.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from math import exp

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from mnist_scaling.config import DataConfig
from mnist_scaling.training import seeding
from mnist_scaling.training.data.splits import Examples


def affine(angles: Tensor, shifts: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
    """Grids of images that are turned and scaled about their centre, then moved.

    The place s = R^-1 (d - t) / scale is shown at d, in pixels from the centre; R turns by the angle and t is the
    shift. torchvision's `functional.affine` without shear, image by image.

    Parameters
    ----------
    angles : Tensor of shape (n,)
        In degrees, clockwise.
    shifts : Tensor of shape (n, 2)
        To the right and down, in pixels.
    scales : Tensor of shape (n,)
        Factor on the size of what the image shows.
    shape : tuple of int
        Height and width of the images.

    Returns
    -------
    Tensor of shape (n, height, width, 2)
    """
    height, width = shape
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    x = x - shifts[:, 0].view(-1, 1, 1)
    y = y.view(-1, 1) - shifts[:, 1].view(-1, 1, 1)
    radians = torch.deg2rad(angles).view(-1, 1, 1)
    cos, sin = (f / scales.view(-1, 1, 1) for f in (radians.cos(), radians.sin()))
    return torch.stack([(cos * x + sin * y) * (2 / width), (cos * y - sin * x) * (2 / height)], -1)


def elastic(noise: Tensor, alpha: float, sigma: float) -> Tensor:
    """Grids of images whose pixels are moved by a smooth random field: alpha / side * blur(noise).

    The two components of the noise are blurred by a Gaussian of `sigma` pixels, with the field reflected at the
    image's border. torchvision's `ElasticTransform`, image by image (Simard et al. 2003).

    Parameters
    ----------
    noise : Tensor of shape (n, 2, height, width)
        Uniform in [-1, 1]: displacements along x, and along y.
    alpha, sigma : float
        Strength, in halves of a pixel, and smoothness, in pixels.

    Returns
    -------
    Tensor of shape (n, height, width, 2)
    """
    n, _, height, width = noise.shape
    field = _blur(height, sigma) @ noise @ _blur(width, sigma).T
    zero = torch.zeros(n)
    moved = torch.stack([field[:, 0] * (alpha / width), field[:, 1] * (alpha / height)], -1)
    return affine(zero, zero.view(-1, 1).expand(n, 2), torch.ones(n), (height, width)) + moved


@functools.lru_cache(maxsize=4)
def _blur(side: int, sigma: float) -> Tensor:
    """The matrix (side, side) of a Gaussian blur along one axis, cut at 4 sigma, the border reflected.

    It is torchvision's `gaussian_blur` with a kernel of 8 sigma + 1; an axis shorter than that is reflected again.
    """
    radius = int(8 * sigma + 1) // 2
    period = max(2 * (side - 1), 1)
    weights = [exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]
    matrix = torch.zeros(side, side, dtype=torch.float64)
    for row in range(side):
        for k, weight in zip(range(-radius, radius + 1), weights, strict=True):
            place = (row + k) % period
            matrix[row, min(place, period - place)] += weight
    return (matrix / sum(weights)).float()


def warp(images: Tensor, grids: Tensor) -> Tensor:
    """Images (n, channels, height, width) as their grids show them, of the same type, black beyond the border."""
    bent = grid_sample(images.float(), grids.to(images.device), "bilinear", "zeros", align_corners=False)
    return bent.round_().to(images.dtype) if images.dtype == torch.uint8 else bent


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
        drawn = warp(self.base.pixels[self.base.rows[positions]], self._next(seen, len(positions)))
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
            grids = elastic(noise, ALPHA, SIGMA)
        else:
            draws = 2 * torch.rand(_CHUNK, 4, generator=stream) - 1
            # Whole pixels, as torchvision's RandomAffine draws them.
            shifts = (draws[:, 1:3] * SHIFT * torch.tensor([width, height])).round()
            grids = affine(draws[:, 0] * DEGREES, shifts, 1 + draws[:, 3] * SCALE, (height, width))
        return grids.to(self.base.pixels.device)


def augmenter(base: Examples, config: DataConfig, seed: int) -> Augmenter | None:
    """What augments a run's images; None for a run that trains on them as they are."""
    return None if config.augment == "none" else Augmenter(base, config.augment, seed)

"""Images turned, moved, bent and noisy: training images anew at each step, test images off the distribution once.

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
from mnist_scaling.training.data import splits
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


ROTATED = 30.0
"""off_distribution=rotated: the largest turn; turns are uniform up to it, both ways."""

SHIFTED = 1 / 14
"""shifted: the largest move along each axis as a share of the side (2 of 28 pixels); whole pixels, uniform."""

NOISY = 1.0
"""noisy: standard deviation of the Gaussian noise in those of the training pixels; bytes stay within 0 to 255."""

_OFF_SEED = 0
"""The shifted test images are part of the benchmark, as the split is: no run's seed changes them."""

_AT_A_TIME = 1000


def off_distribution(config: DataConfig, kind: str, device: torch.device) -> Examples:
    """The test images of a run's data set changed in one way; kept for the process's later runs."""
    return _part(config.whole, kind, device)


@functools.lru_cache(maxsize=6)
def _part(config: DataConfig, kind: str, device: torch.device) -> Examples:
    return changed(splits.load(config, device).test, kind)


def changed(test: Examples, kind: str) -> Examples:
    """The test images changed in one way, in the same order and with the same labels.

    Each image has a draw of its own, from a fixed stream, whatever is scored beside it.

    Parameters
    ----------
    test : Examples
        The test images as they are.
    kind : str
        rotated, shifted or noisy: a member of `config.OFF_DISTRIBUTION`.
    """
    stream = seeding.generator(_OFF_SEED, f"off_distribution/{kind}")
    pixels = torch.cat([_pixels(test, rows, kind, stream) for rows in test.rows.split(_AT_A_TIME)])
    return replace(test, pixels=pixels, rows=torch.arange(len(test), device=test.rows.device))


def _pixels(test: Examples, rows: Tensor, kind: str, stream: torch.Generator) -> Tensor:
    pixels = test.pixels[rows]
    n, (height, width) = len(rows), pixels.shape[2:]
    if kind == "noisy":
        noise = torch.randn(pixels.shape, generator=stream).to(pixels.device)
        values = pixels + NOISY * test.std * test.scale * noise
        return values.round().clamp(0, 255).to(torch.uint8) if pixels.dtype == torch.uint8 else values
    draws = 2 * torch.rand(n, 2, generator=stream) - 1
    angles, shifts = torch.zeros(n), torch.zeros(n, 2)
    if kind == "rotated":
        angles = draws[:, 0] * ROTATED
    else:
        most = (torch.tensor([width, height]) * SHIFTED).round()
        shifts = (draws * (most + 0.5)).round().clamp(-most, most)
    return warp(pixels, affine(angles, shifts, torch.ones(n), (height, width)))

"""Images turned, moved, bent and noisy: training images anew in each pass, test images off the distribution once.

The transforms are torchvision's affine and elastic ones, which draw one set of parameters for a whole batch. Here every
image has its own, and one call of `grid_sample` applies them all. A grid holds, for each pixel of the new image, the
place (x, y) in the old one that it shows; -1 and 1 are the outer edges of the image.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from mnist_scaling.config import DataConfig
from mnist_scaling.training import seeding
from mnist_scaling.training.data import splits
from mnist_scaling.training.data.splits import Examples

DEGREES, SHIFT, SCALE = 15.0, 0.1, 0.1
"""affine: the largest turn, the largest shift as a share of the side, the largest change of size; all uniform."""

ALPHA, SIGMA = 68.0, 4.0
"""elastic: strength in halves of a pixel, and smoothness in pixels, as torchvision counts them: the 34 and 4 of Simard
et al. (2003) for images of 28 x 28."""

ROTATED = 30.0
"""off_distribution=rotated: the largest turn; turns are uniform up to it, both ways."""

SHIFTED = 1 / 14
"""shifted: the largest move along each axis as a share of the side (2 of 28 pixels); whole pixels, uniform."""

NOISY = 1.0
"""noisy: standard deviation of the Gaussian noise in those of the training pixels; bytes stay within 0 to 255."""

_AT_A_TIME = 1000
"""Images whose parameters are drawn together; fewer get the beginning of the same draws."""


def affine(angles: Tensor, shifts: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
    """Grids (n, height, width, 2) of images that are turned and scaled about their centre, then moved.

    The place s = R^-1 (d - t) / scale is shown at d, in pixels from the centre. Angles (n,) are in degrees, clockwise;
    shifts t (n, 2) in pixels, to the right and down; scales (n,) are factors on the size of what the image shows.
    """
    height, width = shape
    radians = torch.deg2rad(angles)
    cos, sin, (right, down) = radians.cos() / scales, radians.sin() / scales, shifts.unbind(1)
    moved_x, moved_y = (cos * right + sin * down) * 2 / width, (cos * down - sin * right) * 2 / height
    rows = [cos, sin * height / width, -moved_x, -sin * width / height, cos, -moved_y]
    return affine_grid(torch.stack(rows, 1).view(-1, 2, 3), [len(angles), 1, height, width], align_corners=False)


def elastic(noise: Tensor) -> Tensor:
    """Grids of images whose pixels are moved by a smooth random field: ALPHA / side * blur(noise).

    The noise (n, 2, height, width), uniform in [-1, 1], is blurred by a Gaussian of SIGMA pixels, with the field
    reflected at the image's border (torchvision's `ElasticTransform`, image by image).
    """
    n, _, height, width = noise.shape
    field = _blur(height) @ noise @ _blur(width).T
    moved = field.permute(0, 2, 3, 1) * torch.tensor([ALPHA / width, ALPHA / height])
    return affine(torch.zeros(n), torch.zeros(n, 2), torch.ones(n), (height, width)) + moved


@functools.lru_cache(maxsize=4)
def _blur(side: int) -> Tensor:
    """The matrix (side, side) of a Gaussian blur along one axis."""
    from scipy.ndimage import gaussian_filter1d

    return torch.from_numpy(gaussian_filter1d(np.eye(side), SIGMA, axis=0, mode="mirror")).float()


def warp(images: Tensor, grids: Tensor) -> Tensor:
    """Images (n, channels, height, width) as their grids show them, of the same type, black beyond the border."""
    bent = grid_sample(images.float(), grids.to(images.device), "bilinear", "zeros", align_corners=False)
    return bent.round_().to(images.dtype) if images.dtype == torch.uint8 else bent


class Augmenter:
    """What a run trains on when its images are augmented: a part whose pixels are drawn anew in each pass.

    The draw of an image depends on the seed, the pass and its place in the subset alone: not on the batch size, and a
    run that goes back to an earlier state gets the same draws again. `base` are the training images as they are.
    """

    def __init__(self, base: Examples, kind: str, seed: int) -> None:
        self.base, self.kind, self.seed = base, kind, seed
        # Each image has two places, for even and for odd passes: a batch may hold it twice where one pass ends and
        # the next one starts.
        rows = torch.arange(2 * len(base), device=base.rows.device)
        pixels = base.pixels.new_empty((len(rows), *base.pixels.shape[1:]))
        self.part = replace(base, pixels=pixels, rows=rows, labels=base.labels.repeat(2))
        self._held = [-1, -1]

    def draw(self, positions: Tensor, seen: int) -> Tensor:
        """Positions in `part` of the images at `positions` (batch,) in `base`, after `seen` examples of the run."""
        n = len(self.base)
        passes = torch.arange(seen, seen + len(positions)) // n
        for number in passes.unique().tolist():
            if self._held[number % 2] != number:
                self._fill(number)
                self._held[number % 2] = number
        return positions.to(self.base.rows.device) + passes.to(self.base.rows.device) % 2 * n

    def _fill(self, number: int) -> None:
        """Draw every image for a pass."""
        stream = seeding.generator(self.seed, f"augment/{number}")
        places = self.part.rows[number % 2 * len(self.base) :][: len(self.base)]
        for rows, into in zip(self.base.rows.split(_AT_A_TIME), places.split(_AT_A_TIME), strict=True):
            self.part.pixels[into] = warp(self.base.pixels[rows], self._grids(stream)[: len(rows)])

    def _grids(self, stream: torch.Generator) -> Tensor:
        height, width = self.base.pixels.shape[2:]
        if self.kind == "elastic":
            return elastic(2 * torch.rand(_AT_A_TIME, 2, height, width, generator=stream) - 1)
        draws = 2 * torch.rand(_AT_A_TIME, 4, generator=stream) - 1
        # Whole pixels, as torchvision's RandomAffine draws them.
        shifts = (draws[:, 1:3] * SHIFT * torch.tensor([width, height])).round()
        return affine(draws[:, 0] * DEGREES, shifts, 1 + draws[:, 3] * SCALE, (height, width))


@functools.lru_cache(maxsize=6)
def off_distribution(config: DataConfig, kind: str, device: torch.device) -> Examples:
    """The test images of a whole data set changed in one way; kept for the process's later runs."""
    return changed(splits.load(config, device).test, kind)


def changed(test: Examples, kind: str) -> Examples:
    """Test images that are rotated, shifted or noisy, in the same order and with the same labels.

    Each image has a draw of its own, from a stream that no run's seed changes: they are part of the benchmark.
    """
    stream = seeding.generator(0, f"off_distribution/{kind}")
    pixels = torch.cat([_pixels(test, rows, kind, stream) for rows in test.rows.split(_AT_A_TIME)])
    return replace(test, pixels=pixels, rows=torch.arange(len(test), device=test.rows.device))


def _pixels(test: Examples, rows: Tensor, kind: str, stream: torch.Generator) -> Tensor:
    pixels = test.pixels[rows]
    n, (height, width) = len(rows), pixels.shape[2:]
    if kind == "noisy":
        noise = torch.randn(pixels.shape, generator=stream).to(pixels.device)
        values = pixels + NOISY * test.about.std * test.about.scale * noise
        return values.round().clamp(0, 255).to(torch.uint8) if pixels.dtype == torch.uint8 else values
    draws = 2 * torch.rand(n, 2, generator=stream) - 1
    angles, shifts = torch.zeros(n), torch.zeros(n, 2)
    if kind == "rotated":
        angles = draws[:, 0] * ROTATED
    else:
        most = (torch.tensor([width, height]) * SHIFTED).round()
        shifts = (draws * (most + 0.5)).round().clamp(-most, most)
    return warp(pixels, affine(angles, shifts, torch.ones(n), (height, width)))

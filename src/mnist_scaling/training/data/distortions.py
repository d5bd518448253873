"""Images turned, moved and bent: torchvision's affine and elastic transforms with parameters of their own per image.

torchvision draws one set of parameters for a whole batch. Here every image of a batch has its own, and one call of
`grid_sample` applies them all. A grid holds, for each pixel of the new image, the place (x, y) in the old one that
it shows; -1 and 1 are the outer edges of the image.
"""

from __future__ import annotations

import functools
from math import exp

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


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

"""Test images from beside the distribution that a model was trained on: turned, moved, or noisy ones."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
from torch import Tensor

from mnist_scaling.config import DataConfig
from mnist_scaling.training import seeding
from mnist_scaling.training.data import distortions, splits
from mnist_scaling.training.data.splits import Examples

DEGREES = 30.0
"""rotated: the largest turn; turns are uniform up to it, both ways."""

SHIFT = 1 / 14
"""shifted: the largest move along each axis as a share of the side (2 of 28 pixels); whole pixels, uniform."""

NOISE = 1.0
"""noisy: standard deviation of the Gaussian noise in those of the training pixels; bytes stay within 0 to 255."""

_SEED = 0
"""The shifted test images are part of the benchmark, as the split is: no run's seed changes them."""

_AT_A_TIME = 1000


def part(config: DataConfig, kind: str, device: torch.device) -> Examples:
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
    stream = seeding.generator(_SEED, f"off_distribution/{kind}")
    pixels = torch.cat([_pixels(test, rows, kind, stream) for rows in test.rows.split(_AT_A_TIME)])
    return replace(test, pixels=pixels, rows=torch.arange(len(test), device=test.rows.device))


def _pixels(test: Examples, rows: Tensor, kind: str, stream: torch.Generator) -> Tensor:
    pixels = test.pixels[rows]
    n, (height, width) = len(rows), pixels.shape[2:]
    if kind == "noisy":
        noise = torch.randn(pixels.shape, generator=stream).to(pixels.device)
        values = pixels + NOISE * test.std * test.scale * noise
        return values.round().clamp(0, 255).to(torch.uint8) if pixels.dtype == torch.uint8 else values
    draws = 2 * torch.rand(n, 2, generator=stream) - 1
    angles, shifts = torch.zeros(n), torch.zeros(n, 2)
    if kind == "rotated":
        angles = draws[:, 0] * DEGREES
    else:
        most = (torch.tensor([width, height]) * SHIFT).round()
        shifts = (draws * (most + 0.5)).round().clamp(-most, most)
    return distortions.warp(pixels, distortions.affine(angles, shifts, torch.ones(n), (height, width)))

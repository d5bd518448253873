"""Wrong training labels: a share of them, nested in the share and in the number of images."""

from __future__ import annotations

import torch
from torch import Tensor

from mnist_scaling.training import seeding

_BLOCK = 200
"""Images among which the share is exact to one image."""


def wrong_labels(labels: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """Labels of a training subset of which a share is wrong.

    Image i of the subset's order has a threshold u_i in (0, 1), and its label is wrong when u_i < share. The
    thresholds of each block of 200 images lie evenly, so any subset has its share to about an image in a block. A
    wrong label is any of the other classes, each as likely. So a smaller share spoils some of the images that a larger
    one spoils, and a smaller subset is as noisy in the same images as the larger one that it lies in; for the same
    seed the wrong labels are the same ones.

    Parameters
    ----------
    labels : Tensor of shape (n,)
        In the order of the nested subsets (`data.subset`).
    share : float
        Of wrong labels, 0 <= share < 1.
    classes : int
        Number of classes.
    seed : int
        The run's.

    Returns
    -------
    Tensor of shape (n,), int64, on the device of `labels`
    """
    if share == 0:
        return labels
    stream = seeding.generator(seed, "label_noise")
    # Block by block from one stream, so that a smaller subset gets the beginning of a larger one's draws.
    blocks = [_block(stream, classes) for _ in range(-(-len(labels) // _BLOCK))]
    thresholds, shifts = (torch.cat(draws)[: len(labels)] for draws in zip(*blocks, strict=True))
    wrong = (labels + shifts.to(labels.device)) % classes
    return torch.where((thresholds < share).to(labels.device), wrong, labels)


def _block(stream: torch.Generator, classes: int) -> tuple[Tensor, Tensor]:
    """Thresholds, one in each of 200 equal parts of (0, 1), and steps from the right class to a wrong one."""
    places = torch.randperm(_BLOCK, generator=stream) + torch.rand(_BLOCK, generator=stream)
    return places / _BLOCK, torch.randint(1, classes, (_BLOCK,), generator=stream)

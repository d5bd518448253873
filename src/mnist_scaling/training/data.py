"""Images as bytes in shared memory: the fixed split, and nested class-balanced subsets of the training part."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mnist_scaling.config import DataConfig
from mnist_scaling.training import seeding, sources

_SPLIT_SEED = 0
"""The split is part of the benchmark, not of a run: no run's seed changes it."""


@dataclass(frozen=True)
class Part:
    """Some images of a data set: a list of row numbers into pixels that all parts share.

    Nothing is copied but the rows and the labels, so a part takes 16 bytes an image.
    """

    pixels: Tensor
    """Every image of the file, (N, channels, height, width), uint8; on the CPU it is the file itself, mapped."""
    rows: Tensor
    """Which of them are this part, (n,), int64."""
    labels: Tensor
    """Their classes, (n,), int64."""
    mean: float
    """Of the training pixels in [0, 1]."""
    std: float

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def shift(self) -> Tensor:
        """-mean / std on the pixels' device; made once, because making it waits for the device."""
        return torch.tensor(-self.mean / self.std, device=self.pixels.device)

    @property
    def images(self) -> Tensor:
        """All images of the part, (n, channels, height, width), float32, standardised; made anew at each call."""
        return self.pictures(self.rows)

    def pictures(self, rows: Tensor) -> Tensor:
        """The images (batch, channels, height, width) at `rows` of the pixels, float32, standardised."""
        return self.standardise(self.pixels[rows].float())

    def standardise(self, values: Tensor) -> Tensor:
        """x / (255 std) - mean / std of float pixels in [0, 255], in place."""
        return torch.add(self.shift, values, alpha=1 / (255 * self.std), out=values)

    def take(self, indices: Tensor) -> Part:
        """The examples at `indices`, in that order; no pixel is copied."""
        return replace(self, rows=self.rows[indices], labels=self.labels[indices])

    def head(self, n: int | None) -> Part:
        """The first `n` examples; all of them for None."""
        return self if n is None else replace(self, rows=self.rows[:n], labels=self.labels[:n])


@dataclass(frozen=True)
class Dataset:
    """The three parts of a data set; `test` never selects anything."""

    train: Part
    validation: Part
    test: Part
    classes: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return tuple(self.train.pixels.shape[1:])


@functools.lru_cache(maxsize=2)
def load(name: str, root: str, device: torch.device) -> Dataset:
    """A data set on a device, fetched if need be; kept for the process's later runs.

    On the CPU the pixels are the verified files, mapped: processes share one copy of them.

    Parameters
    ----------
    name : str
        mnist, fashion_mnist or kmnist.
    root : str
        Folder of the files.
    device : torch.device
        Where the tensors live.

    Returns
    -------
    Dataset
        As large as its `sources.DataSpec` says. Validation images are drawn from the training files, stratified.
    """
    spec = sources.spec(name)
    raw = sources.ensure(name, root)
    images, labels, test_images, test_labels = (sources.map_idx(raw / file) for file in sources.FILES)
    train_rows, validation_rows = (torch.from_numpy(rows) for rows in split(labels.numpy(), spec.n_validation))

    def part(pixels: Tensor, classes: Tensor, rows: Tensor) -> Part:
        return Part(pixels, rows.to(device), classes[rows].long().to(device), spec.mean, spec.std)

    pixels = images.unsqueeze(1).to(device)
    return Dataset(
        part(pixels, labels, train_rows),
        part(pixels, labels, validation_rows),
        part(test_images.unsqueeze(1).to(device), test_labels, torch.arange(len(test_labels))),
        spec.classes,
    )


def split(labels: np.ndarray, n_validation: int) -> tuple[np.ndarray, np.ndarray]:
    """Fixed stratified split of the training files: row numbers of the training and of the validation part.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Of the training files.
    n_validation : int
        Size of the validation part.

    Returns
    -------
    train, validation : ndarray
        n - n_validation and n_validation row numbers, disjoint, each part with the classes in the
        proportions of the whole.
    """
    order = stratified_order(labels, torch.Generator().manual_seed(_SPLIT_SEED))
    return np.sort(order[n_validation:]), np.sort(order[:n_validation])


def stratified_order(labels: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """A random order of all rows in which every prefix has the classes in the proportions of the whole.

    The image of rank r (from 0) among the n_c of its class stands at (r + 1/2) / n_c; rows are sorted
    by that, ties in random order. A prefix of length m holds m n_c / n images of class c, give or take
    one or two, and a shorter prefix lies inside a longer one.
    """
    shuffled = torch.randperm(len(labels), generator=generator).numpy()
    position = np.empty(len(labels))
    classes = labels[shuffled]
    for c in np.unique(classes):
        members = np.flatnonzero(classes == c)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(position, kind="stable")]


def n_train(config: DataConfig) -> int:
    """Unique training images of a run: `fraction` of all, or of `max_train` where that is less; at least 10."""
    available = sources.spec(config.name).n_train
    pool = available if config.max_train is None else min(available, config.max_train)
    return max(10, round(config.fraction * pool))


def subset(labels: Tensor, n: int, seed: int) -> Tensor:
    """Row numbers of the training subset of size `n`: a prefix of one stratified order a seed.

    For the same seed the subset of a smaller `n` lies inside that of a larger one.

    Parameters
    ----------
    labels : Tensor of shape (n_train,)
        Labels of the training part.
    n : int
        Size of the subset.
    seed : int
        The run's seed.

    Returns
    -------
    Tensor of shape (n,), int64, on the device of `labels`
    """
    order = stratified_order(labels.cpu().numpy(), seeding.generator(seed, "subset"))
    return torch.from_numpy(order[:n]).to(labels.device)


def validation_order(validation: Part) -> Tensor:
    """One fixed stratified order of the validation images: every prefix is a fair sample of them."""
    order = stratified_order(validation.labels.cpu().numpy(), torch.Generator().manual_seed(_SPLIT_SEED))
    return torch.from_numpy(order).to(validation.labels.device)


def prepare(config: DataConfig) -> Path:
    """Fetch the files of a run's data set before any run needs them; the folder they are in."""
    return sources.ensure(config.name, config.dir)

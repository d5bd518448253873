"""Images as bytes in shared memory: the fixed split, nested class-balanced subsets to train on, and wrong labels."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mnist_scaling.config import ARRAYS, DataConfig
from mnist_scaling.training import seeding
from mnist_scaling.training.data import arrays, sources
from mnist_scaling.training.data.sources import DataSpec

_SPLIT_SEED = 0
"""The split is part of the benchmark, not of a run: no run's seed changes it."""


@dataclass(frozen=True)
class Examples:
    """Some images of a data set: a list of row numbers into pixels that all parts share.

    Nothing is copied but the rows and the labels, so a part takes 16 bytes an image.
    """

    pixels: Tensor
    """Every image of the file, (N, channels, height, width), uint8, or float32 from arrays of one's own; MNIST's are
    on the CPU the file itself, mapped."""
    rows: Tensor
    """Which of them are this part, (n,), int64."""
    labels: Tensor
    """Their classes, (n,), int64."""
    about: DataSpec
    """Of the whole data set."""

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def shift(self) -> Tensor:
        """-mean / std on the pixels' device; made once, because making it waits for the device."""
        return torch.tensor(-self.about.mean / self.about.std, device=self.pixels.device)

    def pictures(self, rows: Tensor) -> Tensor:
        """The images (batch, channels, height, width) at `rows` of the pixels, float32, standardised."""
        return self.standardise(self.pixels[rows].float())

    def standardise(self, values: Tensor) -> Tensor:
        """x / (scale std) - mean / std of float pixels, in place."""
        return torch.add(self.shift, values, alpha=1 / (self.about.scale * self.about.std), out=values)

    def take(self, indices: Tensor) -> Examples:
        """The examples at `indices`, in that order; no pixel is copied."""
        return replace(self, rows=self.rows[indices], labels=self.labels[indices])

    def head(self, n: int | None) -> Examples:
        """The first `n` examples; all of them for None."""
        return self if n is None else replace(self, rows=self.rows[:n], labels=self.labels[:n])


@dataclass(frozen=True)
class Dataset:
    """The three parts of a data set; `test` never selects anything."""

    train: Examples
    validation: Examples
    test: Examples
    classes: int

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return tuple(self.train.pixels.shape[1:])


def load(config: DataConfig, device: torch.device) -> Dataset:
    """The whole data set of a run on a device, fetched if need be; kept for the process's later runs.

    On the CPU the pixels of a named data set are the verified files, mapped: processes share one copy of them.
    Validation images are drawn from the training files, stratified.
    """
    return _load(config.whole, device)


@functools.lru_cache(maxsize=2)
def _load(config: DataConfig, device: torch.device) -> Dataset:
    about = spec(config)

    def part(pixels: Tensor, labels: Tensor, rows: Tensor) -> Examples:
        return Examples(pixels, rows.to(device), labels[rows].long().to(device), about)

    if config.name == ARRAYS:
        file = arrays.read(config)
        shared = file.pixels.to(device)
        train, validation, test = (
            part(shared, file.labels, file.rows[name]) for name in (arrays.TRAIN, arrays.VALIDATION, arrays.TEST)
        )
        return Dataset(train, validation, test, about.classes)
    raw = sources.ensure(config.name, config.dir)
    images, labels, test_images, test_labels = (sources.map_idx(raw / file) for file in sources.FILES)
    split = seeding.stratified_split(labels.numpy(), (about.n_validation,), _SPLIT_SEED)
    validation_rows, train_rows = (torch.from_numpy(rows) for rows in split)
    pixels = images.unsqueeze(1).to(device)
    return Dataset(
        part(pixels, labels, train_rows),
        part(pixels, labels, validation_rows),
        part(test_images.unsqueeze(1).to(device), test_labels, torch.arange(len(test_labels))),
        about.classes,
    )


def spec(config: DataConfig) -> DataSpec:
    """What is known of a run's data set, of arrays from their file; InputError for an unknown name or a bad file."""
    return arrays.read(config).spec if config.name == ARRAYS else sources.known(config.name).spec


def label_names(config: DataConfig) -> str:
    """Whose class numbers they are; one's own arrays are known by the checksum of their file."""
    return f"{ARRAYS} {arrays.read(config).sha256[:12]}" if config.name == ARRAYS else config.name


def n_train(config: DataConfig) -> int:
    """Unique training images of a run: `fraction` of all, or of `max_train` if that is less; at least one per class."""
    about = spec(config)
    pool = about.n_train if config.max_train is None else min(about.n_train, config.max_train)
    return max(about.classes, round(config.fraction * pool))


def subset(labels: Tensor, n: int, seed: int) -> Tensor:
    """Row numbers (n,) of a training subset: the first of one stratified order per seed, so subsets are nested."""
    return _order(labels, seed)[:n]


@functools.lru_cache(maxsize=16)
def _order(labels: Tensor, seed: int | None) -> Tensor:
    """A seed's stratified order of all rows; the same tensor of labels gives it at once, as trials of one seed ask."""
    generator = torch.Generator().manual_seed(_SPLIT_SEED) if seed is None else seeding.generator(seed, "subset")
    return torch.from_numpy(seeding.stratified_order(labels.cpu().numpy(), generator)).to(labels.device)


def training_part(dataset: Dataset, n: int, config: DataConfig, seed: int) -> Examples:
    """What a run trains on: the subset of size `n` of its seed, with its share of wrong labels."""
    part = dataset.train.take(subset(dataset.train.labels, n, seed))
    return replace(part, labels=wrong_labels(part.labels, config.label_noise, dataset.classes, seed))


def fair_sample(validation: Examples, n: int) -> Examples:
    """The first `n` of the validation images in one fixed stratified order."""
    return validation.take(_order(validation.labels, None)[:n])


def prepare(config: DataConfig) -> DataConfig:
    """Fetch or check a run's data set before any run needs it; its configuration, with the checksum of arrays."""
    if config.name == ARRAYS:
        return replace(config, sha256=arrays.read(config).sha256)
    sources.ensure(config.name, config.dir)
    return config


_BLOCK = 200
"""Images among which the share is exact to one image."""


def wrong_labels(labels: Tensor, share: float, classes: int, seed: int) -> Tensor:
    """Labels (n,) of a training subset, in the order of `subset`, of which a share is wrong.

    Image i of the subset's order has a threshold u_i in (0, 1), and its label is wrong when u_i < share. The
    thresholds of each block of 200 images lie evenly, so any subset has its share to about an image in a block. A
    wrong label is any of the other classes, each as likely. So a smaller share spoils some of the images that a larger
    one spoils, and a smaller subset is as noisy in the same images as the larger one that it lies in; for the same
    seed the wrong labels are the same ones.
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

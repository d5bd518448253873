"""One's own images and labels: an .npz file that is checked, split and standardised, with nothing in it executed."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mnist_scaling.config import DataConfig, require
from mnist_scaling.errors import InputError
from mnist_scaling.training import seeding
from mnist_scaling.training.data.sources import DataSpec

TRAIN, VALIDATION, TEST = "training", "validation", "test"
"""Parts of a data set, in the words of an error."""

NAMES: Mapping[str, tuple[tuple[str, str], ...]] = {
    TRAIN: (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    VALIDATION: (("x_val", "y_val"), ("val_images", "val_labels")),
    TEST: (("x_test", "y_test"), ("test_images", "test_labels")),
}
"""Names of the images and of the labels of each part, of which a file has one pair: Keras', MedMNIST's, plain."""

_CHANNELS = (1, 3, 4)
"""A last dimension of this size, behind larger ones, is one of channels."""


@dataclass(frozen=True)
class Arrays:
    """A file of one's own, checked and split."""

    pixels: Tensor
    """Every image of the file, (N, channels, height, width), uint8 or float32."""
    labels: Tensor
    """Their classes, (N,), int64."""
    rows: Mapping[str, Tensor]
    """Which of them are each part, by `TRAIN`, `VALIDATION` and `TEST`."""
    spec: DataSpec
    """Its sizes, and mean and deviation of the training part's pixels."""
    sha256: str
    """Checksum of the file."""


def read(config: DataConfig) -> Arrays:
    """The file of a run with data=arrays; read once per process while it does not change.

    InputError tells that it can't be read or trained on, or has changed since the study began.
    """
    assert config.path is not None
    assert config.validation is not None
    assert config.test is not None
    assert config.split_seed is not None
    path = Path(config.path)
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"`data.path` must be an .npz file, but {path} can't be read ({error.strerror}).") from error
    shares = (config.validation, config.test)
    file = _read(path, (stat.st_mtime_ns, stat.st_size), shares, config.split_seed)
    require(
        config.sha256 in (None, file.sha256),
        f"A study must keep its data, but {path} has the sha256 {file.sha256[:12]}… and the study began with "
        f"{str(config.sha256)[:12]}…: put the old file back, or give the new study another `name=`.",
    )
    return file


@functools.lru_cache(maxsize=2)
def _read(path: Path, stamp: tuple[int, int], shares: tuple[float, float], seed: int) -> Arrays:
    del stamp  # a file that changes is read again
    sha256, arrays = _load(path)
    parts = {part: _part(part, names, arrays, path) for part, names in _pairs(arrays, path)}
    first = parts[TRAIN][0]
    for part, (images, _) in parts.items():
        require(
            images.shape[1:] == first.shape[1:] and images.dtype == first.dtype,
            f"All parts of {path} must have images of one shape and type, but the {part} images are "
            f"{images.shape[1:]} of {images.dtype} and the training images {first.shape[1:]} of {first.dtype}.",
        )
    classes = _classes(parts[TRAIN][1], path)
    rows = _split({part: labels for part, (_, labels) in parts.items()}, shares, seed)
    pixels = np.concatenate([images for images, _ in parts.values()])
    labels = np.concatenate([labels for _, labels in parts.values()])
    for part, chosen in rows.items():
        _check_part(part, labels, chosen, classes, path)
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    mean, std = _moments(pixels[rows[TRAIN]], scale, path)
    return Arrays(
        torch.from_numpy(pixels),
        torch.from_numpy(labels),
        {part: torch.from_numpy(chosen) for part, chosen in rows.items()},
        DataSpec(
            mean, std, tuple(pixels.shape[1:]), classes, len(rows[TRAIN]), len(rows[VALIDATION]), len(rows[TEST]), scale
        ),
        sha256,
    )


def _load(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Checksum and arrays of a file; what is hashed is what is read. An array of objects would be a pickle."""
    try:
        content = path.read_bytes()
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        require(isinstance(archive, np.lib.npyio.NpzFile), f"{path} must be an .npz file, but holds a single array.")
        arrays = {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, MemoryError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if "allow_pickle" in reason:
            reason = "it holds pickled objects, which could run any code"
        raise InputError(
            f"`data.path` must be an .npz file of plain arrays, but {path} is not ({reason}): write it by "
            "np.savez(path, images=…, labels=…) from arrays of numbers."
        ) from error
    return hashlib.sha256(content).hexdigest(), arrays


def _pairs(arrays: Mapping[str, np.ndarray], path: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each part that the file has, with the names of its arrays."""
    for part, candidates in NAMES.items():
        pairs = [pair for pair in candidates if arrays.keys() & set(pair)]
        if not pairs and part != TRAIN:
            continue
        require(
            len(pairs) == 1 and set(pairs[0]) <= arrays.keys(),
            f"{path} must hold the {part} images and labels under one pair of names "
            f"({', or '.join(' and '.join(pair) for pair in candidates)}), but it has "
            f"{', '.join(arrays) or 'nothing'}.",
        )
        yield part, pairs[0]


def _part(
    part: str, names: tuple[str, str], arrays: Mapping[str, np.ndarray], path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, channels, height, width), uint8 or float32, and labels (n,), int64, of one part."""
    images, labels = (arrays[name] for name in names)
    x, y = (f"`{name}` of {path}" for name in names)
    last = images.ndim == 4 and images.shape[3] in _CHANNELS and images.shape[1] not in _CHANNELS
    numbers = images.dtype == np.uint8 or images.dtype.kind == "f"
    require(
        numbers and images.ndim in (3, 4) and 0 not in images.shape and not last,
        "Images must be uint8 or float, (n, height, width) or (n, channels, height, width), but "
        f"{x} has the type {images.dtype} and the shape {images.shape}: convert, reshape or np.moveaxis it.",
    )
    if images.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is too large for float32 is found below
            images = images.astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(images.reshape(len(images), -1)).all(1))
        require(
            not len(bad),
            f"Pixels must be finite, but {len(bad)} images of {x} hold NaN or infinity, the first in row "
            f"{bad[0] if len(bad) else ''}: mend or remove them.",
        )
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    require(
        labels.shape == images.shape[:1] and labels.dtype.kind in "iu",
        f"Labels must be whole numbers, one for each of {len(images)} images, but {y} has the shape {labels.shape} and "
        f"the type {labels.dtype}: number the classes from 0.",
    )
    return images[:, None] if images.ndim == 3 else images, labels.astype(np.int64)


def _classes(labels: np.ndarray, path: Path) -> int:
    """Number of classes, K, of training labels that are 0 to K - 1."""
    present = np.unique(labels)
    require(
        len(present) >= 2 and (present == np.arange(len(present))).all(),
        f"Labels must be 0 to K - 1 for K classes, all of them in the training part and K at least 2, but those of "
        f"{path} are {len(present)} values from {present[0]} to {present[-1]}: number the classes anew.",
    )
    return len(present)


def _split(labels: Mapping[str, np.ndarray], shares: tuple[float, float], seed: int) -> dict[str, np.ndarray]:
    """Rows of each part in the file's arrays one behind the other; parts that it lacks are cut off the training part.

    A share s of the n training examples of the file is round(s n) examples, drawn stratified.
    """
    own = labels[TRAIN]
    lacking = {part: share for part, share in zip((VALIDATION, TEST), shares, strict=True) if part not in labels}
    sizes = tuple(round(share * len(own)) for share in lacking.values())
    rows = dict(zip((*lacking, TRAIN), seeding.stratified_split(own, sizes, seed), strict=True))
    start = len(own)
    for part in (VALIDATION, TEST):
        if part in labels:
            rows[part] = np.arange(start, start + len(labels[part]))
            start += len(labels[part])
    return rows


def _check_part(part: str, labels: np.ndarray, rows: np.ndarray, classes: int, path: Path) -> None:
    """Every class needs an example to be learnt from and one to be judged by."""
    counts = np.bincount(labels[rows].clip(-1, classes) + 1, minlength=classes + 2)
    require(
        counts[0] == counts[-1] == 0,
        f"Labels must be those of the training part, 0 to {classes - 1}, but the {part} part of {path} has others.",
    )
    rare = int(counts[1:-1].argmin())
    require(
        counts[1 + rare] > 0,
        f"Every class must have an example in every part, but class {rare} of {path}, with "
        f"{(labels == rare).sum()} examples, has none in the {part} part: add examples"
        + (f", or raise `data.{part}`." if part != TRAIN else ", or lower `data.validation` and `data.test`."),
    )


def _moments(pixels: np.ndarray, scale: float, path: Path) -> tuple[float, float]:
    """Mean and standard deviation of pixels over `scale`, to six digits: more differ between machines."""
    mean, std = (float(f"{value / scale:.6g}") for value in (pixels.mean(dtype=float), pixels.std(dtype=float)))
    require(std > 0, f"Images must differ, but every pixel of the training part of {path} is {mean * scale:g}.")
    return mean, std

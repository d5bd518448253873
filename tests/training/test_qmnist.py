"""QMNIST from a fixture in its own file format: MNIST's images stand in for its digits, which can't be fetched here."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.training import loop
from mnist_scaling.training.data import download_sites, sources, splits
from mnist_scaling.training.data.download_sites import QMNIST_FILES

CPU = torch.device("cpu")


def write_labels(path: Path, labels: np.ndarray) -> None:
    """QMNIST's table: int32, (n, 8), big-endian; class, series, writer, digit, NIST's class, index, and two zeros."""
    table = np.zeros((len(labels), 8), ">i4")
    table[:, 0] = labels
    table[:, 2] = np.arange(len(labels)) % 3500
    path.write_bytes(struct.pack(">BBBB2I", 0, 0, 12, 2, *table.shape) + table.tobytes())


@pytest.fixture(scope="module")
def arrays(data_dir: str) -> dict[str, np.ndarray]:
    raw = sources.ensure("mnist", data_dir)
    images, labels, test_images, test_labels = (sources.map_idx(raw / file).numpy() for file in sources.FILES)
    return {
        "train": images, "train_labels": labels,
        # 10,000 of MNIST's, then 50,000 others: the training images upside down, which no image of MNIST is.
        "test": np.concatenate([test_images, images[:50_000, ::-1]]),
        "test_labels": np.concatenate([test_labels, labels[:50_000]]),
    }  # fmt: skip


@pytest.fixture(scope="module")
def root(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("qmnist")
    raw = folder / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, names in (("train", QMNIST_FILES[:2]), ("test", QMNIST_FILES[2:])):
        download_sites.write_idx(raw / names[0], arrays[part])
        write_labels(raw / names[1], arrays[f"{part}_labels"])
    yield folder
    shutil.rmtree(folder)  # 190 MB


def test_its_further_digits_are_training_images(root: Path, arrays: dict[str, np.ndarray]) -> None:
    config = DataConfig("qmnist", dir=str(root))
    assert splits.n_train(config) == 100_000
    dataset = splits.load(config, CPU)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (100_000, 10_000, 10_000)
    assert np.array_equal(dataset.test.pixels[dataset.test.rows, 0], arrays["test"][:10_000])
    assert dataset.test.labels.tolist() == arrays["test_labels"][:10_000].tolist()
    rows = torch.cat([dataset.train.rows, dataset.validation.rows]).sort().values
    assert torch.equal(rows, torch.arange(110_000))
    whole = dataset.train.pixels[:, 0].numpy()
    assert np.array_equal(whole[:60_000], arrays["train"])
    assert np.array_equal(whole[60_000:], arrays["test"][10_000:])
    classes = np.concatenate([arrays["train_labels"], arrays["test_labels"][10_000:]])
    assert np.array_equal(dataset.train.labels.numpy(), classes[dataset.train.rows.numpy()])


def test_a_run_sees_a_hundred_thousand_of_them(root: Path) -> None:
    run = RunConfig(
        device="cpu", model=ModelConfig(width=1), data=DataConfig("qmnist", dir=str(root), max_eval=100),
        optim=OptimConfig(batch_size=512),
    )  # fmt: skip
    result = loop.train_model(run)
    assert (result.state, result.n_train, result.n_seen) == ("COMPLETE", 100_000, 100_000)


def test_files_of_another_shape_are_refused_and_its_own_are_asked_for(tmp_path: Path) -> None:
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for names in (QMNIST_FILES[:2], QMNIST_FILES[2:]):
        download_sites.write_idx(raw / names[0], np.zeros((20, 28, 28), np.uint8))
        write_labels(raw / names[1], np.zeros(20, int))
    with pytest.raises(
        InputError,
        match=r"The files of qmnist must be in .*QMNIST/raw, but no source answered "
        r"\(torchvision's mirrors: QMNIST's train files must hold 60,000 digits with 8 numbers each, but hold "
        r"\(\(20, 28, 28\), \(20, 8\)\)\): put qmnist-train-images-idx3-ubyte, .* there by hand, unpacked\.",
    ):
        sources.ensure("qmnist", tmp_path)

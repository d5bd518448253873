from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mnist_scaling.config import DataConfig
from mnist_scaling.training import seeding
from mnist_scaling.training.data import sources, splits


@pytest.fixture(scope="module")
def mnist(data_dir: str) -> splits.Dataset:
    return splits.load(DataConfig(dir=data_dir), torch.device("cpu"))


def test_split_sizes_and_class_counts(mnist: splits.Dataset) -> None:
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (50_000, 10_000, 10_000)
    counts = mnist.validation.labels.bincount().numpy()
    whole = counts + mnist.train.labels.bincount().numpy()
    assert np.abs(counts - whole / 6).max() < 1  # stratified: a sixth of every class


def test_split_is_disjoint_and_complete(data_dir: str) -> None:
    labels = sources.map_idx(sources.ensure("mnist", data_dir) / sources.FILES[1]).numpy()
    validation, train = seeding.stratified_split(labels, (10_000,), 0)
    assert sorted([*train, *validation]) == list(range(60_000))


def test_test_part_is_the_test_files_in_order(mnist: splits.Dataset, data_dir: str) -> None:
    labels = sources.map_idx(sources.ensure("mnist", data_dir) / sources.FILES[3])
    assert mnist.test.labels.tolist() == labels.tolist()


def test_parts_share_the_mapped_file(mnist: splits.Dataset, data_dir: str) -> None:
    """No part holds pixels of its own, and the pixels lie in the file's pages, not in this process's memory."""
    part = mnist.train.take(torch.arange(0, 50_000, 7)).head(100)
    assert part.pixels.data_ptr() == mnist.train.pixels.data_ptr() == mnist.validation.pixels.data_ptr()
    address = part.pixels.data_ptr()
    spans = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    (backed,) = [s for s in spans if int(s[0].split("-")[0], 16) <= address < int(s[0].split("-")[1], 16)]
    assert backed[-1].endswith("train-images-idx3-ubyte")


def test_a_part_of_a_part_is_the_same_images(mnist: splits.Dataset, data_dir: str) -> None:
    raw = sources.ensure("mnist", data_dir)
    images = np.frombuffer((raw / sources.FILES[0]).read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.frombuffer((raw / sources.FILES[1]).read_bytes(), np.uint8, offset=8)
    order = torch.randperm(50_000, generator=torch.Generator().manual_seed(1))
    part = mnist.train.take(order[:500]).head(300).take(torch.arange(299, -1, -3))
    rows = seeding.stratified_split(labels, (10_000,), 0)[1][order[:300].numpy()][::-3]
    np.testing.assert_allclose(
        part.pictures(part.rows)[:, 0], (images[rows] / 255 - 0.1307) / 0.3081, rtol=0, atol=1e-6
    )
    assert part.labels.tolist() == labels[rows].tolist()


def test_images_are_standardised(mnist: splits.Dataset) -> None:
    assert mnist.image_shape == (1, 28, 28)
    assert mnist.train.pictures(mnist.train.rows).mean().item() == pytest.approx(0, abs=2e-3)
    assert mnist.train.pictures(mnist.train.rows).std().item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("seed", [0, 7])
def test_subsets_are_nested_and_class_balanced(mnist: splits.Dataset, seed: int) -> None:
    labels = mnist.train.labels
    shares = labels.bincount() / len(labels)
    smaller: set[int] = set()
    for n in (100, 781, 3125, 6250, 12_500, 50_000):
        rows = splits.subset(labels, n, seed)
        assert len(set(rows.tolist())) == n
        assert smaller <= set(rows.tolist())
        assert (labels[rows].bincount(minlength=10) - n * shares).abs().max() <= 1.0
        smaller = set(rows.tolist())


def test_the_seed_decides_the_subset(mnist: splits.Dataset) -> None:
    same = [set(splits.subset(mnist.train.labels, 781, 3).tolist()) for _ in range(2)]
    other = set(splits.subset(mnist.train.labels, 781, 4).tolist())
    assert same[0] == same[1]
    assert len(same[0] & other) < 100  # 781 * 781 / 50,000 = 12 are expected by chance


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DataConfig(fraction=1.0), 50_000),
        (DataConfig(fraction=1 / 64), 781),
        (DataConfig(fraction=0.5, max_train=2048), 1024),
        (DataConfig(fraction=1e-6), 10),
    ],
)
def test_n_train(config: DataConfig, expected: int) -> None:
    assert splits.n_train(config) == expected

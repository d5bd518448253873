"""Wrong training labels: how many, which, nested, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.training import loop
from mnist_scaling.training.data import splits
from mnist_scaling.training.data.splits import wrong_labels

CPU = torch.device("cpu")
RIGHT = torch.arange(50_000) % 10


def wrong(share: float, n: int = 50_000, seed: int = 0) -> torch.Tensor:
    return wrong_labels(RIGHT[:n], share, 10, seed)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.05, 0.2, 0.35, 0.99])
@pytest.mark.parametrize("n", [200, 781, 3125, 50_000])
def test_the_share_is_that_of_wrong_labels(share: float, n: int) -> None:
    count = int((wrong(share, n) != RIGHT[:n]).sum())
    whole = n // 200 * 200
    assert count - share * n == pytest.approx(0, abs=25 if n > whole else 1e-9)  # the last block may be incomplete


def test_a_share_between_two_images_is_met_on_average() -> None:
    assert (wrong(0.123) != RIGHT).float().mean() == pytest.approx(0.123, abs=1e-3)


def test_smaller_shares_and_smaller_subsets_are_nested() -> None:
    smaller = wrong(0.1)
    spoilt = smaller != RIGHT
    for share in (0.2, 0.5):
        larger = wrong(share)
        assert torch.equal(larger[spoilt], smaller[spoilt])
        spoilt, smaller = larger != RIGHT, larger
    for n in (10, 781, 12_345):
        assert torch.equal(wrong(0.3, n), wrong(0.3)[:n])


def test_every_other_class_is_as_likely() -> None:
    labels = wrong(0.5)
    steps = ((labels - RIGHT) % 10).bincount(minlength=10)
    assert steps[0] == 25_000
    assert steps[1:].float().std() < 3 * (25_000 / 9) ** 0.5
    assert steps[1:].min() > 0.9 * 25_000 / 9


def test_the_seed_decides() -> None:
    assert torch.equal(wrong(0.3, seed=4), wrong(0.3, seed=4))
    both = (wrong(0.3, seed=4) != RIGHT) & (wrong(0.3, seed=5) != RIGHT)
    assert both.float().mean() == pytest.approx(0.09, abs=0.01)


def test_validation_and_test_labels_stay_right(data_dir: str) -> None:
    clean, noisy = (splits.load(DataConfig(dir=data_dir, label_noise=share), CPU) for share in (0.0, 0.5))
    assert torch.equal(noisy.validation.labels, clean.validation.labels)
    assert torch.equal(noisy.test.labels, clean.test.labels)
    part = splits.training_part(noisy, 1000, DataConfig(dir=data_dir, label_noise=0.5), 3)
    rows = splits.subset(clean.train.labels, 1000, 3)
    assert torch.equal(part.rows, clean.train.rows[rows])
    assert (part.labels != clean.train.labels[rows]).sum() == 500
    # The tensors of the data set itself are untouched, for the runs that follow in this process.
    assert torch.equal(noisy.train.labels, clean.train.labels)


def test_runs_that_differ_in_what_they_make_of_the_images_share_one_copy() -> None:
    changed = DataConfig(fraction=0.5, max_eval=10, label_noise=0.1, augment="affine", off_distribution=("noisy",))
    assert changed.whole == DataConfig()


def test_a_model_learns_the_share(data_dir: str) -> None:
    """Whoever says of each image what its label is, rightly, gives the right class 1 - q: a test loss of -ln(1 - q)."""
    run = RunConfig(
        device="cpu", model=ModelConfig(width=4), optim=OptimConfig(lr=5e-3, batch_size=32),
        data=DataConfig(fraction=0.25, dir=data_dir, max_eval=2000, label_noise=0.4),
    )  # fmt: skip
    noisy, clean = (loop.train_model(replace(run, data=replace(run.data, label_noise=q))) for q in (0.4, 0.0))
    assert clean.test_loss is not None
    assert noisy.test_loss is not None
    assert noisy.train_loss is not None
    assert clean.test_loss < 0.4
    assert -log(1 - 0.4) * 0.95 < noisy.test_loss < 1.2
    entropy = -0.6 * log(0.6) - 0.4 * log(0.4 / 9)
    assert noisy.train_loss > 0.95 * entropy  # scored with the labels that it was trained on


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_must_be_one(share: float) -> None:
    with pytest.raises(InputError, match=r"`0 <= data.label_noise < 1` must hold, but got .*: give a share"):
        DataConfig(label_noise=share)

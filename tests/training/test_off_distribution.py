"""Scores on changed test images: what is done to them, and that nothing is selected by them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig, TrialConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import OFF_DISTRIBUTION, OFF_DISTRIBUTION_COLUMNS
from mnist_scaling.training import loop, seeding
from mnist_scaling.training.data import distortions, splits

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(data_dir: str) -> splits.Examples:
    return splits.load(DataConfig(dir=data_dir), CPU).test.head(1500)


def test_images_are_turned_by_up_to_30_degrees(images: splits.Examples) -> None:
    found = distortions.changed(images, "rotated")
    stream = seeding.generator(0, "off_distribution/rotated")
    angles = torch.cat([2 * torch.rand(n, 2, generator=stream)[:, 0] - 1 for n in (1000, 500)]) * 30
    assert angles.min() < -28
    assert angles.max() > 28
    for i in (0, 7, 1200):
        image = images.pixels[images.rows[i]]
        one = functional.affine(image, angles[i].item(), [0, 0], 1.0, [0.0], v2.InterpolationMode.BILINEAR)
        assert (found.pixels[i].float() - one.float()).abs().max() <= 1


def test_images_are_moved_by_whole_pixels_up_to_a_fourteenth(images: splits.Examples) -> None:
    found = distortions.changed(images, "shifted")
    moves = []
    for i in range(60):
        image = images.pixels[images.rows[i], 0]
        fits = [
            (dx, dy)
            for dx in range(-3, 4)
            for dy in range(-3, 4)
            if torch.equal(torch.roll(image, (dy, dx), (0, 1)), found.pixels[i, 0])
        ]
        moves += fits
    assert len(moves) >= 55  # an image whose ink is cut off at the border fits no move
    assert {x for move in moves for x in move} == {-2, -1, 0, 1, 2}


def test_sides_that_a_fourteenth_does_not_divide_are_moved_by_whole_pixels_too(images: splits.Examples) -> None:
    low = replace(images, pixels=images.pixels[images.rows[:50], :, :20], rows=torch.arange(50))
    found = distortions.changed(low, "shifted").pixels
    values = [set(image.unique().tolist()) for image in (*found, *low.pixels)]
    assert all(after <= before | {0} for after, before in zip(values[:50], values[50:], strict=True))


def test_noise_has_the_deviation_of_the_training_pixels(images: splits.Examples) -> None:
    found = distortions.changed(images, "noisy")
    assert found.pixels.dtype == torch.uint8
    before, after = images.pixels[images.rows].float(), found.pixels.float()
    middle = (before > 100) & (before < 150)  # where few values are cut off
    assert (after - before)[middle].std() == pytest.approx(0.3081 * 255, rel=0.15)
    floats = replace(images, pixels=images.pixels.float() / 255, about=replace(images.about, scale=1.0))
    changed = distortions.changed(floats, "noisy").pixels - floats.pixels[floats.rows]
    assert changed.std() == pytest.approx(0.3081, rel=0.01)
    assert changed.mean() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("kind", OFF_DISTRIBUTION)
def test_an_image_is_changed_in_one_way_whatever_is_scored_beside_it(images: splits.Examples, kind: str) -> None:
    whole, few = distortions.changed(images, kind), distortions.changed(images.head(40), kind)
    again = distortions.changed(images, kind)
    assert torch.equal(whole.pixels, again.pixels)
    assert torch.equal(whole.labels, images.labels)
    if kind == "rotated":
        assert not torch.equal(few.pixels, images.pixels[images.rows[:40]])
    assert whole.about == images.about


@pytest.fixture
def run(data_dir: str) -> RunConfig:
    return RunConfig(
        device="cpu",
        model=ModelConfig(width=4),
        data=DataConfig(fraction=1 / 16, dir=data_dir, max_eval=1000, off_distribution=OFF_DISTRIBUTION),
        optim=OptimConfig(lr=1e-2, batch_size=16),
    )


def test_a_run_has_its_scores_and_is_otherwise_the_same_run(run: RunConfig) -> None:
    result = loop.train_model(run)
    plain = loop.train_model(replace(run, data=replace(run.data, off_distribution=())))
    assert tuple(result.off_distribution) == OFF_DISTRIBUTION_COLUMNS
    assert plain.off_distribution == {}
    assert replace(result, off_distribution={}) == plain
    assert result.test_loss is not None
    assert all(result.off_distribution[f"test_loss_{kind}"] > result.test_loss for kind in OFF_DISTRIBUTION)
    one = loop.train_model(replace(run, data=replace(run.data, off_distribution=("noisy",))))
    assert one.off_distribution == {k: v for k, v in result.off_distribution.items() if k.endswith("noisy")}


def test_a_trial_sees_none_of_it(run: RunConfig) -> None:
    assert loop.train_model(replace(run, trial=TrialConfig(stage="trial"))).off_distribution == {}


def test_branches_have_scores_of_their_own(run: RunConfig) -> None:
    config = replace(run, regime=RegimeConfig("wsd", branches=(0.5, 1.0)), optim=replace(run.optim, schedule="wsd"))
    result = loop.train_model(config)
    losses = [branch["test_loss_rotated"] for branch in result.branches]
    assert losses[1] < losses[0]
    assert result.off_distribution == {}


def test_kinds_are_known() -> None:
    message = "`data.off_distribution` must be one of rotated, shifted, noisy, but got 'blurred'"
    with pytest.raises(InputError, match=message):
        DataConfig(off_distribution=("blurred",))
    with pytest.raises(InputError, match="`data.augment` must be one of none, affine, elastic, but got 'cutout'"):
        DataConfig(augment="cutout")

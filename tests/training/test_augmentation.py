"""Augmented images: torchvision's transforms, one draw per example, whatever engine or batch sees them."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig, TrialConfig
from mnist_scaling.training import loop, models, regimes, scoring, seeding
from mnist_scaling.training.data import distortions, splits
from mnist_scaling.training.data.distortions import Augmenter
from mnist_scaling.training.regimes import wsd
from mnist_scaling.training.regimes.passes import fall
from tests.training.engines import chosen, use_plain_ones

CPU = torch.device("cpu")
KINDS = ("affine", "elastic")
REGIMES = {
    "single_epoch": RegimeConfig(),
    "repeat": RegimeConfig("repeat", epochs=3),
    "isoflop": RegimeConfig("isoflop", flops=1e8),
    "early_stopping": RegimeConfig("early_stopping", patience=2, max_epochs=4),
    "wsd": RegimeConfig("wsd", branches=(0.25, 0.5, 1.0)),
}


@pytest.fixture
def run(data_dir: str) -> RunConfig:
    return RunConfig(
        device="cpu",
        model=ModelConfig(width=2, dropout=0.1),
        data=DataConfig(fraction=1 / 64, dir=data_dir, max_eval=300, augment="affine", label_noise=0.1),
        optim=OptimConfig(lr=1e-2, batch_size=32),
        trial=TrialConfig(stage="repeat"),
    )


def under(run: RunConfig, name: str) -> RunConfig:
    schedule = "wsd" if name in ("early_stopping", "wsd") else "cosine"
    return replace(run, regime=REGIMES[name], optim=replace(run.optim, schedule=schedule))


@pytest.fixture(scope="module")
def base(data_dir: str) -> splits.Examples:
    return splits.load(DataConfig(dir=data_dir), CPU).train.head(100)


# The transforms are torchvision's


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_affine_is_torchvisions(base: splits.Examples, dtype: torch.dtype) -> None:
    images = base.pixels[base.rows[:6], :, :20].to(dtype)  # 20 x 28: height and width play different parts
    angles, scales = torch.tensor([0.0, 10, -90, 33, 7, 5]), torch.tensor([1.0, 1, 1, 0.8, 1.1, 1.3])
    shifts = torch.tensor([[3.0, 0], [0, -2], [0, 0], [1, 2], [-3, 4], [0, 1]])
    found = distortions.warp(images, distortions.affine(angles, shifts, scales, (20, 28)))
    assert found.dtype == dtype
    for i, image in enumerate(images):
        one = functional.affine(
            image, angles[i].item(), shifts[i].tolist(), scales[i].item(), [0.0], v2.InterpolationMode.BILINEAR
        )
        assert (found[i].float() - one.float()).abs().max() <= (1 if dtype == torch.uint8 else 1e-2)
    assert (found[0, 0, :, 3:].float() - images[0, 0, :, :-3].float()).abs().max() < 1e-2  # 3 pixels to the right


@pytest.mark.parametrize("shape", [(28, 28), (40, 20)])
def test_elastic_is_torchvisions(shape: tuple[int, int]) -> None:
    height, width = shape
    noise = 2 * torch.rand(3, 2, height, width, generator=torch.Generator().manual_seed(0)) - 1
    images = torch.rand(3, 1, height, width, generator=torch.Generator().manual_seed(1))
    found = distortions.warp(images, distortions.elastic(noise))
    blurred = functional.gaussian_blur(noise, [33, 33], [4.0, 4.0])
    moved = blurred.permute(0, 2, 3, 1) * torch.tensor([68 / width, 68 / height])
    for i, image in enumerate(images):
        one = functional.elastic(image, moved[i : i + 1], v2.InterpolationMode.BILINEAR)
        torch.testing.assert_close(found[i], one, rtol=0, atol=1e-4)
    assert 0.3 < (moved[..., 0] * width / 2).std() < 3  # pixels


def test_images_smaller_than_the_blur_can_be_bent() -> None:
    noise = 2 * torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(0)) - 1
    grids = distortions.elastic(noise)
    assert grids.isfinite().all()
    blurred = grids - distortions.elastic(torch.zeros(1, 2, 8, 8))
    assert blurred.abs().max() <= 68 / 8  # a weighted mean of numbers in [-1, 1]


# The draws


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_depends_on_the_seed_and_on_the_examples_number_alone(base: splits.Examples, kind: str) -> None:
    order = torch.randperm(100, generator=torch.Generator().manual_seed(3)).repeat(4)  # 400: more than one chunk

    def drawn(batch: int, seed: int = 5) -> torch.Tensor:
        one = Augmenter(base, kind, seed)
        images = []
        for start in range(0, 400, batch):
            places = one.draw(order[start : start + batch], start)
            assert torch.equal(one.part.labels[places], base.labels[order[start : start + batch]])
            images.append(one.part.pixels[one.part.rows[places]])
        return torch.cat(images)

    by_100 = drawn(100)
    assert by_100.dtype == torch.uint8
    assert torch.equal(by_100, drawn(7))
    assert not torch.equal(by_100, drawn(100, seed=6))
    first, second = by_100[:100], by_100[100:200]
    assert (first != second).flatten(1).any(1).float().mean() > 0.9  # each pass has draws of its own
    far = (first.float() - base.pixels[base.rows[order[:100]]].float()).abs().mean()
    assert 5 < far < 60


def test_going_back_gives_the_same_draws(base: splits.Examples) -> None:
    one = Augmenter(base, "affine", 0)
    rows = torch.arange(10)
    before = one.part.pixels[one.part.rows[one.draw(rows, 40)]]
    one.draw(rows, 5000)
    assert torch.equal(one.part.pixels[one.part.rows[one.draw(rows, 40)]], before)


@pytest.mark.parametrize("later", [100, 256, 512])
def test_draws_do_not_repeat(base: splits.Examples, later: int) -> None:
    one, rows = Augmenter(base, "affine", 0), torch.arange(10)
    first, second = (one.part.pixels[one.part.rows[one.draw(rows, seen)]] for seen in (0, later))
    assert (first != second).flatten(1).any(1).sum() >= 9


def test_a_batch_across_two_passes_has_both_draws_of_an_image(base: splits.Examples) -> None:
    few = base.head(10)
    one = Augmenter(few, "affine", 0)
    regime = regimes.build(RunConfig(regime=RegimeConfig("repeat", epochs=5)), 1)
    seen, twice = 0, 0
    for rows in regime.batches(10, 8, torch.Generator().manual_seed(0)):  # type: ignore[attr-defined]
        places = one.draw(rows, seen)
        assert len(places.unique()) == len(places)
        assert torch.equal(places % 10, rows)
        twice += len(rows) - len(rows.unique())
        seen += len(rows)
    assert twice > 0


# Runs


@pytest.mark.parametrize("name", REGIMES)
def test_counts_are_those_of_base_images_and_base_passes(run: RunConfig, name: str) -> None:
    run = under(run, name)
    plain = loop.train_model(replace(run, data=replace(run.data, augment="none")))
    for kind in KINDS:
        result = loop.train_model(replace(run, data=replace(run.data, augment=kind)))
        assert result.val_loss != plain.val_loss
        assert result.n_train == plain.n_train
        assert result.epochs == result.n_seen / result.n_train
        assert result.flops / result.n_seen == plain.flops / plain.n_seen
        if name != "early_stopping":  # which ends where its losses say so
            assert (result.n_seen, result.steps, result.flops_spent) == (plain.n_seen, plain.steps, plain.flops_spent)


def test_the_step_by_hand_and_autograd_see_the_same_images(run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    run = replace(run, model=replace(run.model, dropout=0.0))
    by_hand = loop.train_model(run)
    use_plain_ones(monkeypatch)
    assert loop.train_model(run).val_loss == pytest.approx(by_hand.val_loss, rel=1e-3)


def test_the_training_loss_is_that_of_the_images_as_they_are(run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, scored = splits.load(run.data, CPU), []
    score = scoring.score
    monkeypatch.setattr(scoring, "score", lambda model, whole, part, config: (
        scored.append(part), score(model, whole, part, config))[1])  # fmt: skip
    loop.train_model(run)
    (part,) = scored
    assert part.pixels.data_ptr() == dataset.train.pixels.data_ptr()
    rows = dataset.train.rows[splits.subset(dataset.train.labels, 781, run.seed)]
    assert torch.equal(part.rows, rows)


def test_a_branch_is_the_run_that_was_decayed_alone(run: RunConfig) -> None:
    """The second branch against a model trained by hand on its images alone, with the draws of its own examples."""
    run = under(replace(run, model=replace(run.model, dropout=0.0)), "wsd")
    branch = loop.train_model(run).branches[1]
    dataset = splits.load(run.data, CPU)
    order = wsd.in_stretches([195, 390, 781], seeding.generator(run.seed, "order"))[:390]
    augmenter = Augmenter(splits.training_part(dataset, 390, run.data, run.seed), "affine", run.seed)
    with seeding.global_stream(run.seed, "init", CPU):
        model = models.build(run.model, (1, 28, 28), 10)
    engine = chosen(model.train(), augmenter.part, run.optim)
    warm = run.optim.warmup * ceil(195 / 32)
    batches = order.split(32)
    for i, rows in enumerate(batches):
        decayed = max(0.0, ((i + 0.5) / len(batches) - (1 - run.optim.decay)) / run.optim.decay)
        factor = fall(decayed, "sqrt") if decayed else min(1.0, (i + 0.5) / warm)
        engine.step(augmenter.draw(rows, 32 * i), run.optim.lr * factor)
    assert scoring.evaluate(model, dataset.validation.head(300))[0] == branch["val_loss"]


def test_a_run_to_an_earlier_branch_gives_the_same_branches(run: RunConfig) -> None:
    config = under(run, "wsd")
    whole = loop.train_model(config)
    short = loop.train_model(replace(config, regime=replace(config.regime, last=0.5)))
    assert short.branches == whole.branches[:2]


def test_the_stream_of_draws_is_no_other_stream() -> None:
    purposes = ("init", "order", "dropout", "subset", "label_noise", "augment/0", "augment/1")
    assert len({seeding.stream_seed(0, purpose) for purpose in purposes}) == len(purposes)

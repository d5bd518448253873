"""The gradient noise scale: problems whose G and S are known, and real runs that it must leave as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig, TrialConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import GRADIENT_NOISE_COLUMNS
from mnist_scaling.training import cost, loop
from mnist_scaling.training.data.splits import Examples
from mnist_scaling.training.regimes import wsd
from mnist_scaling.training.run import gradient_noise
from mnist_scaling.training.run.gradient_noise import GradientNoise, GradientNoiseRecorder, is_due
from mnist_scaling.training.run.run import Run

SCALE, SQUARED, VARIANCE = GRADIENT_NOISE_COLUMNS


def unbiased(values: list[float], truth: float, precise: float) -> None:
    """Their mean is the truth within four standard errors, which are small enough to tell."""
    se = np.std(values, ddof=1) / np.sqrt(len(values))
    assert se < precise * truth
    assert abs(np.mean(values) - truth) < 4 * se


def test_linear_regression_whose_noise_is_known() -> None:
    """Loss (x d - e)^2 / 2 with x ~ N(0, I_p), e ~ N(0, s^2), d = w - w*: G = d, tr(S) = (p + 1) |d|^2 + p s^2."""
    p, small, k, s = 5, 4, 16, 2.0
    d = torch.linspace(-0.5, 0.7, p, dtype=torch.float64)
    random = torch.Generator().manual_seed(20261127)
    found, naive = [], []
    for _ in range(3000):
        x = torch.randn(k, small, p, generator=random, dtype=torch.float64)
        error = x @ d - s * torch.randn(k, small, generator=random, dtype=torch.float64)
        gradients = (x * error[..., None]).mean(dim=1)
        of_large = float(gradients.mean(dim=0).square().sum())
        found.append(gradient_noise.of_norms(small, float(gradients.square().sum(1).mean()), small * k, of_large))
        naive.append(of_large)
    squared = float(d.square().sum())
    unbiased([one.norm_squared for one in found], squared, precise=0.02)
    unbiased([one.variance for one in found], (p + 1) * squared + p * s**2, precise=0.02)
    assert np.mean(naive) > 1.2 * squared  # what the correction is for


class Linear(nn.Module):
    """Logits W x + b, at zero."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, classes)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, images_BxCxHxW: Tensor) -> Tensor:
        return self.layer(images_BxCxHxW.flatten(1))


def test_a_linear_model_at_zero_whose_noise_is_known() -> None:
    """K classes around centres m_k with noise s: |G|^2 = sum |m_k - m|^2 / K^2, and one example's gradient has
    E|g|^2 = (1 - 1 / K) (1 + p s^2 + mean |m_k|^2).
    """
    classes, p, n, s = 4, 6, 160, 1.5
    random = torch.Generator().manual_seed(1)
    centres = torch.randn(classes, p, generator=random)
    found = []
    for seed in range(300):
        labels = torch.randint(classes, (n,), generator=random)
        pixels = (centres[labels] + s * torch.randn(n, p, generator=random)).reshape(n, 1, 2, 3)
        part = Examples(pixels, torch.arange(n), labels, 0.0, 1.0, 1.0)
        one = gradient_noise.measure(Linear(p, classes), part, n, seed)
        assert one is not None
        found.append(one)
    squared = float((centres - centres.mean(0)).square().sum()) / classes**2
    single = (1 - 1 / classes) * (1 + p * s**2 + float(centres.square().sum(1).mean()))
    unbiased([one.norm_squared for one in found], squared, precise=0.03)
    unbiased([one.variance for one in found], single - squared, precise=0.01)


def test_no_scale_where_the_gradient_is_lost_in_the_noise() -> None:
    assert GradientNoise(2.0, 6.0).scale == 3.0
    assert GradientNoise(-0.1, 6.0).scale is None
    part = Examples(torch.zeros(31, 1, 2, 3), torch.arange(31), torch.zeros(31, dtype=torch.int64), 0.0, 1.0, 1.0)
    assert gradient_noise.measure(Linear(6, 4), part, 256, 0) is None  # not two small batches


def test_measurements_are_even_in_the_logarithm_of_the_examples() -> None:
    due = [seen for seen in range(8, 4097, 8) if is_due(seen - 8, seen)]
    assert sum(1024 < seen <= 2048 for seen in due) == gradient_noise.PER_DOUBLING
    assert sum(2048 < seen <= 4096 for seen in due) == gradient_noise.PER_DOUBLING
    assert [seen for seen in range(512, 4097, 512) if is_due(seen - 512, seen)] == list(range(512, 4097, 512))


def test_its_cost_is_foreseen(run: RunConfig) -> None:
    images = gradient_noise.images(replace(run, gradient_noise=256), 50_000, 8 * 2**7)
    assert images == 256 * (1 + 7 * gradient_noise.PER_DOUBLING)
    assert cost.cost(run) > cost.cost(replace(run, gradient_noise=0))
    trial = replace(run, trial=TrialConfig("trial"))
    assert cost.cost(trial) == cost.cost(replace(trial, gradient_noise=0))


def test_a_run_has_the_mean_over_the_second_half_of_its_examples() -> None:
    recorder = GradientNoiseRecorder(nn.Identity(), None, RunConfig(gradient_noise=64))  # type: ignore[arg-type]
    recorder.points = [(400, 50.0, 50.0), (501, 1.0, 10.0), (1000, 3.0, 30.0)]
    assert recorder.columns(1000) == {SCALE: 10.0, SQUARED: 2.0, VARIANCE: 20.0}


@pytest.fixture
def run(data_dir: str) -> RunConfig:
    return RunConfig(
        device="cpu",
        gradient_noise=64,
        model=ModelConfig(width=2, dropout=0.2),
        data=DataConfig(fraction=1 / 64, dir=data_dir, max_eval=200),
        optim=OptimConfig(lr=1e-2, batch_size=8),
    )


def test_a_run_has_its_noise_and_is_otherwise_the_same_run(run: RunConfig) -> None:
    result, plain = loop.train_model(run), loop.train_model(replace(run, gradient_noise=0))
    assert plain.gradient_noise == {}
    assert replace(result, gradient_noise={}) == plain
    assert result.gradient_noise[VARIANCE] > 0
    assert loop.train_model(run).gradient_noise == result.gradient_noise
    assert loop.train_model(replace(run, trial=TrialConfig("trial"))).gradient_noise == {}
    assert loop.train_model(replace(run, seed=1)).gradient_noise != result.gradient_noise


def test_branches_have_their_own_and_a_cut_run_resumes_with_them(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(run, optim=replace(run.optim, schedule="wsd"), regime=RegimeConfig("wsd", branches=(0.25, 0.5, 1.0)))
    whole = loop.train_model(run)
    assert len({branch[VARIANCE] for branch in whole.branches}) == 3
    monkeypatch.setattr(wsd, "CHECKPOINT_EVERY", 25)
    step, left = Run.step, [95]

    def cut(self: Run, rows: Tensor, factor: float) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        step(self, rows, factor)

    monkeypatch.setattr(Run, "step", cut)
    with pytest.raises(KeyboardInterrupt):
        loop.train_model(run, folder=tmp_path)
    monkeypatch.setattr(Run, "step", step)
    resumed = loop.train_model(run, folder=tmp_path)
    assert resumed.resumed_at > 0
    assert replace(resumed, resumed_at=0) == whole


def test_fewer_images_than_two_small_batches_are_refused() -> None:
    with pytest.raises(InputError, match="`gradient_noise` must be 0 or at least 32 images, but got 16: 256 is usual"):
        RunConfig(gradient_noise=16)

"""The gradient noise scale: the batch size at which the noise of a batch's gradient is as large as the gradient.

    B_simple = tr(S) / |G|^2

G is the gradient of the expected loss, S the covariance of one example's gradient. Steps on batches far below
B_simple are mostly noise, so a larger batch saves steps; a batch far above it repeats what is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log2

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mnist_scaling.config import RunConfig
from mnist_scaling.study.columns import GRADIENT_NOISE_COLUMNS, TRIAL
from mnist_scaling.training import seeding
from mnist_scaling.training.data.splits import Examples

SMALL_BATCH = 16
"""Examples of a small batch; all small batches together are the large one."""

PER_DOUBLING = 8
"""Measurements each time that the examples seen have doubled."""

Point = tuple[int, float, float]
"""Examples seen, |G|^2, tr(S)."""


@dataclass(frozen=True)
class GradientNoise:
    """What gradients at two batch sizes tell."""

    norm_squared: float
    """Estimate of |G|^2; negative where chance makes it so."""
    variance: float
    """Estimate of tr(S)."""

    @property
    def scale(self) -> float | None:
        """B_simple in examples; None where |G|^2 is lost in the noise."""
        return self.variance / self.norm_squared if self.norm_squared > 0 else None


def of_norms(small: int, of_small: float, large: int, of_large: float) -> GradientNoise:
    """Unbiased estimates of |G|^2 and tr(S) from the squared norms of gradients at two batch sizes.

        |G|^2 = (B n_B - b n_b) / (B - b)      tr(S) = (n_b - n_B) / (1 / b - 1 / B)

    They follow from E n_b = |G|^2 + tr(S) / b.

    Parameters
    ----------
    small, large : int
        b and B, examples.
    of_small, of_large : float
        n_b and n_B: squared norms of a batch's mean gradient, each a mean over batches.

    Notes
    -----
    Source: McCandlish et al. 2018 (arXiv 1812.06162), appendix A.1, equations A.2 and A.3.
    """
    norm_squared = (large * of_large - small * of_small) / (large - small)
    return GradientNoise(norm_squared, (of_small - of_large) / (1 / small - 1 / large))


def measure(model: nn.Module, part: Examples, images: int, seed: int) -> GradientNoise | None:
    """The gradient noise of a model as it is, on training images drawn at random.

    Images are taken as they are, not augmented; dropout is on, as in training. No bit of a run changes.

    Parameters
    ----------
    model : nn.Module
    part : Examples
        The run's own training images.
    images : int
        Of them, to the next lower multiple of `SMALL_BATCH`.
    seed : int
        Decides which ones, and the dropout masks.

    Returns
    -------
    GradientNoise or None
        None with fewer than two small batches.
    """
    batches = min(images, len(part)) // SMALL_BATCH
    if batches < 2:
        return None
    parameters, device = list(model.parameters()), part.rows.device
    was_training = model.training
    model.train()
    rows = torch.randperm(len(part), generator=seeding.generator(seed, "gradient_noise")).to(device)
    total, squares = [torch.zeros_like(p, dtype=torch.float64) for p in parameters], 0.0
    with seeding.global_stream(seed, "gradient_noise/dropout", device):
        for chosen in rows[: batches * SMALL_BATCH].split(SMALL_BATCH):
            loss = cross_entropy(model(part.pictures(part.rows[chosen])), part.labels[chosen])
            for summed, gradient in zip(total, torch.autograd.grad(loss, parameters), strict=True):
                summed += gradient
                squares += float(gradient.double().square().sum())
    model.train(was_training)
    of_large = sum(float((summed / batches).square().sum()) for summed in total)
    return of_norms(SMALL_BATCH, squares / batches, SMALL_BATCH * batches, of_large)


class GradientNoiseRecorder:
    """Measures the gradient noise along one run, evenly in the logarithm of the examples seen.

    A gradient at one place of a run is anything but steady: at a constant rate |G|^2 goes up and down by a factor of
    ten within some steps. So a run's numbers are the means of |G|^2 and of tr(S) over the second half of its examples.

    Parameters
    ----------
    model : nn.Module
    part : Examples
        The run's own training images, as they are.
    config : RunConfig
        See `per_measurement`.
    """

    def __init__(self, model: nn.Module, part: Examples, config: RunConfig) -> None:
        self.model, self.part, self.seed = model, part, config.seed
        self.images = per_measurement(config)
        self.points: list[Point] = []

    def add_if_due(self, before: int, seen: int) -> None:
        """Measure when a step from `before` to `seen` examples has passed a power of 2^(1 / `PER_DOUBLING`)."""
        if not self.images or not is_due(before, seen):
            return
        found = measure(self.model, self.part, self.images, self.seed + seen)
        if found is not None:
            self.points.append((seen, found.norm_squared, found.variance))

    def columns(self, seen: int) -> dict[str, float | None]:
        """The columns of a run that ends after `seen` examples; none where nothing was measured."""
        kept = [point for point in self.points if 2 * point[0] > seen]
        if not kept:
            return {}
        mean = GradientNoise(*(sum(point[i] for point in kept) / len(kept) for i in (1, 2)))
        return dict(zip(GRADIENT_NOISE_COLUMNS, (mean.scale, mean.norm_squared, mean.variance), strict=True))


def per_measurement(config: RunConfig) -> int:
    """Images of each measurement of a run; a trial, which is to be cheap, measures nothing."""
    return 0 if config.trial.stage == TRIAL else config.gradient_noise


def images(config: RunConfig, n_train: int, seen: int) -> int:
    """Images of all measurements of a run of so many examples, at the most."""
    doublings = max(0.0, log2(seen / min(config.optim.batch_size, seen)))
    return ceil(1 + PER_DOUBLING * doublings) * min(per_measurement(config), n_train)


def is_due(before: int, seen: int) -> bool:
    """Whether a step from `before` to `seen` examples is one after which the noise is measured."""
    return before == 0 or floor(PER_DOUBLING * log2(seen)) > floor(PER_DOUBLING * log2(before))

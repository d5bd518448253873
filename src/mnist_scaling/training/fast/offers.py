"""What this folder offers to training: an `acceleration.Accelerator`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mnist_scaling.config import OptimConfig, RunConfig
from mnist_scaling.training import models
from mnist_scaling.training.data import splits
from mnist_scaling.training.fast import row_kernels, small_cnn
from mnist_scaling.training.fast.flat_engine import FlatEngine
from mnist_scaling.training.fast.lane import Lane, Plan, plan
from mnist_scaling.training.fast.masks import Dropout
from mnist_scaling.training.fast.stack import Stack, fastest
from mnist_scaling.training.models.base import Pace
from mnist_scaling.training.models.cnn import CNN

__all__ = [
    "Lane", "Plan", "can_stack", "engine", "fastest_stack", "forward", "lane", "pace", "places", "plan", "stack",
]  # fmt: skip

PLACES = 16
"""Places of a lane of narrow networks."""

NARROW = 2e8
"""FLOPs of a model's step up to which `PLACES` steps at once take less than four times as long as one (H100,
docs/performance.md). Each wider one has a lane to itself: a stack's steps last too much longer for what it gains."""


WIDEST = 5e10
"""FLOPs of a model's step beyond which torch's own convolutions are faster than the products of a lane."""


def engine(model: nn.Module, part: splits.Part, config: OptimConfig) -> FlatEngine | None:
    """Flat parameters where torch has a fused optimiser, with gradients by hand where `small_cnn` has them."""
    fused = config._target_ is None and part.rows.device.type in ("cpu", "cuda")
    return FlatEngine(model, part, config) if fused else None


def forward(model: nn.Module, part: splits.Part) -> Callable[[Tensor], Tensor] | None:
    """Logits by hand, of a model that `small_cnn` supports."""
    if not small_cnn.supports(model, part):
        return None
    by_hand = small_cnn.forward(model, part)  # type: ignore[arg-type]
    return lambda rows: by_hand.logits(rows.unsqueeze(0))[0].mT


def can_stack(run: RunConfig) -> bool:
    """Stacks are by hand alone, gradients and optimiser."""
    if run.optim._target_ is not None:
        return False
    dataset = splits.load(run.data, torch.device("cpu"))
    with torch.device("meta"):
        model = models.build(run.model, dataset.image_shape, dataset.classes)
    return small_cnn.supports(model, dataset.train)


def fastest_stack(run: RunConfig, count: int) -> int:
    """The fastest number of models per stack, measured once per process and shape."""
    n_train = splits.n_train(run.data)
    optim = OptimConfig(run.optim.name, batch_size=min(run.optim.batch_size, n_train), clip=run.optim.clip)
    return fastest(run.model, optim, run.data.whole, count)


def pace(run: RunConfig, image_shape: tuple[int, ...], flops: int) -> Pace | None:
    """Of a model that `small_cnn` takes; fitted by hand to steps timed alone (docs/performance.md).

    80 us per step and, per example, 0.5 us, 0.7 us for each unit of width (memory traffic) and FLOPs at 220 GFLOP/s.
    """
    config = run.model
    by_hand = models.family(config.name) is CNN and run.optim._target_ is None
    if not by_hand or not small_cnn.fits(config.depth, config.width, image_shape):
        return None
    example = 5e-7 + 7e-7 * config.width + flops / 220e9
    return Pace(8e-5, example, 1e-6 + example / 3)


def stack(
    members: Sequence[nn.Module],
    parts: Sequence[splits.Part],
    config: OptimConfig,
    dropout: Sequence[float],
    streams: Sequence[torch.Generator],
) -> Stack:
    """Models stepped as one, by hand."""
    return Stack(members, parts, config, Dropout(dropout, streams))


def places(run: RunConfig, batch: int, flops: int, device: torch.device) -> int:
    """`PLACES` for narrow networks, 1 for wide ones; 0 for runs that no lane trains, or not as fast as torch does."""
    if run.optim._target_ is not None or (device.type == "cuda" and not row_kernels.AVAILABLE):
        return 0
    image_shape = splits.spec(run.data).image_shape
    if models.family(run.model.name) is not CNN or not small_cnn.is_written_out(run.model.depth, image_shape):
        return 0
    if batch * flops > WIDEST:
        return 0
    return PLACES if batch * flops <= NARROW else 1


def lane(
    model: nn.Module, places: int, part: splits.Part, config: OptimConfig, batch: int, steps: int, dropout: bool
) -> Lane:
    """A lane with so many places for models of this one's shape."""
    return Lane(model, places, part, config, batch, steps, dropout)

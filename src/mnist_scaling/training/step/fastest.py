"""The fastest step that there is for a model: by hand where it is written out, else torch's own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from mnist_scaling.config import OptimConfig, RunConfig
from mnist_scaling.training import models
from mnist_scaling.training.data import splits
from mnist_scaling.training.models import Pace
from mnist_scaling.training.models.cnn import CNN
from mnist_scaling.training.step import small_cnn
from mnist_scaling.training.step.engine import AutogradEngine, Engine
from mnist_scaling.training.step.flat_engine import FlatEngine

Forward = Callable[[Tensor], Tensor]
"""From rows of a part's pixels, (batch,), to logits (batch, classes), dropout off; the next call may overwrite them."""


def build_engine(model: nn.Module, part: splits.Part, config: OptimConfig) -> Engine:
    """The engine of a model on a part.

    Parameters are flat where torch has a fused optimiser, with gradients by hand where `small_cnn` has them. The
    choice depends on the model, the optimiser and the device alone, so a seed gives the same bits again.
    """
    fused = config._target_ is None and part.rows.device.type in ("cpu", "cuda")
    return FlatEngine(model, part, config) if fused else AutogradEngine(model, part, config)


def forward(model: nn.Module, part: splits.Part) -> Forward:
    """The fastest way to the logits of a model on a part; the model is in eval mode."""
    if not small_cnn.supports(model, part):
        return lambda rows: model(part.pictures(rows))
    by_hand = small_cnn.forward(model, part)  # type: ignore[arg-type]
    return lambda rows: by_hand.logits(rows.unsqueeze(0))[0].mT


def pace(run: RunConfig, image_shape: tuple[int, ...], flops: int) -> Pace:
    """Predicted seconds of a step, an example and an evaluation of a run; `flops` are those of training on an example.

    Those of a model that `small_cnn` takes were fitted by hand to steps timed alone (docs/performance.md): 80 us per
    step and, per example, 0.5 us, 0.7 us for each unit of width (memory traffic) and FLOPs at 220 GFLOP/s.
    """
    config = run.model
    by_hand = models.family(config.name) is CNN and run.optim._target_ is None
    if not by_hand or not small_cnn.fits(config.depth, config.width, image_shape):
        return models.family(config.name).pace(config, image_shape, flops)
    example = 5e-7 + 7e-7 * config.width + flops / 220e9
    return Pace(8e-5, example, 1e-6 + example / 3)

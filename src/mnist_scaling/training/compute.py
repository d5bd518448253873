"""N and C: parameters by role, and FLOPs counted from the operations that really run."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils import flop_counter
from torch.utils.flop_counter import FlopCounterMode

from mnist_scaling.config import ModelConfig, RunConfig
from mnist_scaling.training import data, models, regimes, seeding


@dataclass(frozen=True)
class Size:
    """Parameters of a model, biases included, and FLOPs per example; a multiply-add counts two."""

    n_params: int
    n_params_input: int
    n_params_hidden: int
    n_params_output: int
    forward: int
    """FLOPs of the forward pass."""
    training: int
    """FLOPs of the forward and the backward pass; the input layer needs no gradient of its input."""
    output: int
    """The output layer's part of `training`."""


def measure(config: ModelConfig, image_shape: tuple[int, ...], classes: int) -> Size:
    """Size of a model by `torch.utils.flop_counter` on a copy that sees one image: exact, no arithmetic of ours.

    FLOPs of convolutions and matrix products are counted, as every published count does; biases,
    ReLUs, dropout, the loss and the optimiser's own arithmetic (about 10 FLOPs a parameter and step)
    are not. All counted FLOPs are proportional to the batch, so one example is representative.

    Parameters
    ----------
    config : ModelConfig
        The model; dropout has no effect on the size.
    image_shape : tuple of int
        Channels, height, width.
    classes : int
        Number of logits.
    """
    return _measure(replace(config, dropout=0.0), image_shape, classes)


@functools.lru_cache(maxsize=256)
def _measure(config: ModelConfig, image_shape: tuple[int, ...], classes: int) -> Size:
    _keep_compiler_out()
    # On real tensors: the first operation on meta tensors imports torch's compiler too.
    with seeding.global_stream(0, "size", torch.device("cpu")):
        model = models.build(config, image_shape, classes)
    image, label = torch.zeros(1, *image_shape), torch.zeros(1, dtype=torch.long)
    parts = model.parts()
    with FlopCounterMode(display=False) as forward_counter:
        logits = model(image)
    features = torch.zeros(1, parts.output.in_features, requires_grad=True)
    with FlopCounterMode(display=False) as backward_counter:
        cross_entropy(logits, label).backward()
    with FlopCounterMode(display=False) as output_counter:
        cross_entropy(parts.output(features), label).backward()
    return Size(
        n_params=_count(model),
        n_params_input=_count(parts.input),
        n_params_hidden=_count(parts.hidden),
        n_params_output=_count(parts.output),
        forward=forward_counter.get_total_flops(),
        training=forward_counter.get_total_flops() + backward_counter.get_total_flops(),
        output=output_counter.get_total_flops(),
    )


def _keep_compiler_out() -> None:
    """Let the counter run without importing torch's compiler, which it only asks to leave it alone.

    The import takes 1.7 s and 75 MB of every process (docs/performance.md). Where torch has changed inside, this
    does nothing and the import happens.
    """
    dispatch = getattr(getattr(flop_counter, "_FlopCounterMode", None), "__torch_dispatch__", None)
    wrapped = getattr(dispatch, "__wrapped__", None)
    if wrapped is not None and not hasattr(wrapped, "__dynamo_disable"):
        setattr(wrapped, "__dynamo_disable", wrapped)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def cost(run: RunConfig) -> float:
    """Relative cost of a run, about its seconds on one core: what packing and the time left go by.

    A two-layer CNN, by hand: 80 us a step, and an example .5 us, .7 us for each unit of width (memory) and its
    FLOPs at 220 GFLOP/s; a forward pass is about a third of that. Other models, by autograd: .6 ms a step and
    15 GFLOP/s. Fitted by hand to steps timed alone (docs/performance.md), not to whole runs; only ratios matter. Where
    the run itself decides when to stop, its cap counts: an upper guess.

    Raises
    ------
    InputError
        When the run's regime refuses its configuration, so before anything of a sweep is trained.
    """
    size = measure(run.model, (1, 28, 28), 10)
    _, seen = _examples(run, size)
    n_evaluated = (run.data.max_eval or data.N_VALIDATION) * (1 if run.trial.stage == "trial" else 3)
    if run.model.name == "cnn" and run.model.depth == 2:
        step, example = 8e-5, 5e-7 + 7e-7 * run.model.width + size.training / 220e9
        forward = 1e-6 + example / 3
    else:
        step, example, forward = 6e-4, size.training / 15e9, size.forward / 15e9
    return seen * (example + step / run.optim.batch_size) + n_evaluated * forward


def fan_in(run: RunConfig) -> float:
    """How the fan-in of the layers grows with the model, for rates carried from one width to another.

    Under µP a rate already means the same at every width: 1.
    """
    return 1.0 if run.model.parametrization == "mup" else float(run.model.width)


def steps(run: RunConfig) -> float:
    """Optimiser steps of a run; of one that decides itself when to stop, at the most."""
    n_train, seen = _examples(run, measure(run.model, (1, 28, 28), 10))
    return seen / min(run.optim.batch_size, n_train)


def _examples(run: RunConfig, size: Size) -> tuple[int, int]:
    """Unique examples of a run, and those that it processes."""
    regime = regimes.build(run, size.training)
    n_train = regime.n_train(data.n_train(run.data))
    return n_train, regime.n_seen(n_train)

"""N and C of one example: parameters by role, and FLOPs counted from the operations that really run."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils import flop_counter
from torch.utils.flop_counter import FlopCounterMode

from mnist_scaling.config import ModelConfig
from mnist_scaling.training import models, seeding


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

    @property
    def parameters(self) -> dict[str, Any]:
        """The counts of parameters by their columns."""
        return {name: n for name, n in vars(self).items() if name.startswith("n_params")}


def measure(config: ModelConfig, image_shape: tuple[int, ...], classes: int) -> Size:
    """Size of a model counted exactly by `torch.utils.flop_counter` while a copy of the model sees one image.

    FLOPs of convolutions, matrix products and attention are counted, as every published count does; biases,
    ReLUs, dropout, the loss and the optimiser's own arithmetic (about 10 FLOPs per parameter and step)
    are not. All counted FLOPs are proportional to the batch, so one example is representative; dropout has no effect.
    An operation that torch has no formula for counts as nothing: `torch.utils.flop_counter.register_flop_formula`.
    """
    return _measure(replace(config, dropout=0.0), image_shape, classes)


@functools.lru_cache(maxsize=256)
def _measure(config: ModelConfig, image_shape: tuple[int, ...], classes: int) -> Size:
    _keep_compiler_out()
    # On real tensors: the first operation on meta tensors imports torch's compiler too.
    with seeding.global_stream(0, "size", torch.device("cpu")):
        model = models.build(config, image_shape, classes).eval()  # no dropout, as in every family
    image, label = torch.zeros(1, *image_shape), torch.zeros(1, dtype=torch.long)
    parts = model.parts()
    with _counter() as forward_counter:
        logits = model(image)
    features = torch.zeros(1, parts.output.in_features, requires_grad=True)
    with _counter() as backward_counter:
        cross_entropy(logits, label).backward()
    with _counter() as output_counter:
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


@contextmanager
def _counter() -> Iterator[FlopCounterMode]:
    """Torch's counter, and the fused attention of CPUs, which torch 2.15 counts as nothing.

    oneDNN is off, because it runs an LSTM as one operation; without it, its matrix products are seen.
    """
    aten, count = torch.ops.aten, flop_counter.sdpa_flop_count
    # Backwards two products for each of the two; that the fused operation computes the attention weights once more is
    # not counted: it trades time for memory, and the plain products of the same model don't do it.
    ours = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: count(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda _, q, k, v, *__, **___: 2 * count(q, k, v),
    }
    counter = FlopCounterMode(display=False, custom_mapping=ours)
    enabled, *_ = torch.backends.mkldnn.set_flags(False, None, None, None)
    try:
        with counter:
            yield counter
    finally:
        torch.backends.mkldnn.set_flags(enabled, None, None, None)


def _keep_compiler_out() -> None:
    """Let the counter run without importing torch's compiler, which it only asks to leave it alone.

    The import takes 1.7 s and 75 MB of every process (LOG.md). Where torch has changed inside, this
    does nothing and the import happens.
    """
    dispatch = getattr(getattr(flop_counter, "_FlopCounterMode", None), "__torch_dispatch__", None)
    wrapped = getattr(dispatch, "__wrapped__", None)
    if wrapped is not None and not hasattr(wrapped, "__dynamo_disable"):
        setattr(wrapped, "__dynamo_disable", wrapped)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())

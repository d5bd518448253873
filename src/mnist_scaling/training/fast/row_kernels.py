"""One optimiser step and one dropout mask for every row of a stack, each row at its own rate, step and key.

On a GPU each is one Triton kernel, so that a step of a stack can be part of a CUDA graph; on a CPU the step is the same
formula in torch's operations, by which it is tested.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mnist_scaling.config import OptimConfig

try:
    import triton
    import triton.language as tl
except ImportError:  # a build of torch without CUDA, or a system that Triton has no wheel for
    triton = None

AVAILABLE = triton is not None
"""Whether there are kernels for a GPU."""

_BLOCK = 1024
_EPS = 1e-8


@dataclass(frozen=True)
class Rows:
    """What an optimiser step reads and writes, a row per model."""

    weights: Tensor
    """(S, P), changed in place."""
    gradients: Tensor
    """(S, P)"""
    first: Tensor
    """(S, P), the mean of gradients, or SGD's momentum; changed in place."""
    second: Tensor
    """(S, P), the mean of squared gradients; changed in place, and unused by SGD."""
    factors: Tensor
    """(P,), what each column's parametrization multiplies the rate by."""
    decay: Tensor
    """(P,), each column's weight decay."""


@dataclass(frozen=True)
class Steps:
    """What differs from row to row in one step; views of rows (S, …) of any stride."""

    takes: Tensor
    """(S,), int64: a row of 0 takes no step and stays as it is."""
    rates: Tensor
    """(S,), float32: learning rates."""
    scales: Tensor
    """(S,), float32: 1 / (1 - beta1^t), Adam's correction of the mean at a row's own step t; unused by SGD."""
    roots: Tensor
    """(S,), float32: 1 / sqrt(1 - beta2^t), that of the mean square's root."""


def corrections(config: OptimConfig, steps: Tensor) -> tuple[Tensor, Tensor]:
    """`Steps.scales` and `Steps.roots` at step numbers from 1, from double precision; ones for SGD."""
    if config.name == "sgd":
        ones = torch.ones(steps.shape)
        return ones, ones
    t = steps.double()
    return (1 / (1 - config.momentum**t)).float(), (1 - config.beta2**t).rsqrt().float()


def update(rows: Rows, steps: Steps, config: OptimConfig) -> None:
    """One step of SGD, Adam or AdamW, as torch defines them, of every row at its own rate."""
    if config.clip is not None:
        norms = torch.linalg.vector_norm(rows.gradients, dim=1, keepdim=True)
        rows.gradients.mul_((config.clip / (norms + 1e-6)).clamp_(max=1.0))
    if not rows.weights.is_cuda:
        _update_by_torch(rows, steps, config)
        return
    count, length = rows.weights.shape
    _update_kernel[(count, triton.cdiv(length, _BLOCK))](
        rows.weights, rows.gradients, rows.first, rows.second, rows.factors, rows.decay,
        steps.takes, steps.rates, steps.scales, steps.roots,
        steps.takes.stride(0), steps.rates.stride(0), steps.scales.stride(0), steps.roots.stride(0),
        length, config.momentum, 1 - config.momentum, config.beta2, 1 - config.beta2, _EPS,
        SGD=config.name == "sgd", DECOUPLED=config.name == "adamw", NESTEROV=config.nesterov, BLOCK=_BLOCK,
    )  # fmt: skip


def _update_by_torch(rows: Rows, steps: Steps, c: OptimConfig) -> None:
    takes, rates, scales, roots = (x.unsqueeze(1) for x in (steps.takes, steps.rates, steps.scales, steps.roots))
    rate = rates * rows.factors
    before = rows.weights * (1 - rate * rows.decay) if c.name == "adamw" else rows.weights
    gradients = rows.gradients if c.name == "adamw" else rows.gradients + rows.decay * rows.weights
    first = c.momentum * rows.first + (gradients if c.name == "sgd" else (1 - c.momentum) * gradients)
    second = rows.second if c.name == "sgd" else c.beta2 * rows.second + (1 - c.beta2) * gradients**2
    if c.name == "sgd":
        change = gradients + c.momentum * first if c.nesterov else first
    else:
        change = first * scales / (second.sqrt() * roots + _EPS)
    for old, new in ((rows.weights, before - rate * change), (rows.first, first), (rows.second, second)):
        old.copy_(torch.where(takes > 0, new, old))


def masks(out: Tensor, dropped: Tensor, keys: Tensor) -> None:
    """Dropout masks of every row: 0 with probability p, else 1 / (1 - p).

    Parameters
    ----------
    out : Tensor of shape (S, …), float32, on a GPU
    dropped : Tensor of shape (S,), float32
        p of each row.
    keys : Tensor of shape (S,), int64, of any stride
        Key of each row's mask: Philox, a counter-based generator, makes the same mask of the same key, wherever in a
        stack its model has its place.
    """
    count, length = len(out), out[0].numel()
    _mask_kernel[(count, triton.cdiv(length, _BLOCK))](
        out, dropped, keys, keys.stride(0), dropped.stride(0), length, BLOCK=_BLOCK
    )


if triton is not None:

    @triton.jit
    def _update_kernel(  # type: ignore[no-untyped-def]
        weights, gradients, first, second, factors, decays, takes, rates, scales, roots,
        takes_stride, rates_stride, scales_stride, roots_stride, length, beta1, rest1, beta2, rest2, eps,
        SGD: tl.constexpr, DECOUPLED: tl.constexpr, NESTEROV: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        row = tl.program_id(0)
        if tl.load(takes + row * takes_stride) > 0:
            columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
            inside = columns < length
            at = row.to(tl.int64) * length + columns
            w = tl.load(weights + at, inside)
            g = tl.load(gradients + at, inside)
            m = tl.load(first + at, inside)
            rate = tl.load(rates + row * rates_stride) * tl.load(factors + columns, inside)
            decay = tl.load(decays + columns, inside)
            if DECOUPLED:
                w = w * (1 - rate * decay)
            else:
                g = g + decay * w
            if SGD:
                m = beta1 * m + g
                change = g + beta1 * m if NESTEROV else m
            else:
                v = beta2 * tl.load(second + at, inside) + rest2 * g * g
                m = beta1 * m + rest1 * g
                change = m * tl.load(scales + row * scales_stride)
                change = change / (tl.sqrt(v) * tl.load(roots + row * roots_stride) + eps)
                tl.store(second + at, v, inside)
            tl.store(first + at, m, inside)
            tl.store(weights + at, w - rate * change, inside)

    @triton.jit
    def _mask_kernel(out, dropped, keys, key_stride, dropped_stride, length, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
        row = tl.program_id(0)
        columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        p = tl.load(dropped + row * dropped_stride)
        kept = tl.rand(tl.load(keys + row * key_stride), columns) >= p
        tl.store(out + row.to(tl.int64) * length + columns, tl.where(kept, 1 / (1 - p), 0.0), columns < length)

"""Loss and gradient of a two-layer CNN, by hand: matrix products in a layout made for them.

The same mathematics as `models.cnn.CNN` with depth 2, without autograd and its bookkeeping, without the copies of
torch's narrow convolutions, and with all memory kept between steps.

The batch is the innermost dimension: an activation is (1, channels, y, x, example), because torch.bmm, which takes
matrices with such a leading dimension, is the fastest for small ones. A shift of an image by
one row or column is then a shift by thousands of contiguous numbers, so that the columns that a convolution
multiplies (im2col) and the sums over them on the way back (col2im) are a few long copies, and every matrix
product has its long side contiguous.

A stride of 2 is a split by parity: y = 2 i + a is stored as (a, i), a in {0, 1}. Output row i of the second
convolution reads rows 2 i - 1, 2 i, 2 i + 1, which are (1, i - 1), (0, i), (1, i). So of the nine taps of its
kernel the four without a shift read the first layer's output as it lies in memory, two are a row's shift
away, two a column's, and one both.

Biases are a column of the weights that meets a row of ones, which also gives their gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils import parameters_to_vector

from mnist_scaling.training.data import splits
from mnist_scaling.training.models.cnn import CNN

ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
"""x, W -> x W', the operation that torch's own compiler takes for linear layers."""

ONEDNN_FROM = 2**21
"""Multiply-adds of a product from which oneDNN is faster than MKL, which leaves AVX-512 unused on AMD."""

WIDEST = 91 if ONEDNN else 16
"""Widest network for which this was seen to beat torch's convolutions (LOG.md)."""

_ALIGN = 8
"""Batches are filled up to a multiple of this, with examples that count for nothing: rows of matrices then start at
addresses that vector instructions like."""


def supports(model: nn.Module, part: splits.Examples) -> bool:
    """Whether `Gradients` is this model's mathematics, on a device and at a width where it is the faster."""
    return (
        type(model) is CNN
        and part.pixels.device.type == "cpu"
        and fits(1 + len(model.hidden) // 2, model.first.out_channels, tuple(part.pixels.shape[1:]))
    )


def fits(depth: int, width: int, image_shape: tuple[int, ...]) -> bool:
    """Whether a CNN of this shape is one that is written out here, and faster so on a CPU."""
    channels, *sides = image_shape
    return width <= WIDEST and depth == 2 and channels == 1 and all(side % 4 == 0 for side in sides)


def forward(model: CNN, part: splits.Examples) -> Gradients:
    """A model's weights as they are now, for evaluations on a part."""
    weights = parameters_to_vector(model.parameters()).detach()
    return Gradients(model, part, weights, torch.empty_like(weights))


class Gradients:
    """Losses and gradients of one model for which `supports` holds; only its shape and its rate of dropout are read.

    `weights` (P,) are its parameters, in the order and layout of ``model.parameters()``; `gradients` (P,) are set.
    """

    def __init__(self, model: CNN, part: splits.Examples, weights: Tensor, gradients: Tensor) -> None:
        self.part, self.dropout = part, Dropout(model.dropout.p)
        self.pixels = part.pixels.flatten(1)
        self.width, self.classes = model.first.out_channels, model.head.out_features
        self.multiplier = model.head.multiplier
        self.order = _order(self.width)
        self.back = self.order.argsort()
        sizes = [len(self.order), model.head.weight.numel(), model.head.bias.numel()]
        self.filters, head, bias = weights[: sum(sizes)].split(sizes)
        self.filters_gradient, head_gradient, bias_gradient = gradients[: sum(sizes)].split(sizes)
        shape = (1, self.classes, -1)
        self.head, self.head_gradient = head.view(shape), head_gradient.view(shape)
        self.bias, self.bias_gradient = bias.view(shape), bias_gradient.view(shape)
        self._buffers: dict[int, _Buffers] = {}

    @torch.no_grad()
    def __call__(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Losses (1, 1, batch) of the images at `rows` (batch,), with `labels` like them; sets the gradients."""
        batch = len(rows)
        at = self._at(batch)
        self._forward(at, _filled(rows), self.dropout.active)
        log_p = torch.log_softmax(at.logits, 1)
        targets = _filled(labels).view(1, 1, -1)
        losses = log_p.gather(1, targets).neg_()[..., :batch]
        self._backward(at, log_p.exp_().add_(targets == at.classes, alpha=-1).mul_(at.shares))
        return losses

    @torch.no_grad()
    def logits(self, rows: Tensor) -> Tensor:
        """Logits (batch, classes) of the images at `rows` (batch,), dropout off; overwritten by the next call."""
        at = self._at(len(rows))
        self._forward(at, _filled(rows), dropout=False)
        return at.logits[0, :, : len(rows)].mT

    def _at(self, batch: int) -> _Buffers:
        if batch not in self._buffers:
            self._buffers[batch] = _Buffers(self, batch)
        return self._buffers[batch]

    def _forward(self, at: _Buffers, rows: Tensor, dropout: bool) -> None:
        torch.index_select(self.pixels, 0, rows, out=at.bytes)
        at.image.copy_(at.bytes_by_pixel)
        self.part.standardise(at.image)
        torch.index_select(at.rows, 0, at.patch_rows, out=at.patches_flat)
        torch.index_select(self.filters, 0, self.order, out=at.filters)
        torch.clamp_(torch.bmm(at.first, at.patches, out=at.active), min=0)
        for columns, source in at.shifts:
            columns.copy_(source)
        # Not oneDNN's own ReLU: it turns NaN into 0, and a diverged run would go on unseen.
        torch.clamp(_multiply(at.second, at.columns, at.features), min=0, out=at.features)
        kept = at.by_example
        if dropout:
            self.dropout.fill(at.mask)
            kept = torch.mul(kept, at.mask, out=at.kept)
        torch.baddbmm(self.bias, self.head, kept, alpha=self.multiplier, out=at.logits)

    def _backward(self, at: _Buffers, error: Tensor) -> None:
        torch.sum(error, 2, keepdim=True, out=self.bias_gradient)
        if self.multiplier != 1:
            error.mul_(self.multiplier)
        dropped = self.dropout.active
        torch.bmm(error, (at.kept if dropped else at.by_example).mT, out=self.head_gradient)
        torch.bmm(self.head.mT, error, out=at.by_example_gradient)
        if dropped:
            at.by_example_gradient.mul_(at.mask)
        _through_relu(at.features_gradient, at.features)
        _weight_gradient(at.features_gradient, at.columns, at.second_gradient)
        columns_gradient = _multiply(at.second_taps.mT, at.features_gradient, at.columns_gradient)
        for columns, target in _shifts(columns_gradient, at.shape):
            target.add_(columns)
        active_gradient = columns_gradient[:, : 4 * self.width].view_as(at.active)
        _through_relu(active_gradient, at.active)
        _weight_gradient(active_gradient, at.patches, at.first_gradient)
        torch.index_select(at.filters_gradient, 0, self.back, out=self.filters_gradient)


class _Buffers:
    """All memory of a step at one batch size, and the views that its operations take."""

    def __init__(self, model: Gradients, size: int) -> None:
        batch, w = size + -size % _ALIGN, model.width
        height, width = model.part.pixels.shape[2:]
        y, x = height // 4, width // 4
        n = y * x * batch
        # Images by pixel, below a row of zeros (the padding) and a row of ones (the bias).
        self.bytes = torch.empty(batch, height * width, dtype=model.part.pixels.dtype)
        self.bytes_by_pixel = self.bytes.mT
        self.rows = torch.zeros(2 + height * width, batch)
        self.rows[1] = 1
        self.image = self.rows[2:]
        self.patch_rows = _patch_rows(height, width)
        self.patches = torch.empty(1, 10, 4 * n)
        self.patches_flat = self.patches.view(-1, batch)
        # Weights and gradients of the convolutions in the order of the products.
        self.filters, self.filters_gradient = torch.empty(2, len(model.order))
        self.first, self.second = _by_layer(self.filters, w)
        self.first_gradient, self.second_gradient = _by_layer(self.filters_gradient, w)
        self.second_taps = self.second[..., :-1]
        # Activations and their gradients.
        self.columns = torch.zeros(1, 9 * w + 1, n)
        self.columns[:, -1] = 1
        self.active = self.columns[:, : 4 * w].view(1, w, 4 * n)
        self.columns_gradient = torch.empty(1, 9 * w, n)
        self.shape = (w, y, x, batch)
        self.shifts = _shifts(self.columns, self.shape)
        self.features, self.features_gradient = (torch.empty(1, 2 * w, n) for _ in range(2))
        self.by_example = self.features.view(1, -1, batch)
        self.by_example_gradient = self.features_gradient.view(1, -1, batch)
        self.mask, self.kept = torch.empty(2, *self.by_example.shape)
        self.logits = torch.empty(1, model.classes, batch)
        self.classes = torch.arange(model.classes).unsqueeze(1)
        self.shares = (torch.arange(batch) < size) / size


def _filled(values: Tensor) -> Tensor:
    """Row numbers or labels up to the next multiple of `_ALIGN`, with zeros that count for nothing."""
    return pad(values, (0, -len(values) % _ALIGN)) if len(values) % _ALIGN else values


def _multiply(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """a @ b; a large product by oneDNN, a small one by BLAS into `out`."""
    if not _large(a, b):
        return torch.bmm(a, b, out=out)
    return ONEDNN(a[0], b[0].mT, None, "none", [], "").unsqueeze(0)  # type: ignore[no-any-return, misc]


def _weight_gradient(gradient: Tensor, inputs: Tensor, out: Tensor) -> None:
    """gradient @ inputs', into `out`: (1, channels, n), (1, taps, n) to (1, channels, taps).

    oneDNN gets it transposed, because it fills its registers along the last dimension, and the number of channels
    fits them better than that of taps (LOG.md).
    """
    if not _large(gradient, inputs.mT):
        torch.bmm(gradient, inputs.mT, out=out)
        return
    out[0].copy_(ONEDNN(inputs[0], gradient[0], None, "none", [], "").mT)  # type: ignore[misc]


def _large(a: Tensor, b: Tensor) -> bool:
    """Whether oneDNN takes a @ b."""
    rows, inner, columns = *a.shape[1:], b.shape[2]
    return ONEDNN is not None and rows * inner * columns >= ONEDNN_FROM


def _through_relu(gradient: Tensor, output: Tensor) -> None:
    """Zero a gradient in place where a ReLU gave zero."""
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)


def _by_layer(filters: Tensor, w: int) -> tuple[Tensor, Tensor]:
    """Assembled filters as the matrices of the first, (1, w, 10), and the second layer, (1, 2 w, 9 w + 1)."""
    first, second = filters[: 10 * w], filters[10 * w :]
    return first.view(1, w, 10), second.view(1, 2 * w, 9 * w + 1)


def _shifts(columns: Tensor, shape: tuple[int, int, int, int]) -> list[tuple[Tensor, Tensor]]:
    """For a row's shift, a column's and both: the columns away from the border, and what they are copies of."""
    w, y, x, batch = shape
    source = columns[0, : 4 * w].view(w, 2, 2, y, x, batch)
    row, column, both = columns[0, 4 * w : 9 * w].split([2 * w, 2 * w, w])
    return [
        (row.view(w, 2, y, x, batch)[..., 1:, :, :], source[:, 1, :, :-1]),
        (column.view(w, 2, y, x, batch)[..., 1:, :], source[:, :, 1, :, :-1]),
        (both.view(w, y, x, batch)[..., 1:, 1:, :], source[:, 1, 1, :-1, :-1]),
    ]


def _order(w: int) -> Tensor:
    """Where each entry of the assembled filters lies in a model's parameters, (10 w + 2 w (9 w + 1),)."""
    first = torch.cat([torch.arange(9 * w).view(w, 9), torch.arange(9 * w, 10 * w).view(w, 1)], 1)
    taps = 10 * w + torch.arange(18 * w * w).view(2 * w, w, 3, 3)
    unshifted, row = taps[:, :, 1:, 1:], taps[:, :, 0, 1:]
    column, both = taps[:, :, 1:, 0], taps[:, :, 0, 0]
    bias = 10 * w + 18 * w * w + torch.arange(2 * w).view(2 * w, 1)
    return torch.cat(
        [first.flatten(), torch.cat([*(t.flatten(1) for t in (unshifted, row, column, both)), bias], 1).flatten()]
    )


def _patch_rows(height: int, width: int) -> Tensor:
    """Row of the images by pixel for each tap and output position of the first layer, (10 * 4 * positions,).

    Taps, then the ones; then the position as (parity of y, parity of x, y, x).
    """

    def coordinates(side: int) -> Tensor:
        tap, parity, i = torch.arange(3), torch.arange(2), torch.arange(side // 4)
        return 4 * i + 2 * parity.view(2, 1) + tap.view(3, 1, 1) - 1  # (tap, parity, i)

    y = coordinates(height).view(3, 1, 2, 1, -1, 1)
    x = coordinates(width).view(1, 3, 1, 2, 1, -1)
    rows = torch.where((y < 0) | (x < 0), 0, 2 + y * width + x).flatten(0, 1)
    return torch.cat([rows, torch.ones_like(rows[:1])]).flatten()


_LEVELS = 2**16


class Dropout:
    """Masks that keep an entry with probability 1 - p and scale what they keep by 1 / (1 - p).

    p is rounded to a multiple of 2^-16 and the scale is that of the rounded p, so the mean is exact. Each
    entry takes sixteen bits of torch's global generator, where `bernoulli_` makes one draw per entry: that takes 8 ns
    per entry on a CPU, as long as all else in a narrow network's step (LOG.md).
    """

    def __init__(self, rate: float) -> None:
        self._dropped = round(rate * _LEVELS)
        self.active = self._dropped > 0

    def fill(self, mask: Tensor) -> None:
        """Draw a float32 mask."""
        words = torch.empty((mask.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: mask.numel()].view(mask.shape)
        torch.ge(bits, self._dropped - _LEVELS // 2, out=mask)
        mask.mul_(_LEVELS / (_LEVELS - self._dropped))

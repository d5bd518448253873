"""Loss and gradient of several two-layer CNNs at once, by hand: matrix products in a layout made for them.

The same mathematics as `models.cnn.CNN` with depth 2, for S models of one shape, without autograd and its
bookkeeping, without the copies of torch's narrow convolutions, and with all memory kept between steps.

The batch is the innermost dimension: an activation is (S, channels, y, x, example). A shift of an image by
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

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils import parameters_to_vector

from mnist_scaling.training.data import splits
from mnist_scaling.training.models.cnn import CNN
from mnist_scaling.training.step.masks import Dropout

ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
"""x, W -> x W', the operation that torch's own compiler takes for linear layers."""

ONEDNN_FROM = 2**21
"""Multiply-adds of a product from which oneDNN is faster than MKL, which leaves AVX-512 unused on AMD."""

WIDEST = 91 if ONEDNN else 16
"""Widest network for which this was seen to beat torch's convolutions (docs/performance.md)."""

_ALIGN = 8
"""Batches are filled up to a multiple of this, with examples that count for nothing: matrices that start at
odd addresses are summed in another order, and a model would get other bits in a stack than alone."""


def supports(model: nn.Module, part: splits.Part) -> bool:
    """Whether `Gradients` is this model's mathematics, on a device and at a width where it is the faster."""
    return (
        type(model) is CNN
        and part.pixels.device.type == "cpu"
        and fits(1 + len(model.hidden) // 2, model.first.out_channels, tuple(part.pixels.shape[1:]))
    )


def fits(depth: int, width: int, image_shape: tuple[int, ...]) -> bool:
    """Whether a CNN of this shape is one that is written out here, on a CPU."""
    return width <= WIDEST and is_written_out(depth, image_shape)


def is_written_out(depth: int, image_shape: tuple[int, ...]) -> bool:
    """Whether the formulas here are those of a CNN of this shape, fast or not."""
    channels, *sides = image_shape
    return depth == 2 and channels == 1 and all(side % 4 == 0 for side in sides)


def forward(model: CNN, part: splits.Part) -> Gradients:
    """A model's weights as they are now, for evaluations on a part."""
    weights = parameters_to_vector(model.parameters()).detach().unsqueeze(0)
    return Gradients([model], part, weights, torch.empty_like(weights), Dropout([0.0], [None]))


class Gradients:
    """Losses and gradients of S models of one shape.

    Parameters
    ----------
    models : sequence of CNN
        All of one shape, for which `supports` holds; only their shape is read.
    part : data.Part
        The examples that row numbers point to.
    weights, gradients : Tensor of shape (S, P)
        A row is a model's parameters, in the order and layout of ``model.parameters()``, or where their
        gradients go.
    dropout : Dropout
        Makes the masks.
    """

    def __init__(
        self, models: Sequence[nn.Module], part: splits.Part, weights: Tensor, gradients: Tensor, dropout: Dropout
    ) -> None:
        model = models[0]
        assert isinstance(model, CNN)
        self.part, self.dropout = part, dropout
        self.pixels = part.pixels.flatten(1)
        self.count, self.width, self.classes = len(models), model.first.out_channels, model.head.out_features
        self.multiplier = model.head.multiplier
        self.order = _order(self.width).to(weights.device)
        self.back = self.order.argsort()
        sizes = [len(self.order), model.head.weight.numel(), model.head.bias.numel()]
        self.filters, head, bias = weights[:, : sum(sizes)].split(sizes, 1)
        self.filters_gradient, head_gradient, bias_gradient = gradients[:, : sum(sizes)].split(sizes, 1)
        shape = (self.count, self.classes, -1)
        self.head, self.head_gradient = head.view(shape), head_gradient.view(shape)
        self.bias, self.bias_gradient = bias.view(shape), bias_gradient.view(shape)
        self._buffers: dict[int, _Buffers] = {}

    @torch.no_grad()
    def __call__(self, rows: Tensor, labels: Tensor, shares: Tensor | None = None) -> Tensor:
        """Losses (S, 1, batch) of the images at `rows` (S, batch), with `labels` like them; sets the gradients.

        `shares` (S, 1, batch) are the weights of the examples in each model's loss, where they are not all the same.
        """
        batch = rows.shape[1]
        if batch not in self._buffers:
            self._buffers[batch] = _Buffers(self, batch)
        buffers = self._buffers[batch]
        rows, labels = (pad(x, (0, -batch % _ALIGN)) if batch % _ALIGN else x for x in (rows, labels))
        self._forward(buffers, rows, self.dropout.active)
        log_p = torch.log_softmax(buffers.logits, 1)
        targets = labels.unsqueeze(1)
        losses = log_p.gather(1, targets).neg_()[..., :batch]
        error = (
            log_p.exp_().add_(targets == buffers.classes, alpha=-1).mul_(buffers.shares if shares is None else shares)
        )
        self._backward(buffers, error)
        return losses

    @torch.no_grad()
    def logits(self, rows: Tensor) -> Tensor:
        """Logits (S, classes, batch) of the images at `rows` (S, batch), dropout off; overwritten by the next call."""
        batch = rows.shape[1]
        if batch not in self._buffers:
            self._buffers[batch] = _Buffers(self, batch)
        rows = pad(rows, (0, -batch % _ALIGN)) if batch % _ALIGN else rows
        self._forward(self._buffers[batch], rows, dropout=False)
        return self._buffers[batch].logits[..., :batch]

    def _forward(self, at: _Buffers, rows: Tensor, dropout: bool) -> None:
        torch.index_select(self.pixels, 0, rows.flatten(), out=at.bytes)
        at.image.copy_(at.bytes_by_pixel)
        self.part.standardise(at.image)
        torch.index_select(at.rows, 0, at.patch_rows, out=at.patches_flat)
        torch.index_select(self.filters, 1, self.order, out=at.filters)
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
        torch.index_select(at.filters_gradient, 1, self.back, out=self.filters_gradient)


class _Buffers:
    """All memory of a step at one batch size, and the views that its operations take."""

    def __init__(self, model: Gradients, size: int) -> None:
        batch = size + -size % _ALIGN
        s, w, device = model.count, model.width, model.filters.device
        height, width = model.part.pixels.shape[2:]
        y, x = height // 4, width // 4
        n = y * x * batch
        # Images by pixel, below a row of zeros (the padding) and a row of ones (the bias).
        self.bytes = torch.empty(s * batch, height * width, dtype=model.part.pixels.dtype, device=device)
        self.bytes_by_pixel = self.bytes.view(s, batch, -1).mT
        by_pixel = torch.zeros(s, 2 + height * width, batch, device=device)
        by_pixel[:, 1] = 1
        self.rows, self.image = by_pixel.view(-1, batch), by_pixel[:, 2:]
        offsets = torch.arange(s).unsqueeze(1) * by_pixel.shape[1]
        self.patch_rows = (_patch_rows(height, width) + offsets).flatten().to(device)
        self.patches = torch.empty(s, 10, 4 * n, device=device)
        self.patches_flat = self.patches.view(-1, batch)
        # Weights and gradients of the convolutions in the order of the products.
        self.filters, self.filters_gradient = torch.empty(2, s, len(model.order), device=device)
        self.first, self.second = _by_layer(self.filters, w)
        self.first_gradient, self.second_gradient = _by_layer(self.filters_gradient, w)
        self.second_taps = self.second[..., :-1]
        # Activations and their gradients.
        self.columns = torch.zeros(s, 9 * w + 1, n, device=device)
        self.columns[:, -1] = 1
        self.active = self.columns[:, : 4 * w].view(s, w, 4 * n)
        self.columns_gradient = torch.empty(s, 9 * w, n, device=device)
        self.shape = (s, w, y, x, batch)
        self.shifts = _shifts(self.columns, self.shape)
        self.features, self.features_gradient = (torch.empty(s, 2 * w, n, device=device) for _ in range(2))
        self.by_example = self.features.view(s, -1, batch)
        self.by_example_gradient = self.features_gradient.view(s, -1, batch)
        self.mask, self.kept = torch.empty(2, *self.by_example.shape, device=device)
        self.logits = torch.empty(s, model.classes, batch, device=device)
        self.classes = torch.arange(model.classes, device=device).unsqueeze(1)
        self.shares = (torch.arange(batch, device=device) < size) / size


def _multiply(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """a @ b for each model; large products by oneDNN, small ones by BLAS into `out`."""
    if not _large(a, b):
        return torch.bmm(a, b, out=out)
    if len(a) == 1:
        return ONEDNN(a[0], b[0].mT, None, "none", [], "").unsqueeze(0)  # type: ignore[no-any-return, misc]
    for x, y, product in zip(a, b.mT, out, strict=True):
        product.copy_(ONEDNN(x, y, None, "none", [], ""))  # type: ignore[misc]
    return out


def _weight_gradient(gradient: Tensor, inputs: Tensor, out: Tensor) -> None:
    """gradient @ inputs' for each model, into `out`: (S, channels, n), (S, taps, n) to (S, channels, taps).

    oneDNN gets it transposed, because it fills its registers along the last dimension, and the number of channels
    fits them better than that of taps (docs/performance.md).
    """
    if not _large(gradient, inputs.mT):
        torch.bmm(gradient, inputs.mT, out=out)
        return
    for x, y, product in zip(inputs, gradient, out, strict=True):
        product.copy_(ONEDNN(x, y, None, "none", [], "").mT)  # type: ignore[misc]


def _large(a: Tensor, b: Tensor) -> bool:
    """Whether oneDNN takes each model's a @ b."""
    rows, inner, columns = *a.shape[1:], b.shape[2]
    return ONEDNN is not None and a.device.type == "cpu" and rows * inner * columns >= ONEDNN_FROM


def _through_relu(gradient: Tensor, output: Tensor) -> None:
    """Zero a gradient in place where a ReLU gave zero."""
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)


def _by_layer(filters: Tensor, w: int) -> tuple[Tensor, Tensor]:
    """Rows of assembled filters as the matrices of the first, (S, w, 10), and the second layer, (S, 2 w, 9 w + 1)."""
    first, second = filters[:, : 10 * w], filters[:, 10 * w :]
    return first.view(-1, w, 10), second.view(-1, 2 * w, 9 * w + 1)


def _shifts(columns: Tensor, shape: tuple[int, int, int, int, int]) -> list[tuple[Tensor, Tensor]]:
    """For a row's shift, a column's and both: the columns away from the border, and what they are copies of."""
    s, w, y, x, batch = shape
    source = columns[:, : 4 * w].view(s, w, 2, 2, y, x, batch)
    row, column, both = columns[:, 4 * w : 9 * w].split([2 * w, 2 * w, w], 1)
    return [
        (row.view(s, w, 2, y, x, batch)[..., 1:, :, :], source[:, :, 1, :, :-1]),
        (column.view(s, w, 2, y, x, batch)[..., 1:, :], source[:, :, :, 1, :, :-1]),
        (both.view(s, w, y, x, batch)[..., 1:, 1:, :], source[:, :, 1, 1, :-1, :-1]),
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

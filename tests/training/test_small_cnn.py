"""The step by hand against autograd, and its masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from mnist_scaling.config import DataConfig, OptimConfig
from mnist_scaling.training import optimizers, small_cnn
from mnist_scaling.training.data import splits
from mnist_scaling.training.models.cnn import CNN
from mnist_scaling.training.optimizers import FlatOptimizer
from mnist_scaling.training.small_cnn import Dropout
from tests.training.engines import chosen
from tests.training.test_engine import batches, built


@pytest.fixture(scope="module")
def part(data_dir: str) -> splits.Examples:
    return splits.load(DataConfig(dir=data_dir), torch.device("cpu")).train.take(torch.arange(40, 1000))


def gradients(model: CNN, part: splits.Examples, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and gradient by hand."""
    flat = optimizers.build(model, OptimConfig())
    assert isinstance(flat, FlatOptimizer)
    by_hand = small_cnn.Gradients(model, part, flat.weights, flat.gradients)
    losses = by_hand(part.rows[rows], part.labels[rows])
    return losses.flatten(), parameters_to_vector([p.grad for p in model.parameters()])  # type: ignore[misc]


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize(
    "shape", [{"width": 1}, {"width": 6}, {"width": 16, "parametrization": "mup"}, {"width": 32}], ids=str
)
def test_gradients_by_hand_are_those_of_autograd(part: splits.Examples, batch: int, shape: dict) -> None:
    rows = batches(len(part), batch)[0]
    plain, model = built(**shape), built(**shape)
    expected = cross_entropy(plain(part.pictures(part.rows)[rows]), part.labels[rows], reduction="none")
    expected.mean().backward()
    losses, gradient = gradients(model, part, rows)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-6)
    wanted = parameters_to_vector([p.grad for p in plain.parameters()])  # type: ignore[misc]
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


def test_dropout_by_hand_is_autograds_through_the_same_mask(part: splits.Examples) -> None:
    rows = batches(len(part), 16)[0]
    plain, model = built(width=5), built(width=5, dropout=0.4)
    mask = torch.empty(1, plain.head.in_features, 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        losses, gradient = gradients(model, part, rows)
        torch.manual_seed(3)
        Dropout(0.4).fill(mask)
    features = plain.hidden(torch.relu(plain.first(part.pictures(part.rows)[rows]))).flatten(1) * mask[0].T
    expected = cross_entropy(plain.head(features), part.labels[rows], reduction="none")
    expected.mean().backward()
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-6)
    wanted = parameters_to_vector([p.grad for p in plain.parameters()])  # type: ignore[misc]
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize("width", [4, 32], ids=["BLAS", "oneDNN"])
def test_what_is_not_a_number_reaches_the_loss(part: splits.Examples, width: int) -> None:
    """A diverged run ends because its loss is NaN; a ReLU that makes 0 of NaN would hide it."""
    model = built(width=width)
    with torch.no_grad():
        model.hidden[0].weight[0, 0, 0, 0] = torch.nan
    losses, _ = gradients(model, part, torch.arange(64))
    assert losses.isnan().all()


def test_masks_keep_what_they_should() -> None:
    assert not Dropout(0.0).active
    mask = torch.empty(2, 200_000)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        Dropout(0.3).fill(mask[0])
        Dropout(0.9).fill(mask[1])
    for own, rate in ((mask[0], 0.3), (mask[1], 0.9)):
        kept = own > 0
        assert kept.double().mean().item() == pytest.approx(1 - rate, abs=5 * (rate * (1 - rate) / 200_000) ** 0.5)
        assert own[kept].unique().tolist() == pytest.approx([1 / (1 - rate)], rel=1e-4)
    # Neighbours share a random word; they must not share their fate.
    pairs = (mask[0].view(-1, 2) > 0).double()
    assert torch.corrcoef(pairs.T)[0, 1].abs().item() < 5 / 100_000**0.5


@pytest.mark.parametrize("shape", [{"width": 3}, {"width": 3, "depth": 1}], ids=str)
def test_a_step_waits_for_nothing(part: splits.Examples, shape: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would make a host wait for a device is never called in a step."""
    stepper = chosen(built(**shape), part, OptimConfig())

    def waits(*_: object, **__: object) -> None:
        raise AssertionError("a step waited")

    for name in ("item", "cpu", "tolist", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, waits)
    stepper.step(torch.arange(32), 0.01)
    monkeypatch.undo()
    assert stepper.mean_loss() > 0

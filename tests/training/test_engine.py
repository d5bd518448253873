"""The step of whatever engine is chosen, against torch's own layers, autograd and optimisers, written out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig
from mnist_scaling.training import models, optimizers, seeding
from mnist_scaling.training.data import splits
from mnist_scaling.training.engine import Engine
from mnist_scaling.training.models.cnn import CNN
from tests.training.engines import chosen, plain


@pytest.fixture(scope="module")
def part(data_dir: str) -> splits.Examples:
    return splits.load(DataConfig(dir=data_dir), torch.device("cpu")).train.take(torch.arange(40, 1000))


def built(**values: object) -> CNN:
    with seeding.global_stream(0, "init", torch.device("cpu")):
        return models.build(ModelConfig(**values), (1, 28, 28), 10)  # type: ignore[arg-type]


def batches(n: int, size: int) -> list[Tensor]:
    return list(torch.randperm(n, generator=torch.Generator().manual_seed(5)).split(size))


def reference(model: nn.Module, part: splits.Examples, config: OptimConfig, rows: list[Tensor]) -> list[float]:
    """Losses of plain steps: autograd and torch's optimiser, the rate halved at every step."""
    optimizer = optimizers.of_torch(model, config)
    losses = []
    for step, own in enumerate(rows):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * 0.5**step * group["lr_factor"]
        loss = cross_entropy(model(part.pictures(part.rows)[own]), part.labels[own])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize(
    "shape",
    [
        {"width": 3},
        {"width": 8},
        {"width": 11, "parametrization": "mup"},
        {"width": 4, "depth": 1},
        {"width": 4, "depth": 3, "parametrization": "mup"},
        {"width": 32},
    ],
    ids=str,
)
def test_the_first_steps_are_those_of_torch(part: splits.Examples, optimizer: str, shape: dict) -> None:
    config = OptimConfig(optimizer, 0.05 if optimizer == "sgd" else 3e-3, weight_decay=0.1)
    rows = [*batches(len(part), 32)[:4], torch.arange(21)]  # the last batch of a pass is smaller
    by_torch, model = built(**shape), built(**shape)
    expected = reference(by_torch, part, config, rows)
    stepper = chosen(model, part, config)
    found = []
    for step, own in enumerate(rows):
        stepper.step(own, config.lr * 0.5**step)
        found.append(stepper.mean_loss())
    assert found == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(
        parameters_to_vector(model.parameters()), parameters_to_vector(by_torch.parameters()), rtol=1e-3, atol=2e-5
    )


@pytest.mark.parametrize("shape", [{"width": 3, "dropout": 0.2}, {"width": 3, "depth": 3, "dropout": 0.2}], ids=str)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("build", [plain, chosen])
def test_a_saved_state_goes_on_bit_for_bit(
    part: splits.Examples, shape: dict, optimizer: str, build: Callable[..., Engine]
) -> None:
    """A state from the middle, loaded into a new engine, gives the same end."""
    rows, ends, state = batches(len(part), 32)[:12], [], {}
    for resumed in (False, True):
        torch.manual_seed(9)
        stepper = build(built(**shape), part, OptimConfig(optimizer, 0.01))
        if resumed:
            torch.rand(100)  # elsewhere in the stream of masks
            stepper.load_state_dict(state)
        for step, own in enumerate(rows[6:] if resumed else rows):
            if step == 6 and not resumed:
                state = stepper.state_dict()
            stepper.step(own, 0.01)
        ends.append((parameters_to_vector(stepper.model.parameters()).clone(), torch.rand(1)))
    assert all(torch.equal(a, b) for a, b in pairwise(ends[0][:1] + ends[1][:1]))
    assert torch.equal(ends[0][1], ends[1][1])


def test_the_models_own_state_is_the_engines(part: splits.Examples) -> None:
    """Whoever loads weights into the model, or reads them, meets what the steps use."""
    stepper = chosen(built(width=4), part, OptimConfig())
    before = {name: value.clone() for name, value in stepper.model.state_dict().items()}
    stepper.step(torch.arange(32), 0.01)
    first = stepper.mean_loss()
    assert not torch.equal(before["first.weight"], stepper.model.state_dict()["first.weight"])
    stepper.model.load_state_dict(before)
    stepper.step(torch.arange(32), 0.0)
    assert stepper.mean_loss() == first


class Subclassed(CNN):
    """A new family that computes something else under the same attributes."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(-images)


def test_a_new_family_is_trained_by_its_own_forward(part: splits.Examples) -> None:
    rows = torch.arange(32)
    with seeding.global_stream(0, "init", torch.device("cpu")):
        model = Subclassed((1, 28, 28), 10, ModelConfig(width=4))
    expected = cross_entropy(built(width=4)(-part.pictures(part.rows)[rows]), part.labels[rows]).item()
    stepper = chosen(model, part, OptimConfig())
    stepper.step(rows, 0.01)
    assert stepper.mean_loss() == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs cuda: would check that steps never synchronise")
def test_a_step_on_cuda_waits_for_nothing(data_dir: str) -> None:
    """Bytes and labels live on the device; CUDA itself raises at any synchronisation inside 3 steps."""
    device = torch.device("cuda")
    on_device = splits.load(DataConfig(dir=data_dir), device).train
    assert on_device.pixels.is_cuda
    assert on_device.pixels.dtype == torch.uint8
    stepper = chosen(built(width=8, dropout=0.1).to(device), on_device, OptimConfig())
    stepper.step(torch.arange(32), 0.01)  # allocations and kernels of the first step may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        for own in batches(1000, 32)[:3]:
            stepper.step(own.pin_memory(), 0.01)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert 0 < stepper.mean_loss() < 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs cuda: would check its losses against the CPU's")
def test_cuda_gives_the_losses_of_the_cpu(data_dir: str) -> None:
    found = []
    for name in ("cpu", "cuda"):
        on_device = splits.load(DataConfig(dir=data_dir), torch.device(name)).train
        stepper = chosen(built(width=8).to(name), on_device, OptimConfig())
        for own in batches(1000, 32)[:5]:
            stepper.step(own, 3e-3)
        found.append(stepper.mean_loss())
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("shape", [{"width": 3}, {"width": 11, "parametrization": "mup"}, {"depth": 3}], ids=str)
def test_the_chosen_engine_takes_the_steps_of_the_plain_one(part: splits.Examples, optimizer: str, shape: dict) -> None:
    config = OptimConfig(optimizer, 0.05 if optimizer == "sgd" else 3e-3, weight_decay=0.1)
    losses = []
    for build in (plain, chosen):
        stepper = build(built(**shape), part, config)
        for step, own in enumerate(batches(len(part), 32)[:8]):
            stepper.step(own, config.lr * 0.5**step)
        losses.append(stepper.mean_loss())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)

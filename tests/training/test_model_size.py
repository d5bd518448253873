from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from mnist_scaling import config as schema
from mnist_scaling.config import DataConfig, ModelConfig, RunConfig
from mnist_scaling.training import cost as run_cost
from mnist_scaling.training import model_size, models
from mnist_scaling.training.parametrization import Label, Role

SHAPE, CLASSES = (1, 28, 28), 10


def test_counts_of_a_tiny_net_by_hand() -> None:
    size = model_size.measure(ModelConfig(width=1, depth=2), SHAPE, CLASSES)
    # conv 1->1 on 14x14, conv 1->2 on 7x7, linear 98->10; weights and biases.
    assert size.n_params_input == 9 + 1
    assert size.n_params_hidden == 18 + 2
    assert size.n_params_output == 980 + 10
    first, second, head = 2 * 9 * 14 * 14, 2 * 9 * 2 * 7 * 7, 2 * 98 * 10
    assert size.forward == first + second + head
    # Backward: the gradient of the weights and of the input cost a forward pass each; the image
    # needs no gradient.
    assert size.training == 2 * first + 3 * second + 3 * head
    assert size.output == 3 * head


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (3, 2), (8, 2), (4, 4)])
def test_counts_agree_with_formulae(width: int, depth: int) -> None:
    size = model_size.measure(ModelConfig(width=width, depth=depth), SHAPE, CLASSES)
    channels = [1, width] + [2 * width] * (depth - 1)
    sides = [14] + [7] * (depth - 1)
    convolutions = [9 * a * b for a, b in itertools.pairwise(channels)]
    features = channels[-1] * sides[-1] ** 2
    assert size.n_params == sum(convolutions) + sum(channels[1:]) + 11 * features - features + 10
    forward = [2 * c * s * s for c, s in zip(convolutions, sides, strict=True)]
    assert size.forward == sum(forward) + 20 * features
    assert size.training == 3 * size.forward - forward[0]


def test_parts_add_up_to_the_whole_model() -> None:
    size = model_size.measure(ModelConfig(width=5, depth=3), SHAPE, CLASSES)
    assert size.n_params_input + size.n_params_hidden + size.n_params_output == size.n_params


def test_flops_are_proportional_to_the_batch() -> None:
    config = ModelConfig(width=3)
    model = models.build(config, SHAPE, CLASSES)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(torch.zeros(7, *SHAPE)), torch.zeros(7, dtype=torch.long)).backward()
    assert counter.get_total_flops() == 7 * model_size.measure(config, SHAPE, CLASSES).training


def test_dropout_does_not_change_the_size() -> None:
    assert model_size.measure(ModelConfig(dropout=0.3), SHAPE, CLASSES) == model_size.measure(
        ModelConfig(), SHAPE, CLASSES
    )


def test_width_times_sqrt2_doubles_the_flops_where_the_hidden_layer_dominates() -> None:
    narrow, wide = (model_size.measure(ModelConfig(width=w), SHAPE, CLASSES).training for w in (64, 128))
    assert 3.7 < wide / narrow < 4.0


def test_cost_orders_runs_by_what_they_take() -> None:
    def cost(width: int, fraction: float) -> float:
        return run_cost.cost(RunConfig(model=ModelConfig(width=width), data=DataConfig(fraction=fraction)))

    assert cost(32, 1) > cost(32, 0.5) > cost(8, 0.5) > cost(8, 0.25)


@dataclass(frozen=True)
class RowsConfig(ModelConfig):
    name: str = "rows"
    layer: str = "LSTM"


class Rows(models.Family):
    """Reads an image row by row."""

    Config = RowsConfig

    def __init__(self, image_shape: tuple[int, ...], classes: int, config: RowsConfig) -> None:
        super().__init__()
        self.rows = getattr(nn, config.layer)(image_shape[2], config.width, batch_first=True)
        self.head = nn.Linear(config.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.mixed(self.rows(images.squeeze(1))[0])[:, -1])

    def mixed(self, states: Tensor) -> Tensor:
        return states

    def parts(self) -> models.Parts:
        return models.Parts(self.rows, nn.Identity(), self.head)

    def labels(self) -> Mapping[str, Label]:
        return {name: Label(Role.VECTOR) for name, _ in self.named_parameters()}


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Rows]]:
    monkeypatch.setitem(models.FAMILIES, "rows", Rows)
    monkeypatch.setitem(schema.MODEL_CONFIGS, "rows", RowsConfig)
    model_size._measure.cache_clear()
    yield Rows
    model_size._measure.cache_clear()


@pytest.mark.usefixtures("family")
@pytest.mark.parametrize(("layer", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_every_step_of_a_recurrent_layer_is_counted(layer: str, gates: int) -> None:
    """Torch runs an LSTM on CPUs as one operation, which its counter takes for nothing."""
    size = model_size.measure(RowsConfig(width=16, layer=layer), SHAPE, CLASSES)
    image, state, head = 28 * 2 * gates * 16 * 28, 28 * 2 * gates * 16 * 16, 2 * 16 * CLASSES
    assert size.forward == image + state + head
    # Neither the image nor the state before the first row needs a gradient.
    assert size.training == 2 * image + 3 * state - state // 28 + 3 * head


@pytest.mark.slow
def test_counting_does_not_import_the_compiler() -> None:
    """Which torch's counter would do by itself: seconds and 75 MB of every process."""
    code = (
        "import sys; from mnist_scaling.training import model_size; "
        "from mnist_scaling.config import ModelConfig; "
        "model_size.measure(ModelConfig(), (1, 28, 28), 10); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

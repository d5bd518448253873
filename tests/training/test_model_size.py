from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from mnist_scaling.config import DataConfig, ModelConfig, RunConfig
from mnist_scaling.training import cost as run_cost
from mnist_scaling.training import models
from mnist_scaling.training.models import model_size

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


@pytest.mark.slow
def test_counting_does_not_import_the_compiler() -> None:
    """Which torch's counter would do by itself: seconds and 75 MB of every process."""
    code = (
        "import sys; from mnist_scaling.training.models import model_size; "
        "from mnist_scaling.config import ModelConfig; "
        "model_size.measure(ModelConfig(), (1, 28, 28), 10); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

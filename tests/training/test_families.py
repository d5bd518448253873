"""The families that we have: sizes by hand, µP's promise, heads and patches, and every regime."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.nn.functional import softmax

from mnist_scaling import cli, config
from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig
from mnist_scaling.config.family import MLPConfig, TransformerConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.columns import COMPLETE
from mnist_scaling.training import cost, loop, model_size, models, seeding
from mnist_scaling.training.models.transformer import Attention
from tests.training.coordinates import coordinate_check, slopes

pytestmark = pytest.mark.slow

SHAPE, CLASSES = (1, 28, 28), 10
SMALLEST: dict[str, ModelConfig] = {
    "cnn": ModelConfig(width=2),
    "mlp": MLPConfig(width=4),
    "resnet": ModelConfig("resnet", width=2, depth=1),
    "transformer": TransformerConfig(width=4, depth=1, attention_dropout=0.1, residual_dropout=0.1),
}


def test_the_smallest_of_every_family_is_here() -> None:
    assert set(SMALLEST) == {name for name in config.model_names() if name != "toy_transformer"}


# Sizes


def test_an_mlp_by_hand() -> None:
    size = model_size.measure(MLPConfig(width=5, depth=3), SHAPE, CLASSES)
    assert (size.n_params_input, size.n_params_hidden, size.n_params_output) == (784 * 5 + 5, 2 * (25 + 5), 50 + 10)
    first, hidden, head = 2 * 784 * 5, 2 * 2 * 25, 2 * 50
    assert size.forward == first + hidden + head
    assert size.training == 2 * first + 3 * (hidden + head)  # images need no gradient


def test_a_resnet_by_hand() -> None:
    size = model_size.measure(ModelConfig("resnet", width=3, depth=2), SHAPE, CLASSES)
    # Channels 3 at 14 x 14, then 6 at 7 x 7. Norms have 2 numbers per channel; a shortcut stands in the first block.
    first_block = 2 * 3 + 9 * 3 * 6 + 2 * 6 + (9 * 36 + 6) + 3 * 6
    second_block = 2 * 6 + 9 * 36 + 2 * 6 + (9 * 36 + 6)
    assert size.n_params_input == 27 + 3
    assert size.n_params_hidden == first_block + second_block + 2 * 6
    assert size.n_params_output == 6 * 49 * 10 + 10
    first, hidden, head = 27 * 196, (162 + 324 + 18 + 324 + 324) * 49, 6 * 49 * 10
    assert size.forward == 2 * (first + hidden + head)
    assert size.training == 2 * (2 * first + 3 * hidden + 3 * head)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_transformer_by_hand(heads: int) -> None:
    size = model_size.measure(TransformerConfig(width=8, depth=2, heads=heads), SHAPE, CLASSES)
    # 16 tokens of 49 pixels; in a block: queries, keys and values, their combination, 8 to 32 and back, two norms.
    block = (8 * 24 + 24) + (64 + 8) + (8 * 32 + 32) + (32 * 8 + 8) + 2 * 16
    assert (size.n_params_input, size.n_params_hidden) == (49 * 8 + 8 + 16 * 8, 2 * block + 16)
    assert size.n_params_output == 16 * 8 * 10 + 10
    attention = 2 * 16 * 16 * 8  # q k' and the weighted sum, however many heads share the 8 numbers
    first, hidden, head = 16 * 49 * 8, 2 * (16 * (8 * 24 + 64 + 2 * 8 * 32) + attention), 16 * 8 * 10
    assert size.forward == 2 * (first + hidden + head)
    assert size.training == 2 * (2 * first + 3 * hidden + 3 * head)


def test_fused_attention_and_plain_products_are_the_same_computation() -> None:
    """What is counted is what dropout's path would do too, and both take the scale of the parametrization."""
    torch.manual_seed(0)
    layer = Attention(TransformerConfig(width=8, heads=2, parametrization="mup", base_width=2, attention_dropout=1e-9))
    assert layer.scale == pytest.approx((4 * 4) ** -0.5)  # 1 / sqrt(4) at the base width 2, and 1 / d beyond
    x = torch.randn(3, 16, 8)
    torch.testing.assert_close(layer.train()(x), layer.eval()(x))
    q, k, v = (t.view(3, 16, 2, 4).transpose(1, 2) for t in layer.project(x).split(8, -1))
    by_hand = (softmax(q @ k.transpose(2, 3) * layer.scale, -1) @ v).transpose(1, 2).reshape(3, 16, 8)
    torch.testing.assert_close(layer(x), layer.combine(by_hand))


def test_patches_are_squares_of_the_image_in_reading_order() -> None:
    with seeding.global_stream(0, "init", torch.device("cpu")):
        embed = models.build(TransformerConfig(width=2), SHAPE, CLASSES).first
    image = torch.zeros(1, *SHAPE)
    image[0, 0, 7:14, 21:28] = torch.rand(7, 7)  # second row, fourth column: token 7
    difference = (embed(image) - embed(torch.zeros_like(image)))[0]
    assert difference.abs().sum(1).nonzero().flatten().tolist() == [7]
    torch.testing.assert_close(difference[7], embed.patches.weight @ image[0, 0, 7:14, 21:28].flatten())


# Training


@pytest.mark.parametrize("name", sorted(SMALLEST))
@pytest.mark.parametrize("regime", ["single_epoch", "repeat", "isoflop", "early_stopping", "wsd"])
def test_every_family_trains_in_every_regime_at_smoke_scale(data_dir: str, name: str, regime: str) -> None:
    """Composed as the command does, on few images; a second run gives the same bits."""
    shape = [f"model.{key}={getattr(SMALLEST[name], key)}" for key in ("width", "depth")]
    with initialize_config_dir(cli.conf_dir()):
        cfg = compose("train", [f"model={name}", f"regime={regime}", "scale=smoke", *shape, "device=cpu",
                                f"data.dir={data_dir}", "data.max_train=256", "data.max_eval=100"])  # fmt: skip
    run = config.build(RunConfig, cfg)
    if regime == "isoflop":
        per_example = model_size.measure(run.model, SHAPE, CLASSES).training
        run = replace(run, regime=replace(run.regime, flops=256 * per_example, scale=1.0))
    if regime == "early_stopping":
        run = replace(run, regime=replace(run.regime, max_epochs=2))
    if regime == "wsd":
        run = replace(run, regime=replace(run.regime, branches=(0.5, 1.0)))
    result = loop.train_model(run)
    assert result.state == COMPLETE
    assert result.val_loss is not None
    assert result.steps >= 4
    assert cost.cost(run) > 0
    if regime == "single_epoch":
        assert loop.train_model(run) == result


@pytest.mark.parametrize(
    ("model", "most"),
    [
        (MLPConfig(width=64), 0.75),
        (ModelConfig("resnet", width=4), 0.6),
        (TransformerConfig(width=32), 0.9),
        (TransformerConfig(width=16, attention_dropout=0.1, residual_dropout=0.1, parametrization="mup"), 1.2),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_it_learns_in_one_short_epoch(data_dir: str, model: ModelConfig, most: float) -> None:
    source = DataConfig(fraction=1 / 16, dir=data_dir, max_eval=1000)
    result = loop.train_model(RunConfig(device="cpu", model=model, data=source, optim=OptimConfig(batch_size=32)))
    assert result.val_loss is not None
    assert result.val_loss < most  # chance is 2.30


@pytest.mark.parametrize("key", ["attention_dropout", "residual_dropout"])
def test_each_dropout_acts_in_training_alone(key: str) -> None:
    with seeding.global_stream(0, "init", torch.device("cpu")):
        model = models.build(TransformerConfig(width=8, **{key: 0.5}), SHAPE, CLASSES)  # type: ignore[arg-type]
    images = torch.randn(4, *SHAPE)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_the_norm_of_a_resnet_lets_no_example_see_another() -> None:
    with seeding.global_stream(0, "init", torch.device("cpu")):
        model = models.build(ModelConfig("resnet", width=2, depth=2), SHAPE, CLASSES)
    images = torch.randn(5, *SHAPE)
    torch.testing.assert_close(model(images)[:1], model(images[:1]))


# µP


@pytest.mark.parametrize(
    ("model", "widths"),
    [
        (MLPConfig(depth=3), (32, 64, 128, 256)),
        (ModelConfig("resnet", depth=1), (8, 16, 32, 64)),
        (TransformerConfig(), (16, 32, 64, 128)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_coordinates_are_flat_in_mup_and_grow_in_standard(
    data_dir: str, model: ModelConfig, widths: tuple[int, ...], optimizer: str
) -> None:
    found = {}
    for name in ("standard", "mup"):
        one = replace(model, parametrization=name, base_width=widths[0])
        optim = OptimConfig(optimizer, lr=1e-3 if optimizer == "adam" else 0.02, batch_size=16)
        run = RunConfig(device="cpu", model=one, data=DataConfig(dir=data_dir), optim=optim)
        table = slopes(coordinate_check(run, widths, (0, 1), steps=3))
        found[name] = table[table["step"] > 0].set_index(["layer", "step"])["change"]
    assert found["mup"].abs().max() < 0.25  # every layer, every step
    assert (found["standard"].loc["head"] > found["mup"].loc["head"] + 0.25).all()


# Configuration


def built(**model: Any) -> ModelConfig:
    return config.build(RunConfig, OmegaConf.create({"model": {"name": "transformer", **model}})).model


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"heads": 3},
            "`model.heads` must divide the embedding, `model.width`, but got 3 and 32: give one of 1, 2, 4,",
        ),
        ({"heads": 0}, "`model.heads >= 1` must hold, but got 0"),
        ({"patch": 0}, "`model.patch >= 1` must hold, but got 0"),
        ({"attention_dropout": 1.0}, "`0 <= model.attention_dropout < 1` must hold, but got 1"),
        ({"residual_dropout": -0.1}, "`0 <= model.residual_dropout < 1` must hold, but got -0.1"),
    ],
)
def test_rules(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        TransformerConfig(**values)


@pytest.mark.parametrize("shape", [(3, 14, 21), (1, 8, 8), (2, 5, 9)])
def test_other_shapes_of_images(shape: tuple[int, ...]) -> None:
    for name in ("mlp", "resnet"):
        model = models.build(SMALLEST[name], shape, 4)
        assert model(torch.zeros(2, *shape)).shape == (2, 4)
    if shape[1] % 7 == 0 == shape[2] % 7:
        assert models.build(TransformerConfig(), shape, 4)(torch.zeros(2, *shape)).shape == (2, 4)
        return
    fix = "give one of 2, 4, 8." if shape[1] == 8 else "crop or pad the images to sides with a divisor."
    with pytest.raises(InputError, match=f"`model.patch` must divide .* but got 7 and {shape[1]} x {shape[2]}: {fix}"):
        models.build(TransformerConfig(), shape, 4)


def test_composing_any_family_imports_no_torch() -> None:
    code = (
        "import sys; from hydra import compose, initialize_config_dir; from mnist_scaling import cli, config\n"
        "with initialize_config_dir(cli.conf_dir()):\n"
        "    for name in config.model_names():\n"
        "        run = config.build(config.RunConfig, compose('train', [f'model={name}']))\n"
        "        assert run.model.name == name\n"
        "print(len(config.model_names()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(SMALLEST)), "False"]


def test_the_predicted_time_grows_with_all_that_a_step_does() -> None:
    def seconds(**model: Any) -> float:
        return cost.cost(RunConfig(model=TransformerConfig(**model), regime=RegimeConfig()))

    assert seconds() < seconds(depth=3) < seconds(depth=3, residual_dropout=0.1)
    assert seconds(width=16) < seconds() < seconds(width=64)
    by_hand, wider = (cost.cost(RunConfig(model=ModelConfig(width=width))) for width in (91, 92))
    assert wider > 3 * by_hand  # the fast folder's own limit, not a rule that is kept elsewhere

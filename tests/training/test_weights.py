"""Weights that a run leaves and another one starts from."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mnist_scaling.config import DataConfig, ModelConfig, OptimConfig, RegimeConfig, RunConfig, TrialConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study.layout import WEIGHTS
from mnist_scaling.training import loop, models, scoring, seeding, weights
from mnist_scaling.training.data import splits

CPU = torch.device("cpu")
SHAPE = (1, 28, 28)
REGIMES = {
    "single_epoch": RegimeConfig(),
    "early_stopping": RegimeConfig("early_stopping", patience=2, max_epochs=8),
    "wsd": RegimeConfig("wsd", branches=(0.5, 1.0)),
}


@pytest.fixture
def run(data_dir: str) -> RunConfig:
    return RunConfig(
        device="cpu",
        model=ModelConfig(width=2),
        data=DataConfig(fraction=1 / 64, dir=data_dir, max_eval=300),
        optim=OptimConfig(lr=1e-2, batch_size=16),
        save_weights=True,
    )


@pytest.fixture
def tuned(run: RunConfig, tmp_path: Path) -> RunConfig:
    """A run that starts from another one's weights."""
    loop.train_model(run, folder=tmp_path)
    return replace(run, init_from=str(tmp_path), save_weights=False, seed=5)


@pytest.mark.parametrize("name", REGIMES)
def test_the_weights_that_count_are_saved(run: RunConfig, name: str, tmp_path: Path) -> None:
    schedule = "cosine" if name == "single_epoch" else "wsd"
    run = replace(run, regime=REGIMES[name], optim=replace(run.optim, schedule=schedule))
    result = loop.train_model(run, folder=tmp_path)
    assert loop.train_model(replace(run, save_weights=False)) == result  # and saving them changes nothing
    model = weights.initial_model(replace(run, init_from=str(tmp_path)), SHAPE, 10)
    loss, _ = scoring.evaluate(model, splits.load(run.data, CPU).validation.head(300))
    assert loss == (result.branches[-1]["val_loss"] if name == "wsd" else result.val_loss)


def test_a_run_goes_on_from_them(run: RunConfig, tmp_path: Path) -> None:
    """A first step on images that the source has not seen: the model knows digits already."""
    loop.train_model(replace(run, data=replace(run.data, fraction=1 / 8)), folder=tmp_path)
    fresh = replace(run, seed=5, save_weights=False)
    scratch = loop.train_model(fresh)
    result = loop.train_model(replace(fresh, init_from=str(tmp_path)))
    assert scratch.val_loss is not None
    assert result.val_loss is not None
    assert result.val_loss < 0.7 * scratch.val_loss
    assert (result.n_seen, result.flops) == (scratch.n_seen, scratch.flops)


def test_trials_and_pruned_runs_leave_none(run: RunConfig, tmp_path: Path) -> None:
    loop.train_model(replace(run, trial=TrialConfig(stage="trial")), folder=tmp_path)
    loop.train_model(replace(run, save_weights=False), folder=tmp_path)
    assert not list(tmp_path.iterdir())
    loop.train_model(replace(run, trial=TrialConfig(stage="repeat")), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS]


def test_the_layer_of_the_logits_starts_afresh_where_classes_differ(tuned: RunConfig, tmp_path: Path) -> None:
    found = weights.source(tuned, SHAPE, 7)
    assert found is not None
    assert found.note == (
        f"the layer that makes the logits starts afresh, because {tmp_path / WEIGHTS} has the 10 classes of mnist and "
        "this data set the 7 of mnist"
    )
    model = weights.initial_model(tuned, SHAPE, 7)
    with seeding.global_stream(tuned.seed, "init", CPU):
        fresh = models.build(tuned.model, SHAPE, 7)
    saved = weights.initial_model(tuned, SHAPE, 10).state_dict()
    head = {id(p) for p in model.parts().output.parameters()}
    names = [name for name, p in model.named_parameters() if id(p) in head]
    assert names == ["head.weight", "head.bias"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, (fresh.state_dict() if name in names else saved)[name])
    same = weights.source(tuned, SHAPE, 10)
    assert same is not None
    assert same.note == ""
    assert weights.source(replace(tuned, init_from=None), SHAPE, 10) is None


def test_ten_other_classes_are_other_classes(tuned: RunConfig) -> None:
    other = weights.source(replace(tuned, data=replace(tuned.data, name="fashion_mnist")), SHAPE, 10)
    again = weights.source(tuned, SHAPE, 10)
    assert other is not None
    assert again is not None
    assert "the 10 classes of mnist and this data set the 10 of fashion_mnist" in other.note
    assert set(again.weights) - set(other.weights) == {"head.weight", "head.bias"}
    assert again.note == ""


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        ({"width": 4}, SHAPE, "has a cnn of width 2 and depth 2 for images of 1 × 28 × 28, and the run has a cnn of "
                              "width 4 and depth 2 for images of 1 × 28 × 28: give"),
        ({"depth": 3}, SHAPE, "and the run has a cnn of width 2 and depth 3"),
        ({"parametrization": "mup"}, SHAPE, "and the run has a cnn of width 2 and depth 2, mup"),
        ({}, (1, 32, 32), "for images of 1 × 28 × 28, and the run has a cnn of width 2 and depth 2 for images of "
                          "1 × 32 × 32"),
    ],
)  # fmt: skip
def test_another_shape_is_refused(tuned: RunConfig, change: dict, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"A run must start from a model of its own shape, but .*{message}"):
        weights.source(replace(tuned, model=replace(tuned.model, **change)), shape, 10)


def test_missing_damaged_and_changed_weights_are_refused(tuned: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder of a run that ended with save_weights=true, but nope/weights\.pt "
                       r"can't be read \(No such file or directory\): give the folder"):  # fmt: skip
        weights.source(replace(tuned, init_from="nope"), SHAPE, 10)
    with pytest.raises(InputError, match="A study must keep the weights that it starts from, but .* began with 123…: "):
        weights.source(replace(tuned, init_sha256="123"), SHAPE, 10)
    path = tmp_path / WEIGHTS
    content = bytearray(path.read_bytes())
    content[content.index(torch.load(path)["weights"]["head.weight"].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"but .*weights\.pt is damaged \(BadZipFile\)"):
        weights.source(tuned, SHAPE, 10)


def test_a_file_that_would_run_code_is_not_loaded(tuned: RunConfig, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'sprung'}",)

    torch.save({"weights": Trap()}, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match="is damaged"):
        weights.source(tuned, SHAPE, 10)
    assert not (tmp_path / "sprung").exists()

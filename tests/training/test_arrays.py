"""Images and labels of one's own: what is taken, how it is split, and what is refused in one sentence."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mnist_scaling.config import DataConfig, ModelConfig, RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.training import loop
from mnist_scaling.training.data import arrays, splits
from tests.training.engines import use_plain_ones

CPU = torch.device("cpu")
Save = Callable[..., DataConfig]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes arrays to a file, and the configuration that reads it."""

    def write(**content: np.ndarray) -> DataConfig:
        np.savez(tmp_path / "mine.npz", **content)
        return DataConfig("arrays", path=str(tmp_path / "mine.npz"), validation=0.2, test=0.1, split_seed=0)

    return write


def images(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def labels(n: int, classes: int = 3) -> np.ndarray:
    return np.arange(n) % classes


def test_one_pair_is_split_by_class_and_by_its_seed(save: Save) -> None:
    config = save(images=images(300, 8, 12), labels=np.repeat([0, 1, 2], [150, 100, 50]))
    found = splits.load(config, CPU)
    assert found.image_shape == (1, 8, 12)
    assert found.classes == 3
    parts = (found.train, found.validation, found.test)
    assert [part.labels.bincount().tolist() for part in parts] == [[105, 70, 35], [30, 20, 10], [15, 10, 5]]
    assert sorted(torch.cat([part.rows for part in parts]).tolist()) == list(range(300))
    again = splits.load(replace(config, split_seed=0, fraction=0.5), CPU)
    other = splits.load(replace(config, split_seed=1), CPU)
    assert torch.equal(again.test.rows, found.test.rows)
    assert not torch.equal(other.test.rows, found.test.rows)


def test_pixels_are_standardised_by_the_training_part_alone(save: Save) -> None:
    x = images(100, 4, 4)
    for content in (x, (x / 255 - 7).astype(np.float64), x.astype(np.float16)):
        config = save(x_train=content, y_train=labels(100), x_test=np.zeros_like(content[:9]), y_test=labels(9))
        found = splits.load(config, CPU)
        assert found.train.pictures(found.train.rows).mean().item() == pytest.approx(0, abs=1e-4)
        assert found.train.pictures(found.train.rows).std(unbiased=False).item() == pytest.approx(1, rel=1e-4)
        raw = torch.from_numpy(content.astype(np.float64))[found.validation.rows]
        whole = torch.from_numpy(content.astype(np.float64))[found.train.rows]
        expected = (raw - whole.mean()) / whole.std(unbiased=False)
        torch.testing.assert_close(
            found.validation.pictures(found.validation.rows)[:, 0].double(), expected, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")],
)
def test_parts_that_the_file_has_are_taken_as_they_are(save: Save, names: tuple[str, ...]) -> None:
    x, x_test = images(100, 3, 5, 6), images(30, 3, 5, 6, seed=1)
    config = save(**dict(zip(names, (x, labels(100)[:, None], x_test, labels(30)[:, None]), strict=True)))
    found = splits.load(config, CPU)
    assert (len(found.train), len(found.validation), len(found.test)) == (80, 20, 30)
    np.testing.assert_array_equal(found.test.pixels[found.test.rows].numpy(), x_test)
    np.testing.assert_array_equal(found.test.labels.numpy(), labels(30))


def test_a_validation_part_of_ones_own_is_kept(save: Save) -> None:
    x = images(60, 4, 4)
    config = save(
        x_train=x[:40], y_train=labels(40), x_val=x[40:50], y_val=labels(10), x_test=x[50:], y_test=labels(10)
    )
    found = splits.load(config, CPU)
    assert [len(part) for part in (found.train, found.validation, found.test)] == [40, 10, 10]
    np.testing.assert_array_equal(found.validation.pixels[found.validation.rows][:, 0].numpy(), x[40:50])


GOOD = {"images": images(60, 4, 4), "labels": labels(60)}
NAN = np.where(np.arange(60)[:, None, None] == 7, np.nan, np.ones((60, 4, 4)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": np.array([object()] * 60)}, "it holds pickled objects, which could run any code"),
        ({"labels": np.array(["a"] * 60, dtype=object)}, "it holds pickled objects"),
        ({"images": NAN}, "Pixels must be finite, but 1 images of `images` of .* the first in row 7: mend"),
        ({"images": np.full((60, 4, 4), 1e300)}, "Pixels must be finite, but 60 images"),
        ({"images": np.ones((60, 4, 4), np.int64)}, "must be uint8 or float, .* but `images` of .* has the type int64"),
        ({"images": np.ones((60, 16))}, r"\(n, height, width\) or .* and the shape \(60, 16\): convert, reshape"),
        ({"images": np.ones((60, 8, 8, 3))}, r"\(n, channels, height, width\), but .* \(60, 8, 8, 3\).* np.moveaxis"),
        ({"images": np.ones((60, 0, 4))}, r"the shape \(60, 0, 4\)"),
        ({"images": np.ones((60, 4, 4))}, "every pixel of the training part of .* is 1"),
        ({"images": GOOD["images"][:59]}, r"one for each of 59 images, but `labels` of .* has the shape \(60,\)"),
        ({"labels": labels(60) + 1}, "must be 0 to K - 1 .* are 3 values from 1 to 3: number the classes anew"),
        ({"labels": labels(60) * 2}, "are 3 values from 0 to 4"),
        ({"labels": labels(60) - 1}, "are 3 values from -1 to 1"),
        ({"labels": np.zeros(60, int)}, "K at least 2, but those of .* are 1 values"),
        ({"labels": labels(60) + 0.5}, "must be whole numbers, .* the type float64"),
        ({"labels": np.eye(3)[labels(60)]}, r"has the shape \(60, 3\)"),
        ({"labels": np.r_[labels(58), 3, 3]}, "class 3 of .*, with 2 examples, has none in the"),
        ({"x_test": images(9, 4, 5), "y_test": labels(9)}, r"but the test images are \(1, 4, 5\) of uint8"),
        ({"x_test": images(9, 4, 4), "y_test": labels(9) + 1}, "Labels must be those of the training part, 0 to 2"),
        ({"x_test": images(9, 4, 4)}, "the test images and labels under one pair of names .* but it has images"),
        ({"x_train": images(60, 4, 4)}, "the training images and labels under one pair of names"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_refused_in_a_sentence(save: Save, change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        splits.spec(save(**GOOD | change))
    assert "\n" not in str(caught.value)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("executed"),)


def test_nothing_in_a_file_is_executed(save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = np.empty(1, dtype=object)
    evil[0] = Evil()
    config = save(**GOOD, extra=evil)
    contents = [Path(str(config.path)).read_bytes(), pickle.dumps(Evil()), b"", b"PK\x03\x04 torn", b"\x93NUMPY torn"]
    for content in contents:
        Path(str(config.path)).write_bytes(content)
        with pytest.raises(InputError, match="must be an .npz file"):
            splits.spec(config)
    assert not (tmp_path / "executed").exists()


def test_a_file_that_is_not_there_or_a_lone_array_is_named(tmp_path: Path) -> None:
    config = DataConfig("arrays", path=str(tmp_path / "x.npz"), validation=0.1, test=0.1, split_seed=0)
    with pytest.raises(InputError, match="must be an .npz file, but .*x.npz can't be read"):
        splits.spec(config)
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, images(60, 4, 4))
    with pytest.raises(InputError, match="holds a single array"):
        splits.spec(config)


def test_a_file_that_changes_is_read_again_and_refused_by_its_checksum(save: Save) -> None:
    config = splits.prepare(save(**GOOD))
    assert len(config.sha256 or "") == 64
    assert arrays.read(config) is arrays.read(config), "read once while it does not change"
    save(**GOOD | {"images": images(60, 4, 4, seed=1)})
    with pytest.raises(InputError, match=f"has the sha256 .* and the study began with {config.sha256[:12]}"):
        splits.spec(config)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"path": None}, "`data.path` must be given with data=arrays, but got none"),
        ({"validation": 0.0}, "`0 < data.validation < 1` must hold, but got 0"),
        ({"test": None}, "`0 < data.test < 1` must hold, but got None"),
        ({"validation": 0.5, "test": 0.5}, r"`data.validation \+ data.test < 1` must hold"),
        ({"split_seed": -1}, "`data.split_seed >= 0` must hold"),
        ({"name": "mnist"}, "`data.path` must be given with data=arrays only"),
    ],
)
def test_keys_of_arrays_have_rules(change: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(DataConfig("arrays", path="x", validation=0.1, test=0.1, split_seed=0), **change)


@pytest.mark.parametrize(
    ("shape", "kind"), [((8, 8), np.uint8), ((8, 8), np.float32), ((1, 5, 7), np.float32), ((3, 9, 4), np.uint8)]
)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_any_shape_trains_and_the_engines_agree(save: Save, shape: tuple, kind: type, depth: int, monkeypatch) -> None:
    y = labels(400, 4)
    x = (images(400, *shape) // 4 + 40 * y.reshape(-1, *[1] * len(shape))).astype(kind)
    run = RunConfig(device="cpu", model=ModelConfig(width=3, depth=depth), data=save(images=x, labels=y))
    fast = loop.train_model(run)
    assert fast.n_train == 280
    assert fast.test_loss is not None
    use_plain_ones(monkeypatch)
    plain = loop.train_model(run)
    assert fast.val_loss == pytest.approx(plain.val_loss, rel=1e-3)

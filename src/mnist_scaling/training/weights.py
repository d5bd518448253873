"""Weights that one run leaves and another one starts from: `save_weights` and `init_from`."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnist_scaling.config import RunConfig, require
from mnist_scaling.errors import InputError
from mnist_scaling.study import files
from mnist_scaling.study.columns import TRIAL
from mnist_scaling.study.layout import WEIGHTS
from mnist_scaling.training import models, seeding
from mnist_scaling.training.data import splits

_SAME = ("name", "width", "depth", "parametrization", "base_width")
"""Keys of `model` that are named where two models differ; what decides is the shape of every weight."""


@dataclass(frozen=True)
class InitialWeights:
    """Weights to start from, as far as they fit."""

    sha256: str
    """Checksum of the file."""
    weights: dict[str, Tensor]
    """What is taken over, by name."""
    note: str
    """What is not taken over, in words; empty when all is."""


def save(folder: Path | None, config: RunConfig, model: nn.Module, image_shape: tuple[int, ...], classes: int) -> None:
    """Write the weights of a finished run into its folder, with the shape that they are of.

    A run leaves them that was asked to, has a folder, and is no trial of the tuner.
    """
    if folder is None or not config.save_weights or config.trial.stage == TRIAL:
        return
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    shape = {key: getattr(config.model, key) for key in _SAME}
    known = {"image_shape": list(image_shape), "classes": classes, "labels": splits.label_names(config.data)}
    with files.replacing(folder / WEIGHTS) as file:
        torch.save({"model": shape, **known, "weights": weights}, file)


def source(config: RunConfig, image_shape: tuple[int, ...], classes: int) -> InitialWeights | None:
    """What a run with `init_from` starts from; None for a run that starts from scratch.

    All weights are taken over, but those of the layer that makes the logits only where the classes are the same: as
    many, of the same meaning. Class 3 is a digit in one data set and a dress in another. It raises InputError when
    there is no such file, it is damaged or has changed, or its model has another shape.
    """
    if config.init_from is None:
        return None
    path = Path(config.init_from) / WEIGHTS
    sha256, saved = _read(path)
    require(
        config.init_sha256 in (None, sha256),
        f"A study must keep the weights that it starts from, but {path} has the sha256 {sha256[:12]}… and the study "
        f"began with {str(config.init_sha256)[:12]}…: put the old file back, or give the new study another `name=`.",
    )
    with torch.device("meta"):
        model = models.build(config.model, image_shape, classes)
    labels = splits.label_names(config.data)
    same_classes = (saved["classes"], saved["labels"]) == (classes, labels)
    own = {id(parameter) for parameter in model.parts().output.parameters()}
    head = set() if same_classes else {name for name, parameter in model.named_parameters() if id(parameter) in own}
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items() if name not in head}
    taken = {name: tensor for name, tensor in saved["weights"].items() if name not in head}
    here = {key: getattr(config.model, key) for key in _SAME}
    fits = {name: tensor.shape for name, tensor in taken.items()} == wanted
    same = all(here[key] == saved["model"].get(key) for key in ("name", "parametrization"))
    require(
        fits and same and saved["image_shape"] == list(image_shape),
        f"A run must start from a model of its own shape, but {path} has {_told(saved['model'])} for images of "
        f"{_size(saved['image_shape'])}, and the run has {_told(here)} for images of {_size(image_shape)}: give "
        "`model` and `data` of that shape, or another run's folder as `init_from`.",
    )
    note = ""
    if head:
        note = (
            f"the layer that makes the logits starts afresh, because {path} has the {saved['classes']} classes of "
            f"{saved['labels']} and this data set the {classes} of {labels}"
        )
    return InitialWeights(sha256, taken, note)


def initial_model(config: RunConfig, image_shape: tuple[int, ...], classes: int) -> models.Family:
    """A run's model before its first step: fresh weights from the run's own stream, and what `init_from` replaces."""
    with seeding.global_stream(config.seed, "init", torch.device("cpu")):
        model = models.build(config.model, image_shape, classes)
    if (initial := source(config, image_shape, classes)) is not None:
        model.load_state_dict(model.state_dict() | initial.weights)
    return model


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """Checksum and content of a file: tensors and plain values, never code, which weights_only does not admit."""
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if (changed := archive.testzip()) is not None:  # torch itself compares no checksum
                raise zipfile.BadZipFile(changed)
        return hashlib.sha256(content).hexdigest(), torch.load(io.BytesIO(content), "cpu", weights_only=True)
    except OSError as error:
        raise InputError(
            f"`init_from` must be the folder of a run that ended with save_weights=true, but {path} can't be read "
            f"({error.strerror}): give the folder of such a run."
        ) from error
    except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise InputError(
            f"`init_from` must name whole weights, but {path} is damaged ({type(error).__name__}): train it again."
        ) from error


def _told(model: dict[str, Any]) -> str:
    rest = "" if model.get("parametrization") == "standard" else f", {model.get('parametrization')}"
    return f"a {model.get('name')} of width {model.get('width')} and depth {model.get('depth')}{rest}"


def _size(shape: list[int] | tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))

"""What a run leaves in its folder: a checkpoint, from which it goes on if it is killed, and weights for other runs.

Both are files of tensors and plain values, with a checksum and never code.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnist_scaling.config import RunConfig, flatten, require
from mnist_scaling.errors import InputError
from mnist_scaling.study import files
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.study.layout import CHECKPOINT, WEIGHTS
from mnist_scaling.study.vocabulary import TRIAL
from mnist_scaling.training import models, seeding
from mnist_scaling.training.data import splits

_CHECKPOINT, _WEIGHTS = "checkpoint", "weights"
"""What a file says that it is."""

_SAME = ("name", "width", "depth", "parametrization", "base_width")
"""Keys of `model` that are named where two models differ; what decides is the shape of every weight."""


def header(kind: str, content: bytes | memoryview) -> bytes:
    """How a file of a kind begins: a line with the SHA-256 of what `torch.save` wrote, which follows."""
    digest = hashlib.sha256(content).hexdigest()
    return f"mnist_scaling {kind}, SHA-256 of what follows this line: {digest}\n".encode()


def write_tensors(path: Path, kind: str, content: dict[str, Any]) -> None:
    """Replace the file; a kill at any moment leaves the old one or the new one."""
    memory = io.BytesIO()
    torch.save(content, memory)
    with files.replacing(path) as file:
        file.write(header(kind, memory.getbuffer()))
        file.write(memory.getbuffer())
    files.remove_leftovers(path)  # of an attempt that was killed while it wrote


def read_tensors(path: Path, kind: str) -> dict[str, Any]:
    """What was written.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    DamagedFileError
        When a byte differs from what was written, or the file is of another kind.
    """
    found = path.read_bytes()
    size = len(header(kind, b""))
    if found[:size] != header(kind, memoryview(found)[size:]):
        raise DamagedFileError(path, "its checksum is not that of its content")
    try:
        # weights_only admits tensors and plain values, so that a file never runs code.
        content = torch.load(io.BytesIO(found[size:]), map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise DamagedFileError(path, f"it holds no {kind}: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise DamagedFileError(path, f"it holds no {kind}")
    return content


class Checkpoint:
    """The checkpoint file of one run; another run's is not read. Who keeps the run's record deletes it."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.path = folder / CHECKPOINT
        self._run = json.dumps(_identity(config), sort_keys=True)

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file; a kill at any moment leaves the old one or the new one."""
        write_tensors(self.path, _CHECKPOINT, {**content, "run": self._run})

    def read(self) -> dict[str, Any] | None:
        """The file's content; None when there is none or it is another run's.

        A damaged file is set aside with a sentence on stderr, and the run starts afresh.
        """
        try:
            content = read_tensors(self.path, _CHECKPOINT)
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            files.set_aside(error, "and the run starts afresh")
            return None
        return content if content.get("run") == self._run else None


def _identity(config: RunConfig) -> dict[str, Any]:
    """All of a config that decides a run's bits; not who launched it, and not where its data lie."""
    identity = flatten(asdict(config))
    for key in ("data.dir", "data.path", "init_from", "save_weights"):
        del identity[key]
    return identity


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
    write_tensors(folder / WEIGHTS, _WEIGHTS, {"model": shape, **known, "weights": weights})


def source(config: RunConfig, image_shape: tuple[int, ...], classes: int) -> InitialWeights | None:
    """What a run with `init_from` starts from; None for a run that starts from scratch.

    All weights are taken over, but those of the layer that makes the logits only where the classes are the same: as
    many, of the same meaning. Class 3 is a digit in one data set and a dress in another.

    Raises
    ------
    InputError
        When there is no such file, it is damaged or has changed, or its model has another shape.
    """
    if config.init_from is None:
        return None
    path = Path(config.init_from) / WEIGHTS
    sha256, found = _read(path)
    require(
        config.init_sha256 in (None, sha256),
        f"A study must keep the weights that it starts from, but {path} has the sha256 {sha256[:12]}… and the study "
        f"began with {str(config.init_sha256)[:12]}…: put the old file back, or give the new study another `name=`.",
    )
    with torch.device("meta"):
        model = models.build(config.model, image_shape, classes)
    labels = splits.label_names(config.data)
    same_classes = (found["classes"], found["labels"]) == (classes, labels)
    own = {id(parameter) for parameter in model.parts().output.parameters()}
    head = set() if same_classes else {name for name, parameter in model.named_parameters() if id(parameter) in own}
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items() if name not in head}
    taken = {name: tensor for name, tensor in found["weights"].items() if name not in head}
    here = {key: getattr(config.model, key) for key in _SAME}
    fits = {name: tensor.shape for name, tensor in taken.items()} == wanted
    same = all(here[key] == found["model"].get(key) for key in ("name", "parametrization"))
    require(
        fits and same and found["image_shape"] == list(image_shape),
        f"A run must start from a model of its own shape, but {path} has {_told(found['model'])} for images of "
        f"{_size(found['image_shape'])}, and the run has {_told(here)} for images of {_size(image_shape)}: give "
        "`model` and `data` of that shape, or another run's folder as `init_from`.",
    )
    note = ""
    if head:
        note = (
            f"the layer that makes the logits starts afresh, because {path} has the {found['classes']} classes of "
            f"{found['labels']} and this data set the {classes} of {labels}"
        )
    return InitialWeights(sha256, taken, note)


def initial_model(config: RunConfig, image_shape: tuple[int, ...], classes: int) -> models.Family:
    """A run's model before its first step: fresh weights from the run's own stream, and what `init_from` replaces."""
    with seeding.global_stream(config.seed, "init", torch.device("cpu")):
        model = models.build(config.model, image_shape, classes)
    if (found := source(config, image_shape, classes)) is not None:
        model.load_state_dict(model.state_dict() | found.weights)
    return model


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest(), read_tensors(path, _WEIGHTS)
    except OSError as error:
        raise InputError(
            f"`init_from` must be the folder of a run that ended with save_weights=true, but {path} can't be read "
            f"({error.strerror}): give the folder of such a run."
        ) from error
    except DamagedFileError as error:
        raise InputError(
            f"`init_from` must name whole weights, but {path} is damaged ({error.reason}): train that run again."
        ) from error


def _told(model: dict[str, Any]) -> str:
    rest = "" if model.get("parametrization") == "standard" else f", {model.get('parametrization')}"
    return f"a {model.get('name')} of width {model.get('width')} and depth {model.get('depth')}{rest}"


def _size(shape: list[int] | tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))

"""Model families, one file each: what a family states of itself, and how it is found by its name.

conf/model/<name>.yaml names a family and its ranges; keys of its own are a class in config/family.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar, TypeVar, cast

from torch import Tensor, nn

from mnist_scaling import config as schema
from mnist_scaling.config import ModelConfig
from mnist_scaling.training import parametrization
from mnist_scaling.training.parametrization import Label, Role


@dataclass(frozen=True)
class Parts:
    """A model's layers by their role, from which parameters are counted by every convention."""

    input: nn.Module
    """The layer that touches the image."""
    hidden: nn.Module
    """All between; it may hold no parameters."""
    output: nn.Linear
    """The layer that makes the logits."""


@dataclass(frozen=True)
class Pace:
    """Predicted seconds on one core; a run takes ``step`` per step, and ``example`` per example that it trains on."""

    step: float
    example: float
    forward: float
    """Per example that is only evaluated."""


class Family(nn.Module, ABC):
    """A network, with what the rest of training needs to know about it.

    `build` makes it of the image's shape (channels, height, width), the number of classes, and an instance of the
    family's own `Config`.
    """

    Config: ClassVar[type[ModelConfig]] = ModelConfig
    """The family's node of the configuration: `ModelConfig`, or a frozen subclass with its further keys."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""

    @abstractmethod
    def parts(self) -> Parts:
        """Layers by role."""

    @abstractmethod
    def labels(self) -> Mapping[str, Label]:
        """Role and growth with width of every parameter, by name; what µP needs."""

    @classmethod
    def pace(cls, config: ModelConfig, image_shape: tuple[int, ...], flops: int) -> Pace:
        """How fast autograd trains it, for the prediction of times and the order of cells, not for any result.

        The default knows nothing of the family: 0.6 ms per step, and the FLOPs of training on an example at 15 GFLOP/s,
        as wide CNNs have.
        """
        return Pace(6e-4, flops / 15e9, flops / 45e9)


class LayeredFamily(Family):
    """A family of three parts, one after the other: `first` on the images, `hidden`, and a linear head with dropout.

    A subclass makes `first` and `hidden`, in this order, and then calls `add_head`.
    """

    first: nn.Module
    hidden: nn.Sequential

    def add_head(self, features: int, classes: int, config: ModelConfig) -> None:
        """Make dropout and the head on so many features; weights are drawn in the order in which layers are made."""
        self.dropout = nn.Dropout(config.dropout)
        self.head = parametrization.Readout(features, classes)
        self.growth = parametrization.growth(config)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        return self.head(self.dropout(self.features(images).flatten(1)))

    def features(self, images: Tensor) -> Tensor:
        """What the head reads, (batch, …)."""
        return cast(Tensor, self.hidden(self.first(images)))

    def parts(self) -> Parts:
        """Layers by role."""
        return Parts(self.first, self.hidden, self.head)

    def labels(self) -> dict[str, Label]:
        """Role and growth of every parameter: all but the image and the classes grows as the width."""
        return labels_by_layer(self, self.growth)


def labels_by_layer(model: Family, growth: float) -> dict[str, Label]:
    """Labels of a model in which everything grows as the width but the image and the classes.

    Weights of the input part are INPUT, those of the output part OUTPUT, those between HIDDEN. Biases and the gains of
    norms are VECTOR; torch draws a bias by the fan-in of its layer, and norms start at 1 and 0 whatever the width.
    `growth` is width over base width. A parameter in no layer of torch's own is left out: its family labels it.
    """
    parts, labels = model.parts(), {}
    inputs, n = {id(p) for p in parts.input.parameters()}, growth
    for layer_name, layer in model.named_modules():
        norm = isinstance(layer, nn.LayerNorm | nn.GroupNorm)
        if not norm and not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        fan_out = 1.0 if layer is parts.output else n
        for name, parameter in layer.named_parameters(f"{layer_name}", recurse=False):
            fan_in = 1.0 if norm or id(parameter) in inputs else n
            if norm or name.endswith("bias"):
                labels[name] = Label(Role.VECTOR, fan_in, fan_out)
            elif id(parameter) in inputs:
                labels[name] = Label(Role.INPUT, fan_out=fan_out)
            else:
                labels[name] = Label(Role.OUTPUT if layer is parts.output else Role.HIDDEN, fan_in, fan_out)
    return labels


FAMILIES: dict[str, type[Family]] = {}
"""Families that have been imported, by the value of `model.name`; `family` imports what is missing."""

Kind = TypeVar("Kind", bound=type[Family])


def register(name: str) -> Callable[[Kind], Kind]:
    """Class decorator that makes a family, and its config class, known by the value of `model.name`."""

    def add(kind: Kind) -> Kind:
        FAMILIES[name] = kind
        schema.MODEL_CONFIGS[name] = kind.Config
        return kind

    return add


def family(name: str) -> type[Family]:
    """The family of that name, imported from its file here when first asked for; InputError when there is none."""
    schema.one_of("model.name", name, schema.model_names())
    if name not in FAMILIES:
        import_module(f"{__package__}.{name}")
    return FAMILIES[name]


def build(config: ModelConfig, image_shape: tuple[int, ...], classes: int) -> Family:
    """A model with fresh weights from torch's global generator, on torch's default device.

    They are scaled as `model.parametrization` says; under the standard one they stay as drawn. It raises InputError
    when the family is unknown. It raises TypeError when `config` is not of the family's own class.
    """
    kind = family(config.name)
    if not isinstance(config, kind.Config):
        raise TypeError(f"model.name={config.name} needs a {kind.Config.__name__}, but got a {type(config).__name__}.")
    model = kind(image_shape, classes, config)
    parametrization.scale(model)
    return model

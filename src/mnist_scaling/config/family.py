"""The configuration of a model: what every family has, and how a family's own class is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from mnist_scaling.errors import holds, one_of, require


@dataclass(frozen=True)
class ModelConfig:
    """A model family and its shape: what every family has, and all that the CNN needs.

    A family with keys of its own declares a frozen subclass in config/models/<name>.py, as `CONFIG`, without torch.
    """

    ALIASES: ClassVar[Mapping[str, str]] = {}
    """Further names that a family's literature has for keys, such as embed_dim for width: alias to key."""

    name: str = "cnn"
    """Family: the network of that name in training/models/."""
    width: int = 8
    """What scales the hidden layers, the scientific key of most studies: for the CNN, channels of the first layer."""
    depth: int = 2
    """Layers before the one that makes the logits: for the CNN, convolutions; for others see docs/training.md."""
    dropout: float = 0.0
    """Probability that a feature before the layer that makes the logits is dropped while training."""
    parametrization: str = "standard"
    """How initial weights and learning rates change with width: standard, or mup (Yang et al. 2022)."""
    base_width: int = 8
    """Width at which mup is the same model as standard, and lr_scaling=fan_in the same rate as none."""

    def __post_init__(self) -> None:
        holds(self.width >= 1, "model.width >= 1", self.width, "give a positive whole number.")
        holds(self.depth >= 1, "model.depth >= 1", self.depth, "give a positive whole number.")
        holds(0 <= self.dropout < 1, "0 <= model.dropout < 1", self.dropout, "give a probability.")
        one_of("model.parametrization", self.parametrization, ("standard", "mup"))
        holds(self.base_width >= 1, "model.base_width >= 1", self.base_width, "give the width at which lr was tuned.")

    @classmethod
    def without_aliases(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of a model's keys with each alias under the key that it stands for.

        A key and its alias may both be there if they agree; where one is null, the other counts, and where both are,
        the class's default.

        Raises
        ------
        InputError
            When they contradict each other.
        """
        found = dict(values)
        for alias, key in cls.ALIASES.items():
            given = {name: value for name in (key, alias) if (value := found.pop(name, None)) is not None}
            require(
                len({str(value) for value in given.values()}) <= 1,
                f"`model.{alias}` must equal `model.{key}`, whose other name it is, but got {given.get(alias)} and "
                f"{given.get(key)}: give one of the two.",
            )
            if given:
                found[key] = next(iter(given.values()))
        return found


@dataclass(frozen=True)
class MLPConfig(ModelConfig):
    """The keys that every family has: `width` counts the units of each hidden layer, `depth` the hidden layers."""

    name: str = "mlp"
    width: int = 32


@dataclass(frozen=True)
class ResNetConfig(ModelConfig):
    """The keys that every family has: `width` counts the channels of the first layer, `depth` the residual blocks."""

    name: str = "resnet"


MODEL_CONFIGS: dict[str, type[ModelConfig]] = {"cnn": ModelConfig, "mlp": MLPConfig, "resnet": ResNetConfig}
"""Config classes by the value of `model.name`; `model_config` adds those of config/models/ that are asked for, and
`training.models.register` those of families that stand elsewhere."""

_FOLDER = Path(__file__).parent / "models"


def model_names() -> tuple[str, ...]:
    """Names of all families: those above, the files of config/models/, and those registered elsewhere."""
    files = {path.stem for path in _FOLDER.glob("*.py")} - {"__init__"}
    return tuple(sorted(files | set(MODEL_CONFIGS)))


def model_config(name: str) -> type[ModelConfig]:
    """Config class of a family. No torch is imported.

    Raises
    ------
    InputError
        When there is no such family.
    """
    one_of("model.name", name, model_names())
    if name not in MODEL_CONFIGS:
        MODEL_CONFIGS[name] = import_module(f"mnist_scaling.config.models.{name}").CONFIG
    return MODEL_CONFIGS[name]

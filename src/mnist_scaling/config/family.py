"""The configuration of a model: what every family has, and how a family's own class is found."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from mnist_scaling.config.rules import one_of, require


@dataclass(frozen=True)
class ModelConfig:
    """A model family and its shape: what every family has, and all that the CNN needs.

    A family with further keys declares a frozen subclass in its file in training/models/.
    """

    name: str = "cnn"
    """Family: a file in training/models/."""
    width: int = 8
    """What grows from model to model, the scientific key of most studies: for the CNN, channels of the first layer."""
    depth: int = 2
    """Layers before the one that makes the logits: for the CNN, convolutions."""
    dropout: float = 0.0
    """Probability that a feature before the layer that makes the logits is dropped while training."""
    parametrization: str = "standard"
    """How initial weights and learning rates change with width: standard, or mup (Yang et al. 2022)."""
    base_width: int = 8
    """Width at which mup is the same model as standard, and lr_scaling=fan_in the same rate as none."""

    def __post_init__(self) -> None:
        require(self.width >= 1, f"`model.width >= 1` must hold, but got {self.width}: give a positive whole number.")
        require(self.depth >= 1, f"`model.depth >= 1` must hold, but got {self.depth}: give a positive whole number.")
        require(
            0 <= self.dropout < 1, f"`0 <= model.dropout < 1` must hold, but got {self.dropout:g}: give a probability."
        )
        one_of("model.parametrization", self.parametrization, ("standard", "mup"))
        require(
            self.base_width >= 1,
            f"`model.base_width >= 1` must hold, but got {self.base_width}: give the width at which lr was tuned.",
        )


MODEL_CONFIGS: dict[str, type[ModelConfig]] = {"cnn": ModelConfig}
"""Config class of a family by the value of `model.name`. `training.models.register` adds a family's when its file
is imported; the default one stands here so that composing a config needs no torch."""

_MODELS = Path(__file__).parents[1] / "training" / "models"


def model_names() -> tuple[str, ...]:
    """Names of all families: the files of training/models/, and those registered elsewhere."""
    files = {path.stem for path in _MODELS.glob("*.py")} - {"__init__", "base"}
    return tuple(sorted(files | set(MODEL_CONFIGS)))


def model_config(name: str) -> type[ModelConfig]:
    """Config class of a family.

    A file of training/models/ is a plug-in that is found by its name. It holds network and config class, so
    asking for one beside the CNN's imports torch, which whoever composes such a run needs next.

    Raises
    ------
    InputError
        When there is no such family.
    """
    one_of("model.name", name, model_names())
    if name not in MODEL_CONFIGS:
        import_module(f"mnist_scaling.training.models.{name}")
    return MODEL_CONFIGS[name]

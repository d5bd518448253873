"""The configuration of a model: what every family has, and the classes of families with keys of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mnist_scaling.errors import holds, one_of, require


@dataclass(frozen=True)
class ModelConfig:
    """A model family and its shape: what every family has, and all that the CNN needs.

    A family with keys of its own has a frozen subclass below, and its name in `MODEL_CONFIGS`.
    """

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


@dataclass(frozen=True)
class MLPConfig(ModelConfig):
    """The keys that every family has: `width` counts the units of each hidden layer, `depth` the hidden layers."""

    name: str = "mlp"
    width: int = 32


@dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """`width` is the length of a token's embedding, `depth` counts the blocks."""

    name: str = "transformer"
    width: int = 32
    heads: int = 2
    """Attention heads; each takes its share of the embedding."""
    patch: int = 7
    """Side of the square patches that become tokens, in pixels; it must divide the image's height and width."""
    attention_dropout: float = 0.0
    """Probability that an attention weight is dropped while training."""
    residual_dropout: float = 0.0
    """Probability that an entry of what attention, or the perceptron after it, adds to a token is dropped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("heads", "patch"):
            value = getattr(self, key)
            holds(value >= 1, f"model.{key} >= 1", value, "give a positive whole number.")
        divisors = [str(n) for n in range(1, self.width + 1) if self.width % n == 0]
        require(
            self.width % self.heads == 0,
            f"`model.heads` must divide the embedding, `model.width`, but got {self.heads} and {self.width}: give one "
            f"of {', '.join(divisors)} heads, or another width.",
        )
        for key in ("attention_dropout", "residual_dropout"):
            value = getattr(self, key)
            holds(0 <= value < 1, f"0 <= model.{key} < 1", value, "give a probability.")


MODEL_CONFIGS: dict[str, type[ModelConfig]] = {"mlp": MLPConfig, "transformer": TransformerConfig}
"""Config classes of families with keys or defaults of their own, by the value of `model.name`;
`training.models.register` adds those of families that stand elsewhere."""


def model_names() -> tuple[str, ...]:
    """Names of all families: the files of training/models/, and those registered elsewhere."""
    files = (Path(__file__).parents[1] / "training" / "models").glob("*.py")
    return tuple(sorted({path.stem for path in files} - {"__init__"} | set(MODEL_CONFIGS)))


def model_config(name: str) -> type[ModelConfig]:
    """Config class of a family, without an import of torch; InputError when there is no such family."""
    one_of("model.name", name, model_names())
    return MODEL_CONFIGS.get(name, ModelConfig)

"""The schema of conf/train.yaml: what one training run is, as frozen dataclasses with their defaults and rules.

Each default stands here once and conf/ holds what differs from it; a key that no class declares is refused.
`build` is the border: above it lives Hydra's DictConfig, below it nothing but what is declared here.
"""

from mnist_scaling.config.building import (
    build,
    defaults_like,
    flatten,
    from_values,
    literal,
    register,
    typed,
    unflatten,
    with_values,
)  # fmt: skip
from mnist_scaling.config.family import MODEL_CONFIGS, ModelConfig, model_config, model_names
from mnist_scaling.config.run import (
    ARRAYS,
    AUGMENT,
    CurveConfig,
    DataConfig,
    OptimConfig,
    RegimeConfig,
    ReportsConfig,
    RunConfig,
    TrainConfig,
    TrialConfig,
)  # fmt: skip
from mnist_scaling.errors import one_of, require

PRINTED = TEXT, JSON = "text", "json"
"""What a command can print: for people, or for scripts."""

__all__ = [
    "ARRAYS", "AUGMENT", "JSON", "MODEL_CONFIGS", "PRINTED", "TEXT", "CurveConfig", "DataConfig", "ModelConfig",
    "OptimConfig", "RegimeConfig", "ReportsConfig", "RunConfig", "TrainConfig", "TrialConfig", "build",
    "defaults_like", "flatten", "from_values", "literal", "model_config", "model_names", "one_of", "register",
    "require", "typed", "unflatten", "with_values",
]  # fmt: skip

register("train", TrainConfig)

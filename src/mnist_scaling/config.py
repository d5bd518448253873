"""The schema of conf/train.yaml: what one training run is, as frozen dataclasses with their defaults and rules.

`register` puts a schema under a command's YAML: each default stands here once, conf/ holds what differs from it, and
a key that no class declares is refused. ``build`` is the border: above it lives Hydra's DictConfig, below it nothing
but what is declared here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from mnist_scaling.errors import InputError

T = TypeVar("T")


def require(rule: bool, sentence: str) -> None:
    """Raise `InputError` with `sentence` unless `rule` holds."""
    if not rule:
        raise InputError(sentence)


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise `InputError` unless `value` is one of `allowed`."""
    require(value in allowed, f"`{key}` must be one of {', '.join(allowed)}, but got {value!r}.")


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

_MODELS = Path(__file__).parent / "training" / "models"


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
        import_module(f"{__package__}.training.models.{name}")
    return MODEL_CONFIGS[name]


@dataclass(frozen=True)
class DataConfig:
    """A data set and how much of it a run may see."""

    name: str = "mnist"
    """Data set; the registry is `training.sources.DATASETS`."""
    fraction: float = 1.0
    """Share of the 50,000 training images; nested and class-balanced for one seed."""
    dir: str = "data"
    """Folder of the downloaded files, shared by all studies."""
    max_train: int | None = None
    """Cap on the training images that `fraction` is taken of; null for all 50,000."""
    max_eval: int | None = None
    """Cap on validation and on test images; null for 10,000 each."""

    def __post_init__(self) -> None:
        require(
            0 < self.fraction <= 1,
            f"`0 < data.fraction <= 1` must hold, but got {self.fraction:g}: give the share of the 50,000 "
            "training images, such as 0.25.",
        )
        for key in ("max_train", "max_eval"):
            value = getattr(self, key)
            require(
                value is None or value >= 10,
                f"`data.{key}` must be at least 10 (one image a class) or null, but got {value}.",
            )


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, its learning-rate schedule and the batch size."""

    name: str = "adam"
    """Optimiser: adam, adamw or sgd."""
    lr: float = 5e-3
    """Peak learning rate, times what `lr_scaling` says."""
    batch_size: int = 32
    """Examples per step."""
    weight_decay: float = 0.0
    """Decoupled for adamw, L2 for adam and sgd."""
    momentum: float = 0.9
    """Momentum of sgd; Adam's beta1."""
    beta2: float = 0.999
    """Adam's beta2; unused by sgd."""
    schedule: str = "cosine"
    """Factor on `lr` over the run: cosine or linear to zero at its end, constant, wsd (constant, then a short
    decay to zero), or plateau (drops when the validation loss stalls; only where a regime watches it)."""
    warmup: float = 0.05
    """Share of the steps over which the rate rises linearly from zero."""
    decay: float = 0.2
    """Share of the steps over which wsd falls to zero; unused by the others."""
    decay_shape: str = "sqrt"
    """How wsd falls, q being the share of the decay that is done: sqrt (1 - sqrt q) or linear (1 - q)."""
    lr_scaling: str = "none"
    """How the peak changes with width, in place of tuning it at each: none, or fan_in, which is
    lr * sqrt(base_width / width), the rule of thumb lr ~ 1 / sqrt(fan_in) relative to `model.base_width`."""

    def __post_init__(self) -> None:
        one_of("optim.name", self.name, ("adam", "adamw", "sgd"))
        one_of("optim.lr_scaling", self.lr_scaling, ("none", "fan_in"))
        one_of("optim.schedule", self.schedule, ("cosine", "constant", "linear", "wsd", "plateau"))
        one_of("optim.decay_shape", self.decay_shape, ("sqrt", "linear"))
        require(
            self.lr > 0 and isfinite(self.lr), f"`optim.lr > 0` must hold, but got {self.lr:g}: give a positive number."
        )
        require(
            self.batch_size >= 1, f"`optim.batch_size >= 1` must hold, but got {self.batch_size}: give a whole number."
        )
        require(
            self.weight_decay >= 0,
            f"`optim.weight_decay >= 0` must hold, but got {self.weight_decay:g}: give 0 for none.",
        )
        require(
            0 <= self.momentum < 1, f"`0 <= optim.momentum < 1` must hold, but got {self.momentum:g}: 0.9 is usual."
        )
        require(0 <= self.beta2 < 1, f"`0 <= optim.beta2 < 1` must hold, but got {self.beta2:g}: 0.999 is usual.")
        require(
            0 <= self.warmup < 1,
            f"`0 <= optim.warmup < 1` must hold, but got {self.warmup:g}: give a share of the steps.",
        )
        require(
            0 < self.decay < 1, f"`0 < optim.decay < 1` must hold, but got {self.decay:g}: 0.2 is a fifth of the steps."
        )


@dataclass(frozen=True)
class RegimeConfig:
    """How long a run trains, and so what D and C mean; each regime's file in conf/regime/ has the keys it reads."""

    name: str = "single_epoch"
    """Regime; the registry is `training.regimes.REGIMES`."""
    epochs: int | None = None
    """repeat: passes over the unique examples."""
    flops: float | None = None
    """isoflop: training FLOPs that a run is to cost."""
    scale: float = 1.0
    """isoflop: factor on `flops`, for scale=smoke."""
    patience: int | None = None
    """early_stopping: evaluations without a new best after which a run ends."""
    max_epochs: int | None = None
    """early_stopping: the cap; a run that ends there is marked undertrained."""
    branches: tuple[float, ...] = ()
    """wsd: shares of the training images at which a decay is branched off, ascending."""
    last: float = 1.0
    """wsd: branches beyond this share are left out; the sweep sets it for repeats that need only the small ones."""

    def __post_init__(self) -> None:
        for key in ("epochs", "patience", "max_epochs"):
            value = getattr(self, key)
            require(
                value is None or value >= 1, f"`regime.{key} >= 1` must hold, but got {value}: give a whole number."
            )
        require(
            self.flops is None or (self.flops > 0 and isfinite(self.flops)),
            f"`regime.flops > 0` must hold, but got {self.flops}: give the training FLOPs of a run, such as 4e9.",
        )
        require(self.scale > 0, f"`regime.scale > 0` must hold, but got {self.scale:g}: 1 leaves budgets alone.")
        ascending = all(a < b for a, b in itertools.pairwise(self.branches))
        require(
            ascending and all(0 < b <= 1 for b in self.branches),
            f"`regime.branches` must ascend within 0 < share <= 1, but got {list(self.branches)}: give shares of the "
            "training images, such as [0.25,0.5,1].",
        )
        require(0 < self.last <= 1, f"`0 < regime.last <= 1` must hold, but got {self.last:g}: 1 keeps every branch.")


@dataclass(frozen=True)
class CurveConfig:
    """Losses on the way of a run whose end is known, for the Pareto method; early_stopping keeps its own."""

    points: int = 0
    """Evaluations, log-spaced over the last 1/64 to 1 of the run; 0 for none."""
    images: int = 2000
    """Validation images, and training images, of each."""

    def __post_init__(self) -> None:
        require(self.points >= 0, f"`curve.points >= 0` must hold, but got {self.points}: give 0 for no curve.")
        require(self.images >= 10, f"`curve.images >= 10` must hold, but got {self.images}: give one image a class.")


@dataclass(frozen=True)
class ReportsConfig:
    """What a trial tells its study on the way, so that a pruner can stop it."""

    points: int = 3
    """Reports, evenly spaced over the run's own training, so that batch sizes compare."""
    cost: float = 0.03
    """Upper bound on the FLOPs of all reports as a share of the run's training FLOPs."""
    least: int = 256
    """With fewer validation images than this within the cost, a run reports nothing: it is too short to prune."""

    def __post_init__(self) -> None:
        require(self.points >= 1, f"`reports.points >= 1` must hold, but got {self.points}: give a whole number.")
        require(0 < self.cost <= 1, f"`0 < reports.cost <= 1` must hold, but got {self.cost:g}: 0.03 is 3 %.")
        require(self.least >= 1, f"`reports.least >= 1` must hold, but got {self.least}: give a whole number.")


@dataclass(frozen=True)
class TrialConfig:
    """Which trial of which study a run is; the sweeper fills it in, a run by hand leaves it alone."""

    stage: str = "single"
    """single (by hand), trial (the tuner's) or repeat (of a cell's selected setting)."""
    study: str | None = None
    """The cell's study, by its readable name."""
    index: int = 0
    """Place within the cell, from 0: of the trial, or of the repeat."""
    number: int = 0
    """Optuna's number of the trial."""
    origin: str = "sampler"
    """Where a trial's setting comes from: control (the config's own), transfer (another cell's) or sampler."""
    count: int = 1
    """Runs in this job: this one and its successors, with the seeds that follow."""
    host: str | None = None
    """Host of the sweep that launched the run."""
    owner: int | None = None
    """Process id of that sweep."""

    def __post_init__(self) -> None:
        one_of("trial.stage", self.stage, ("single", "trial", "repeat"))


@dataclass(frozen=True)
class RunConfig:
    """All that decides the outcome of one training run, and where it computes."""

    seed: int = 0
    """Decides the subset, the initial weights, the order and the dropout masks."""
    device: str = "auto"
    """auto (cuda, else cpu), cpu, cuda or mps."""
    threads: int = 1
    """Torch threads of a run; cells run side by side, so one each."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    regime: RegimeConfig = field(default_factory=RegimeConfig)
    reports: ReportsConfig = field(default_factory=ReportsConfig)
    curve: CurveConfig = field(default_factory=CurveConfig)
    trial: TrialConfig = field(default_factory=TrialConfig)

    def __post_init__(self) -> None:
        one_of("device", self.device, ("auto", "cpu", "cuda", "mps"))
        require(self.seed >= 0, f"`seed >= 0` must hold, but got {self.seed}: give a whole number from 0.")
        require(self.threads >= 1, f"`threads >= 1` must hold, but got {self.threads}: give 1 for one core a run.")
        require(
            self.optim.lr_scaling == "none" or self.model.parametrization == "standard",
            f"`optim.lr_scaling={self.optim.lr_scaling}` must go with model.parametrization=standard, but got "
            f"{self.model.parametrization}, which scales rates itself: set one of the two back.",
        )


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """conf/train.yaml: one run, and what only a sweep reads."""

    name: str = "default"
    """The study's folder, multirun/<name>; an experiment brings its own."""
    search_space: dict[str, Any] = field(default_factory=dict)
    """What the tuner tries in every cell: config key to a Hydra sweep; null takes a key out. Groups bring their own."""
    model: dict[str, Any] = field(default_factory=lambda: asdict(ModelConfig()))  # type: ignore[assignment]
    """The keys of every family; a family's own are declared in its class and listed in conf/model/<name>.yaml."""


def register(name: str, cls: type) -> None:
    """Make a dataclass the schema that conf/<name>.yaml composes onto, as ``schema/<name>``.

    Parameters
    ----------
    name : str
        The command.
    cls : type
        A dataclass; its defaults are the command's.
    """
    schema = OmegaConf.structured(cls)
    _make_writable(schema)
    ConfigStore.instance().store(group="schema", name=name, node=schema, package="_global_")


def build(cls: type[T], cfg: DictConfig) -> T:
    """A frozen dataclass from the node of the same shape; keys that `cls` lacks are left out.

    Parameters
    ----------
    cls : type
        A dataclass of this module, or one with the same kind of fields.
    cfg : DictConfig
        A composed configuration; interpolations are resolved.

    Returns
    -------
    object
        An instance of `cls`; a run's model node is of its family's own class.

    Raises
    ------
    InputError
        When a value breaks a rule of `cls`.
    omegaconf.errors.ValidationError
        When a value has the wrong type.
    """
    schema = OmegaConf.structured(cls)
    # Node by node: Hydra's own part of a sweep's config has values that only a job can resolve.
    values = {f.name: _plain(cfg[f.name]) for f in fields(cls) if f.name in cfg}  # type: ignore[arg-type]
    _make_writable(schema)
    if cls is RunConfig and "name" in values.get("model", {}):
        schema.model = OmegaConf.structured(model_config(values["model"]["name"]))
        _make_writable(schema.model)
    merged = OmegaConf.merge(schema, values)
    return OmegaConf.to_object(merged)  # type: ignore[return-value]


def with_values(run: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """A run with other values of some dotted keys: {"optim.lr": 0.1, "seed": 2}."""
    for key, value in values.items():
        node, _, leaf = key.rpartition(".")
        if node:
            run = replace(run, **{node: replace(getattr(run, node), **{leaf: value})})
        else:
            run = replace(run, **{leaf: value})
    return run


def defaults_like(run: RunConfig) -> RunConfig:
    """A run at all defaults, with nodes of the same classes: what a run's settings are told apart from."""
    fresh: dict[str, Any] = {}
    for f in fields(run):
        if is_dataclass(node := getattr(run, f.name)):
            kind: Any = type(node)  # a family's own class
            fresh[f.name] = kind()
    return replace(RunConfig(), **fresh)


def _plain(node: Any) -> Any:
    """A node without interpolations, which can't be followed once it has left its tree."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _make_writable(node: DictConfig) -> None:
    """OmegaConf reads ``frozen=True`` as a read-only node; only the finished object is to be frozen."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _make_writable(child)


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys: {"a": {"b": 1}} gives {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict | DictConfig):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value  # as JSON gives it back
    return flat


register("train", TrainConfig)

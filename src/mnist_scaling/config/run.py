"""The configuration of a run and of a sweep: data, optimiser, regime, reports, curve, and which trial it is."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field, replace
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from mnist_scaling.config.family import ModelConfig
from mnist_scaling.errors import holds, one_of, require
from mnist_scaling.study.columns import OFF_DISTRIBUTION

ARRAYS = "arrays"
"""Value of `data.name` for a file of one's own."""

_OF_ARRAYS = ("path", "validation", "test", "split_seed")
"""Keys of `DataConfig` that only `ARRAYS` reads; conf/data/arrays.yaml has their usual values."""

AUGMENT = ("none", "affine", "elastic")
"""Values of `data.augment`."""


def _from_home(node: object, *keys: str) -> None:
    """Let a ``~`` that begins a path be the user's home, as a shell has it where nobody quotes it."""
    for key in keys:
        if (path := getattr(node, key)) is not None and path.startswith("~"):
            object.__setattr__(node, key, str(Path(path).expanduser()))


@dataclass(frozen=True)
class DataConfig:
    """A data set and how much of it a run may see."""

    name: str = "mnist"
    """Data set: a key of `training.data.sources.DATASETS`, or arrays for a file of one's own."""
    fraction: float = 1.0
    """Share of the training images (MNIST has 50,000); nested and class-balanced for one seed."""
    dir: str = "data"
    """Folder of the downloaded files, shared by all studies."""
    max_train: int | None = None
    """Cap on the training images that `fraction` is taken of; null for all."""
    max_eval: int | None = None
    """Cap on validation and on test images; null for all."""
    label_noise: float = 0.0
    """Share of the training images that get a wrong label, drawn by `seed`; validation and test labels stay right."""
    augment: str = "none"
    """What happens to a training image each time that it is seen: none, affine (turned, moved, scaled) or elastic."""
    off_distribution: tuple[str, ...] = ()
    """Further test scores beside the clean one, on rotated, shifted or noisy test images; they select nothing."""
    path: str | None = None
    """arrays: the .npz file (docs/own_problem.md)."""
    validation: float | None = None
    """arrays: share of the file's examples that becomes the validation part, where the file has none."""
    test: float | None = None
    """arrays: share of the file's examples that becomes the test part, where the file has none."""
    split_seed: int | None = None
    """arrays: decides which examples go into which part; `seed` does not."""
    sha256: str | None = None
    """arrays: checksum of the file; a sweep fills it in, and a file with another one is refused."""

    def __post_init__(self) -> None:
        _from_home(self, "dir", "path")
        holds(0 < self.fraction <= 1, "0 < data.fraction <= 1", self.fraction, "give a share, such as 0.25.")
        for key in ("max_train", "max_eval"):
            value = getattr(self, key)
            require(value is None or value >= 10, f"`data.{key}` must be at least 10 or null, but got {value}.")
        holds(0 <= self.label_noise < 1, "0 <= data.label_noise < 1", self.label_noise, "give a share, such as 0.2.")
        one_of("data.augment", self.augment, AUGMENT)
        for kind in self.off_distribution:
            one_of("data.off_distribution", kind, OFF_DISTRIBUTION)
        if self.name == ARRAYS:
            self._check_arrays()
            return
        for key in _OF_ARRAYS:
            require(
                getattr(self, key) is None,
                f"`data.{key}` must be given with data=arrays only, but got {getattr(self, key)} with "
                f"data={self.name}: that data set has a split of its own.",
            )

    @property
    def whole(self) -> DataConfig:
        """The data set itself, whatever a run sees of it and does to it: runs that share it share its files."""
        return replace(
            self, fraction=1.0, max_train=None, max_eval=None, label_noise=0.0, augment="none", off_distribution=()
        )

    def _check_arrays(self) -> None:
        require(
            self.path is not None,
            "`data.path` must be given with data=arrays, but got none: give an .npz file, such as data.path=mine.npz.",
        )
        for key, share in (("validation", self.validation), ("test", self.test)):
            holds(share is not None and 0 < share < 1, f"0 < data.{key} < 1", share, "give a share, such as 0.15.")
        require(
            (self.validation or 0) + (self.test or 0) < 1,
            f"`data.validation + data.test < 1` must hold, but got {self.validation} and {self.test}: leave "
            "examples to train on.",
        )
        require(
            self.split_seed is not None and self.split_seed >= 0,
            f"`data.split_seed >= 0` must hold with data=arrays, but got {self.split_seed}: give a whole number.",
        )


KNOWN_OPTIMIZERS = ("adam", "adamw", "sgd")
"""Values of `optim.name` that need no `optim._target_`."""


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, its learning-rate schedule and the batch size."""

    name: str = "adam"
    """Optimiser: adam, adamw or sgd; one of `_target_` has its class's name unless it is given another."""
    lr: float = 5e-3
    """Peak learning rate, times what `lr_scaling` says."""
    batch_size: int = 32
    """Examples per step."""
    weight_decay: float = 0.0
    """Decoupled for adamw, L2 for adam and sgd."""
    momentum: float = 0.9
    """Momentum of sgd; Adam's beta1. Like the further keys of the three, `_target_` does not get it."""
    nesterov: bool = False
    """sgd: whether the gradient is taken ahead, where the momentum leads."""
    beta2: float = 0.999
    """Adam's beta2; unused by sgd."""
    schedule: str = "cosine"
    """Factor on `lr` over the run: cosine or linear to zero at its end, constant, or wsd (constant, then a short
    decay to zero)."""
    warmup: float = 0.05
    """Share of the steps over which the rate rises linearly from zero."""
    decay: float = 0.2
    """Share of the steps over which wsd falls to zero; unused by the others."""
    decay_shape: str = "sqrt"
    """How wsd falls, q being the share of the decay that is done: sqrt (1 - sqrt q) or linear (1 - q)."""
    lr_scaling: str = "none"
    """How the peak changes with width, in place of tuning it at each: none, or fan_in, which is
    lr * sqrt(base_width / width), the rule of thumb lr ~ 1 / sqrt(fan_in) relative to `model.base_width`."""
    clip: float | None = None
    """Most that the norm of all gradients together may be: longer ones are scaled down to it; null: no clipping."""
    _target_: str | None = None
    """An optimiser from anywhere, package.module.Class, in place of the three: a subclass of torch.optim.Optimizer."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """_target_: its further arguments by name, beside lr and weight_decay."""

    def __post_init__(self) -> None:
        if self._target_ is None:
            one_of("optim.name", self.name, KNOWN_OPTIMIZERS)
            require(
                not self.kwargs,
                f"`optim.kwargs` must be given with optim._target_ only, but got {dict(self.kwargs)} with "
                f"optim.name={self.name}: use optim's own keys.",
            )
        elif self.name in KNOWN_OPTIMIZERS:
            object.__setattr__(self, "name", self._target_.rpartition(".")[2].lower())
        clip = self.clip
        holds(clip is None or clip > 0, "optim.clip > 0", clip, "give the largest norm, such as 1.0, or null.")
        require(
            not self.nesterov or (self.name == "sgd" and self.momentum > 0),
            f"`optim.nesterov=true` must go with optim=sgd and a momentum, but got optim.name={self.name} and "
            f"optim.momentum={self.momentum:g}: set it back.",
        )
        one_of("optim.lr_scaling", self.lr_scaling, ("none", "fan_in"))
        one_of("optim.schedule", self.schedule, ("cosine", "constant", "linear", "wsd"))
        one_of("optim.decay_shape", self.decay_shape, ("sqrt", "linear"))
        holds(self.lr > 0 and isfinite(self.lr), "optim.lr > 0", self.lr, "give a positive number.")
        holds(self.batch_size >= 1, "optim.batch_size >= 1", self.batch_size, "give a whole number.")
        holds(self.weight_decay >= 0, "optim.weight_decay >= 0", self.weight_decay, "give 0 for none.")
        holds(0 <= self.momentum < 1, "0 <= optim.momentum < 1", self.momentum, "0.9 is usual.")
        holds(0 <= self.beta2 < 1, "0 <= optim.beta2 < 1", self.beta2, "0.999 is usual.")
        holds(0 <= self.warmup < 1, "0 <= optim.warmup < 1", self.warmup, "give a share of the steps.")
        holds(0 < self.decay < 1, "0 < optim.decay < 1", self.decay, "0.2 is a fifth of the steps.")

    @property
    def rule(self) -> str:
        """By which optimiser's rule mup scales learning rates and decay; adam's for one of `_target_`."""
        return self.name if self._target_ is None else "adam"


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
            holds(value is None or value >= 1, f"regime.{key} >= 1", value, "give a whole number.")
        flops = self.flops
        holds(flops is None or (flops > 0 and isfinite(flops)), "regime.flops > 0", flops, "give FLOPs, such as 4e9.")
        holds(self.scale > 0, "regime.scale > 0", self.scale, "1 leaves budgets alone.")
        ascending = all(a < b for a, b in itertools.pairwise(self.branches))
        require(
            ascending and all(0 < b <= 1 for b in self.branches),
            f"`regime.branches` must ascend within 0 < share <= 1, but got {list(self.branches)}: give shares of the "
            "training images, such as [0.25,0.5,1].",
        )
        holds(0 < self.last <= 1, "0 < regime.last <= 1", self.last, "1 keeps every branch.")


@dataclass(frozen=True)
class CurveConfig:
    """Losses on the way of a run whose end is known, for the Pareto method; early_stopping keeps its own."""

    points: int = 0
    """Evaluations, log-spaced over the last 1/64 to 1 of the run; 0 for none."""
    images: int = 2000
    """Validation images, and training images, of each."""

    def __post_init__(self) -> None:
        holds(self.points >= 0, "curve.points >= 0", self.points, "give 0 for no curve.")
        holds(self.images >= 10, "curve.images >= 10", self.images, "give one image a class.")


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
        holds(self.points >= 1, "reports.points >= 1", self.points, "give a whole number.")
        holds(0 < self.cost <= 1, "0 < reports.cost <= 1", self.cost, "0.03 is 3 %.")
        holds(self.least >= 1, "reports.least >= 1", self.least, "give a whole number.")


@dataclass(frozen=True)
class TrialConfig:
    """What a run is to its study; the sweeper fills it in, a run by hand leaves it alone."""

    stage: str = "single"
    """single (by hand), trial (the tuner's) or repeat (of a cell's selected setting)."""

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
    """Torch threads of a run; cells run side by side, so each has one."""
    init_from: str | None = None
    """Folder of a run with save_weights=true, whose weights this run starts from; null for fresh ones."""
    init_sha256: str | None = None
    """init_from: checksum of the weights' file; a sweep fills it in, and a file with another one is refused."""
    save_weights: bool = False
    """Whether repeats and runs by hand leave their final weights in their folders."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    regime: RegimeConfig = field(default_factory=RegimeConfig)
    reports: ReportsConfig = field(default_factory=ReportsConfig)
    curve: CurveConfig = field(default_factory=CurveConfig)
    trial: TrialConfig = field(default_factory=TrialConfig)

    @property
    def peak_lr(self) -> float:
        """Peak learning rate: lr, or lr * (width / base width)^-1/2 with lr_scaling=fan_in.

        The rule of thumb lr ~ 1 / sqrt(fan_in), for all parameters alike: every fan-in that grows, grows as the width.
        It stands for what people do instead of tuning; µP scales each role by its own factor.
        """
        scaled = self.optim.lr_scaling == "fan_in"
        return self.optim.lr * sqrt(self.model.base_width / self.model.width) if scaled else self.optim.lr

    def __post_init__(self) -> None:
        _from_home(self, "init_from")
        one_of("device", self.device, ("auto", "cpu", "cuda", "mps"))
        holds(self.seed >= 0, "seed >= 0", self.seed, "give a whole number from 0.")
        holds(self.threads >= 1, "threads >= 1", self.threads, "give 1 for one core per run.")
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

"""The schema of conf/plan.yaml: every key of the plan command, with its default, its meaning and its rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mnist_scaling.config import register, require
from mnist_scaling.config.fit_schema import FitConfig, RowsConfig
from mnist_scaling.errors import PLAIN_NUMBER, holds

TARGETS = ("alpha", "beta", "N_exponent", "loss")
"""What next runs can be chosen for."""

SIZES = ("N", "D", "C", "flops")
"""Keys of a target that are no axes of a grid; flops is C, of which the best cell is meant."""


@dataclass(frozen=True)
class PlanConfig(RowsConfig):
    """A plan: of which study or table (of a study with several arms `where` names one), how much may be spent, and what
    is wanted."""

    minutes: float | None = None
    """Wall time that may be spent on this machine; with a new name, by a study that is yet to begin."""
    flops: float | None = None
    """Training FLOPs that may be spent, tuning included."""
    cores: int | None = None
    """Cores that train at a time; null for this machine's."""
    target: Any = field(default_factory=dict)
    """A word, alpha, beta, N_exponent or loss: what next runs are chosen for. Or a cell that is yet to be run, whose
    loss is predicted and registered: target.width=32 target.data_fraction=1 and other axes of the study, target.flops=…
    for the best cell of that compute, target.N=… target.D=… for anyone's table."""
    resolve: bool = False
    """True: write the runs that mend the study's irregularities, as an experiment that `train` takes."""
    score: bool = False
    """True: compare the registered predictions with what has come since."""
    register: bool = True
    """False: show a prediction without writing it. The first look at a cell binds, so it is kept unless you say so."""
    measured: tuple[str, ...] = ()
    """score: further studies, by name or path, whose cells are looked at beside the study's own."""

    def __post_init__(self) -> None:
        _ = self.fit  # which rows are read obeys the rules of `fit`
        kinds = {"resolve": "resolve", "score": "score", "cell": "target.…", "minutes": "minutes", "flops": "flops"}
        wanted = " and ".join(word for key, word in kinds.items() if getattr(self, key))
        require(" and " not in wanted, f"One plan must do one thing, but got {wanted}: give one of them at a time.")
        require(
            self.cores is None or self.minutes is not None,
            f"`cores={self.cores}` must go with minutes=…, which it turns into time of cores: leave it out.",
        )
        for key in ("minutes", "flops", "cores"):
            value = getattr(self, key)
            holds(value is None or value > 0, f"{key} > 0", value, "give a positive number.")
        require(
            isinstance(self.target, Mapping) or self.target in TARGETS,
            f"`target` must be one of {', '.join(TARGETS)}, or a cell such as target.width=32, but got "
            f"{self.target!r}: choose one of them.",
        )
        for key, value in self.cell.items():
            inner = next(iter(value), "…") if isinstance(value, Mapping) else ""
            rule = f"`target` must name columns of the table, but got target.{key}.{inner}"
            require(not inner, f"{rule}: give target.{inner}=….")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fix = "give a larger one" if number else PLAIN_NUMBER
            require(
                number and value > 0 if key in SIZES else isinstance(value, int | float | str),
                f"`target.{key}` must be a positive number, but got {value!r}: {fix}.",
            )
        require(
            self.register or bool(self.cell),
            "`register=false` must go with a cell to predict, but there is none: give target.…=…, or leave it out.",
        )
        require(
            not self.measured or self.score,
            f"`measured={','.join(self.measured)}` must go with score=true, but a prediction is made of the study "
            "alone: leave it out.",
        )

    @property
    def word(self) -> str:
        """What next runs are chosen for."""
        return self.target if isinstance(self.target, str) else "loss"

    @property
    def cell(self) -> Mapping[str, Any]:
        """The cell that a prediction is wanted of, by the keys of `target`; empty where there is none."""
        return self.target if isinstance(self.target, Mapping) else {}

    @property
    def fit(self) -> FitConfig:
        """What `fit` would be asked for the same rows, without the points that only its tables need."""
        return FitConfig(**{f.name: getattr(self, f.name) for f in fields(RowsConfig)})


register("plan", PlanConfig, open_keys=("target",))

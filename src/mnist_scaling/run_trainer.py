"""Training, as one object for the commands that sweep (`train`) or that foresee what a sweep costs (`ask`).

torch takes seconds to import: every function below does so when it is called, so that a mistyped command fails at once.
"""

from __future__ import annotations

from pathlib import Path

from mnist_scaling.config import DataConfig, RunConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.tuning.trainer import DataFacts, Report, Start, Trainer


def _train(run: RunConfig, report: Report | None, folder: Path) -> TrainResult:
    from mnist_scaling.training.loop import train_model

    return train_model(run, report, folder)


def _cost(run: RunConfig) -> float:
    from mnist_scaling.training.cost import cost

    return cost(run)


def _prepare(source: DataConfig) -> DataFacts:
    from mnist_scaling.training.data import splits

    prepared = splits.prepare(source)
    about = splits.spec(prepared)
    counts = about.n_train, about.n_validation, about.n_test
    return DataFacts(source.name, about.image_shape, about.classes, *counts, prepared.sha256)


def _start(run: RunConfig) -> Start | None:
    if run.init_from is None:
        return None
    from mnist_scaling.training.data import splits
    from mnist_scaling.training.run import weights

    about = splits.spec(run.data)
    found = weights.source(run, about.image_shape, about.classes)
    assert found is not None
    return Start(found.sha256, found.note)


def _warm_up() -> None:
    import mnist_scaling.training.loop  # noqa: F401


TRAINER = Trainer(_train, _cost, _prepare, _warm_up, _start)
"""Training, as sweeps see it."""

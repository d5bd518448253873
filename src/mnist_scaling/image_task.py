"""Training as tuning sees it, for the commands that sweep (`train`) or that foresee what a sweep costs (`ask`).

torch takes seconds to import: every method below does so when it is called, so that a mistyped command fails at once.
"""

from __future__ import annotations

from pathlib import Path

from mnist_scaling.config import DataConfig, RunConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.tuning.task import DataFacts, Report, Start, Task


class ImageTask(Task):
    """Classifiers of images."""

    preload = ("mnist_scaling.training.loop",)

    def train(self, run: RunConfig, report: Report | None, folder: Path) -> TrainResult:
        """One run (`training.loop`)."""
        from mnist_scaling.training.loop import train_model

        return train_model(run, report, folder)

    def cost(self, run: RunConfig) -> float:
        """Predicted seconds of a run on one core (`training.cost`)."""
        from mnist_scaling.training.cost import cost

        return cost(run)

    def check(self, run: RunConfig) -> None:
        """Look for the device (`training.cost`)."""
        if run.device not in ("auto", "cpu"):
            from mnist_scaling.training.cost import check_device

            check_device(run.device)

    def prepare(self, data: DataConfig) -> DataFacts:
        """Fetch or check the images."""
        from mnist_scaling.training.data import splits

        prepared = splits.prepare(data)
        about = splits.spec(prepared)
        counts = about.n_train, about.n_validation, about.n_test
        return DataFacts(data.name, about.image_shape, about.classes, *counts, prepared.sha256)

    def start(self, run: RunConfig) -> Start | None:
        """Check the weights of `init_from`."""
        if run.init_from is None:
            return None
        from mnist_scaling.training.data import splits
        from mnist_scaling.training.run import weights

        about = splits.spec(run.data)
        found = weights.source(run, about.image_shape, about.classes)
        assert found is not None
        return Start(found.sha256, found.note)


TASK = ImageTask()

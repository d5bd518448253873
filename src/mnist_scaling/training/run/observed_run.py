"""One run that is reported on, shown and measured on its way, whoever takes its steps."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, isfinite

from mnist_scaling.config import RunConfig
from mnist_scaling.study.vocabulary import PRUNED
from mnist_scaling.training.data import splits
from mnist_scaling.training.data.augmentation import Augmenter
from mnist_scaling.training.models.model_size import Size
from mnist_scaling.training.run import scoring
from mnist_scaling.training.run.run_monitor import Ended, RunMonitor
from mnist_scaling.training.run.scoring import Report, ReportSlice
from mnist_scaling.training.step.engine import Learner

Watch = Callable[[int, int, float], None]
"""Receives the steps that a run has taken, those it will take at the most, and its mean training loss of late."""


class ObservedRun(RunMonitor):
    """One run, with reports to a pruner and points of its learning curve.

    Parameters
    ----------
    config : RunConfig
    learner : Learner
        Its model and its examples.
    dataset : data.Dataset
        For evaluations.
    size : Size
        Of the model.
    n_seen : int
        Examples that the run is expected to process, for the size of reports.
    report : callable, optional
        Receives losses on the way; True stops the run.
    watch : callable, optional
        Shows a person how far the run is; it changes nothing.
    augmenter : Augmenter, optional
        Draws the learner's images anew before each step.
    """

    def __init__(
        self,
        config: RunConfig,
        learner: Learner,
        dataset: splits.Dataset,
        size: Size,
        n_seen: int,
        report: Report | None = None,
        watch: Watch | None = None,
        augmenter: Augmenter | None = None,
    ) -> None:
        super().__init__(config, learner, dataset, augmenter)
        self._watch, self._n_seen = watch, n_seen
        self._report = report
        self._report_slice = None if report is None else ReportSlice(dataset.validation, config, size, n_seen)

    def watched(self, mean_loss: float) -> None:
        """Tell whoever watches the steps taken, those to be taken at the most, and the loss."""
        if self._watch is not None:
            taken, most = (ceil(examples / self.batch_size) for examples in (self.spent, self._n_seen))
            self._watch(taken, max(taken, most), mean_loss)

    def is_due(self, step: int, total: int, seen: int, examples: int) -> bool:
        """Whether anything is measured after this step of so many, with so many examples seen of all."""
        return self._report_is_due(step, total) or self.curve.is_due(seen, examples)

    def _report_is_due(self, step: int, total: int) -> bool:
        return self._report_slice is not None and self._report_slice.is_due(len(self.reports) + 1, step, total)

    def report_if_due(self, step: int, total: int) -> None:
        """Measure and report a loss to the pruner when a report is due after this step of so many.

        Raises
        ------
        Ended
            When the run is told to stop.
        """
        if not self._report_is_due(step, total):
            return
        assert self._report_slice is not None and self._report_slice.part is not None  # noqa: PT018
        loss, _ = scoring.evaluate(self.learner.model, self._report_slice.part)
        self.learner.model.train()
        self.report(len(self.reports) + 1, step / total, loss)

    def report(self, number: int, share: float, loss: float) -> None:
        """Report a loss that is known; a number may be used once, in ascending order.

        A loss that is not finite is not reported: the next look at the training loss calls the run diverged.

        Raises
        ------
        Ended
            When the run is told to stop.
        """
        if self._report is None or number > self.config.reports.points or not isfinite(loss):
            return
        self.reports.append((share, loss))
        if self._report(number, loss):
            raise Ended(PRUNED)

    def add_curve_point_if_due(self, total: int, phase: str) -> None:
        """Add a point to the learning curve when one is due at these examples of so many."""
        if self.curve.is_due(self.seen, total):
            self.curve.add(self.seen, phase)

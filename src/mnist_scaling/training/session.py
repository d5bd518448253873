"""What a regime works with while one model trains: steps, evaluations, reports, saved states, the count of examples."""

from __future__ import annotations

from math import isfinite, log
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_scaling.config import RunConfig
from mnist_scaling.study.columns import BRANCH
from mnist_scaling.study.vocabulary import DIVERGED, PRUNED
from mnist_scaling.training import checkpoint, data, scoring, seeding
from mnist_scaling.training.curve_recorder import CurveKeeper
from mnist_scaling.training.engine import Engine
from mnist_scaling.training.model_size import Size
from mnist_scaling.training.scoring import Report, Reporter

CHECK_EVERY = 25
"""Steps between looks at the loss; each look waits for the device."""

DIVERGED_AT = 2.0
"""A mean loss above this many times ln(classes), that of a uniform guess, is a diverged run."""


class Ended(Exception):  # noqa: N818  (the end of a run is no error)
    """The run is over before its regime says so: diverged, or pruned."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


class Session:
    """One run in training.

    Parameters
    ----------
    config : RunConfig
    engine : Engine
        Holds the model and the optimiser.
    dataset : data.Dataset
        For evaluations.
    size : Size
        Of the model.
    n_seen : int
        Examples that the run is expected to process, for the size of reports.
    report : callable, optional
        Told losses on the way; True stops the run.
    folder : Path, optional
        Where a regime that can resume keeps its checkpoint.
    """

    def __init__(
        self,
        config: RunConfig,
        engine: Engine,
        dataset: data.Dataset,
        size: Size,
        n_seen: int,
        report: Report | None = None,
        folder: Path | None = None,
    ) -> None:
        self.config, self.engine, self.dataset = config, engine, dataset
        self.n_train = len(engine.part)
        self.batch_size = min(config.optim.batch_size, self.n_train)
        self.seen = self.steps = 0
        """Examples and steps behind the weights as they are now."""
        self.spent = 0
        """Examples processed in all, also those whose weights were given up."""
        self.resumed_at = 0
        self.branches: list[dict[str, Any]] = []
        """Counts and losses of each finished decay, of a regime that has several."""
        self._worst = DIVERGED_AT * log(dataset.classes)
        self._unchecked = 0
        self._report = report
        self._reporter = Reporter(engine.model, report, dataset.validation, config, size, n_seen)
        self.curve = CurveKeeper(engine, dataset.validation, config)
        self._checkpoint = None if folder is None else checkpoint.Checkpoint(folder, config)
        engine.model.train()

    @property
    def reports(self) -> list[tuple[float, float]]:
        """Share of the run and loss of each report so far."""
        return self._reporter.told

    def order(self) -> torch.Generator:
        """The run's own stream for the order of its examples, from its start."""
        return seeding.generator(self.config.seed, "order")

    def step(self, rows: Tensor, factor: float) -> None:
        """One optimiser step on the examples at `rows`, at a factor on the peak rate; looks at the loss now and then.

        Raises
        ------
        Ended
            When the training loss shows that the run has diverged.
        """
        self.engine.step(rows, self.config.optim.lr * factor)
        self.steps += 1
        self.seen += len(rows)
        self.spent += len(rows)
        self._unchecked += 1
        if self.steps % CHECK_EVERY == 0:
            self.check()

    def check(self, cut_short: bool = False) -> None:
        """Look at the mean training loss since the last look.

        Parameters
        ----------
        cut_short : bool
            Only ask whether it is finite: a mean of few steps may be high by chance.

        Raises
        ------
        Ended
            When it is not finite, or above `DIVERGED_AT` times chance.
        """
        if not self._unchecked:
            return
        mean = self.engine.mean_loss()
        self._unchecked = 0
        if not isfinite(mean) or (mean > self._worst and not cut_short):
            raise Ended(DIVERGED)

    def pace(self, step: int, total: int) -> None:
        """Report to the pruner when a report is due after this step of so many.

        Raises
        ------
        Ended
            When it is told to stop.
        """
        if self._reporter.stops(step, total):
            raise Ended(PRUNED)

    def tell(self, number: int, share: float, loss: float) -> None:
        """Report a loss that is known already; a number may be used once, in ascending order.

        Raises
        ------
        Ended
            When told to stop.
        """
        if self._report is None or number > self.config.reports.points or not isfinite(loss):
            return
        self._reporter.told.append((share, loss))
        if self._report(number, loss):
            raise Ended(PRUNED)

    def trace(self, total: int, phase: str) -> None:
        """Add a point to the learning curve when one is due at these examples of so many."""
        if self.curve.due(self.seen, total):
            self.curve.add(self.seen, phase)

    def evaluate(self, phase: str) -> float:
        """Validation loss of the weights as they are, also a point of the learning curve.

        Raises
        ------
        Ended
            When it is not finite: the run has diverged.
        """
        part = self.dataset.validation.head(self.config.data.max_eval)
        loss, _ = scoring.evaluate(self.engine.model, part)
        self.engine.model.train()
        if not isfinite(loss):
            raise Ended(DIVERGED)
        self.curve.add(self.seen, phase, loss)
        return loss

    def score(self, known: int | None = None) -> dict[str, float]:
        """The losses that the run's stage may see, of the weights as they are.

        Parameters
        ----------
        known : int, optional
            Only the first so many of the training images have been seen.

        Raises
        ------
        Ended
            When the validation loss is that of a diverged run.
        """
        scores = scoring.score(self.engine.model, self.dataset, self.engine.part.head(known), self.config)
        self.engine.model.train()
        if not scores["val_loss"] <= self._worst:
            raise Ended(DIVERGED)
        return scores

    def add_branch(self, share: float) -> None:
        """Score the weights as they are and keep them as the end of a run of that share of the data.

        Raises
        ------
        Ended
            See `score`.
        """
        before = sum(branch["spent"] for branch in self.branches)
        counts = {BRANCH: share, "n_seen": self.seen, "steps": self.steps, "spent": self.spent - before}
        # The first `seen` images are those of this branch; the rest it has not seen yet.
        self.branches.append(counts | self.score(self.seen))

    def save(self) -> dict[str, Any]:
        """All that the next step depends on, copied: weights, optimiser, dropout's stream, counts."""
        self.check(cut_short=True)  # so that no half-filled window has to be kept
        return {"seen": self.seen, "steps": self.steps, "engine": self.engine.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a saved state, bit for bit; what was spent stays spent."""
        self.check(cut_short=True)
        self.seen, self.steps = state["seen"], state["steps"]
        self.engine.load_state_dict(state["engine"])

    @property
    def keeps(self) -> bool:
        """Whether checkpoints are written: the run has a folder."""
        return self._checkpoint is not None

    def keep(self) -> None:
        """Write a checkpoint of the run as it is now."""
        if self._checkpoint is None:
            return
        told, curve = [list(t) for t in self.reports], [list(point) for point in self.curve.points]
        done = {"spent": self.spent, "told": told, "curve": curve, "branches": self.branches}
        self._checkpoint.write({"state": self.save(), **done})

    def resume(self) -> None:
        """Go on from this run's checkpoint, if there is one."""
        kept = self._checkpoint.read() if self._checkpoint is not None else None
        if kept is None:
            return
        self.restore(kept["state"])
        self.spent = self.resumed_at = kept["spent"]
        self.reports.extend((share, loss) for share, loss in kept["told"])
        self.curve.points.extend((seen, val, train, phase) for seen, val, train, phase in kept["curve"])
        self.branches.extend(kept["branches"])

"""What a regime works with while one model trains: steps, evaluations, saved states."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

from torch import Tensor

from mnist_scaling.config import RunConfig
from mnist_scaling.study.columns import BRANCH
from mnist_scaling.study.vocabulary import DIVERGED
from mnist_scaling.training.data import splits
from mnist_scaling.training.data.augmentation import Augmenter
from mnist_scaling.training.models.model_size import Size
from mnist_scaling.training.run import scoring
from mnist_scaling.training.run.checkpoint import Checkpoint
from mnist_scaling.training.run.observed_run import ObservedRun, Watch
from mnist_scaling.training.run.run_monitor import Ended
from mnist_scaling.training.run.scoring import Report
from mnist_scaling.training.step.engine import Engine


class Session(ObservedRun):
    """One run that takes its own steps.

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
        Receives losses on the way; True stops the run.
    folder : Path, optional
        Where a regime that can resume has its checkpoint.
    watch : callable, optional
        Shows a person how far the run is; it changes nothing.
    augmenter : Augmenter, optional
        Draws the engine's images anew before each step.
    """

    def __init__(
        self,
        config: RunConfig,
        engine: Engine,
        dataset: splits.Dataset,
        size: Size,
        n_seen: int,
        report: Report | None = None,
        folder: Path | None = None,
        watch: Watch | None = None,
        augmenter: Augmenter | None = None,
    ) -> None:
        super().__init__(config, engine, dataset, size, n_seen, report, watch, augmenter)
        self.engine = engine
        self._checkpoint = None if folder is None else Checkpoint(folder, config)

    def step(self, rows: Tensor, factor: float) -> None:
        """One optimiser step on the examples at `rows`, at a factor on the peak rate.

        Raises
        ------
        Ended
            See `count_steps`.
        """
        self.engine.step(self.drawn(rows), self.peak_lr * factor)
        self.count_steps(1, len(rows))

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

    def add_branch(self, share: float) -> None:
        """Score the weights as they are and record them as the end of a run of that share of the data.

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
        self.check(cut_short=True)  # so that no half-filled window has to be saved
        noise = [list(point) for point in self.noise.points]
        return {"seen": self.seen, "steps": self.steps, "engine": self.engine.state_dict(), "noise": noise}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a saved state, bit for bit; what was spent stays spent."""
        self.check(cut_short=True)
        self.seen, self.steps = state["seen"], state["steps"]
        self.engine.load_state_dict(state["engine"])
        self.noise.points[:] = [(seen, norm, variance) for seen, norm, variance in state.get("noise", ())]

    def save_checkpoint(self) -> None:
        """Write a checkpoint of the run as it is now; nothing for a run without a folder."""
        if self._checkpoint is None:
            return
        reports, curve = [list(r) for r in self.reports], [list(point) for point in self.curve.points]
        done = {"spent": self.spent, "reports": reports, "curve": curve, "branches": self.branches}
        self._checkpoint.write({"state": self.save(), **done})

    def resume(self) -> None:
        """Go on from this run's checkpoint, if there is one."""
        saved = self._checkpoint.read() if self._checkpoint is not None else None
        if saved is None:
            return
        self.restore(saved["state"])
        self.spent = self.resumed_at = saved["spent"]
        self.curve.points.extend((seen, val, train, phase) for seen, val, train, phase in saved["curve"])
        self.branches.extend(saved["branches"])
        # The killed attempt's trial is gone from its study, and the pruner judges by what this one has reported.
        for number, (share, loss) in enumerate(saved["reports"], 1):
            self.report(number, share, loss)

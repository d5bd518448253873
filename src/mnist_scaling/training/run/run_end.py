"""The end of a run: its last scores and its `TrainResult`."""

from __future__ import annotations

from math import exp, fsum, log
from typing import Any

from mnist_scaling.study.columns import FURTHER, FURTHER_COLUMNS
from mnist_scaling.study.result import TrainResult
from mnist_scaling.study.vocabulary import COMPLETE
from mnist_scaling.training.models.model_size import Size
from mnist_scaling.training.run.run import Ended, Run, RunOutcome


def finish(run: Run, outcome: RunOutcome | Ended) -> TrainResult:
    """Score a run that took its last step; a run that ended before that keeps only its counts."""
    if isinstance(outcome, Ended):
        return _result(run, outcome.state, RunOutcome(run.seen, run.steps), {})
    try:
        # With branches the run itself has one number, which the tuner sees: their geometric mean.
        losses = [branch["val_loss"] for branch in run.branches]
        scores: dict[str, Any] = {"val_loss": exp(fsum(map(log, losses)) / len(losses))} if losses else run.score()
    except Ended as end:
        return finish(run, end)
    return _result(run, COMPLETE, outcome, scores)


def _result(run: Run, state: str, outcome: RunOutcome, scores: dict[str, Any]) -> TrainResult:
    n, size = run.n_train, run.size
    further: dict[str, Any] = {k: {c: scores[c] for c in names if c in scores} for k, names in FURTHER.items()}
    return TrainResult(
        state=state,
        n_params=size.n_params,
        n_params_input=size.n_params_input,
        n_params_hidden=size.n_params_hidden,
        n_params_output=size.n_params_output,
        n_train=n,
        **_counts(outcome.n_seen, n, size),
        steps=outcome.steps,
        epochs_spent=run.spent / n,
        flops_spent=run.spent * size.training,
        flags=";".join(outcome.flags),
        reports=tuple(run.reports),
        curve=run.curve.thinned(),
        branches=tuple(_branch(branch, size) for branch in run.branches),
        resumed_at=run.resumed_at,
        device=run.device.type,
        **further,
        **{name: value for name, value in scores.items() if name not in FURTHER_COLUMNS},
    )


def _counts(n_seen: int, n_train: int, size: Size) -> dict[str, Any]:
    return {
        "n_seen": n_seen,
        "epochs": n_seen / n_train,
        "flops": n_seen * size.training,
        "flops_forward": n_seen * size.forward,
        "flops_output": n_seen * size.output,
    }


def _branch(branch: dict[str, Any], size: Size) -> dict[str, Any]:
    """A branch's columns: all of its images are unique, and its FLOPs are those of a run of its own."""
    n, spent = branch["n_seen"], branch["spent"]
    rest = {key: value for key, value in branch.items() if key != "spent"}
    spending = {"epochs_spent": spent / n, "flops_spent": spent * size.training}
    return rest | {"n_train": n} | _counts(n, n, size) | spending

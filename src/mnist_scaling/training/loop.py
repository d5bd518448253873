"""One run from a config to a `TrainResult`."""

from __future__ import annotations

from math import ceil, isfinite, log

import torch

from mnist_scaling.config import RunConfig
from mnist_scaling.results import COMPLETE, DIVERGED, PRUNED, TrainResult
from mnist_scaling.training import compute, data, models, regimes, schedules, scoring, seeding
from mnist_scaling.training.engine import Engine
from mnist_scaling.training.scoring import Report, Reporter

CHECK_EVERY = 25
"""Steps between looks at the loss; each look waits for the device."""

DIVERGED_AT = 2.0
"""A mean loss above this many times ln(classes), that of a uniform guess, is a diverged run."""


def train_model(config: RunConfig, report: Report | None = None) -> TrainResult:
    """Train one model as `config` says and score it.

    The same config gives bit-identical losses on the same machine and number of threads: the subset,
    the initial weights, the order and the dropout masks each have their own stream of `config.seed`.

    Parameters
    ----------
    config : RunConfig
        One run. Its stage decides what is scored: a trial of the tuner sees the validation images
        only, a repeat or a run by hand also the test and the training images.
    report : callable, optional
        Told the loss on a slice of the validation images at ``config.reports.points`` points of the
        run. Whether it is told changes no bit of a run that it lets finish.

    Returns
    -------
    TrainResult
        ``state`` is DIVERGED, and the losses are empty, when the training loss stops being finite or
        a mean of it, or the validation loss, rises above `DIVERGED_AT` times chance; PRUNED, and the
        losses are empty, when `report` stopped it.
    """
    torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    dataset = data.load(config.data.name, config.data.dir, device)
    part = dataset.train.take(data.subset(dataset.train.labels, data.n_train(config.data), config.seed))
    regime = regimes.build(config.regime)
    with seeding.global_stream(config.seed, "init", torch.device("cpu")):
        model = models.build(config.model, dataset.image_shape, dataset.classes).to(device)

    size = compute.measure(config.model, dataset.image_shape, dataset.classes)
    reporter = Reporter(model, report, dataset.validation, config, size, regime.n_seen(len(part)))
    chance = log(dataset.classes)
    with seeding.global_stream(config.seed, "dropout", device):
        state, steps, seen = _train(Engine(model, part, config.optim), regime, config, chance, reporter)
    scores: dict[str, float] = {}
    if state == COMPLETE:
        scores = scoring.score(model, dataset, part, config)
        if not scores["val_loss"] <= DIVERGED_AT * chance:
            state, scores = DIVERGED, {}

    return TrainResult(
        state=state,
        n_params=size.n_params,
        n_params_input=size.n_params_input,
        n_params_hidden=size.n_params_hidden,
        n_params_output=size.n_params_output,
        n_train=len(part),
        n_seen=seen,
        epochs=seen / len(part),
        steps=steps,
        flops=seen * size.training,
        flops_forward=seen * size.forward,
        flops_output=seen * size.output,
        reports=tuple(reporter.told),
        **scores,
    )


def pick_device(name: str) -> torch.device:
    """The device of that name; auto takes cuda, then mps, then cpu."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _train(
    engine: Engine, regime: regimes.Regime, config: RunConfig, chance: float, reporter: Reporter
) -> tuple[str, int, int]:
    """State, steps taken and examples seen; stops at the first look that shows a reason to."""
    n = len(engine.part)
    batch_size = min(config.optim.batch_size, n)
    order = seeding.generator(config.seed, "order")
    total = ceil(regime.n_seen(n) / batch_size)
    engine.model.train()
    step, seen = 0, 0
    for step, rows in enumerate(regime.batches(n, batch_size, order), start=1):
        rate = config.optim.lr * schedules.factor(config.optim.schedule, (step - 0.5) / total, config.optim.warmup)
        engine.step(rows, rate)
        seen += len(rows)
        if step % CHECK_EVERY == 0 or step == total:
            mean = engine.mean_loss()
            if not isfinite(mean) or mean > DIVERGED_AT * chance:
                return DIVERGED, step, seen
        if reporter.stops(step, total):
            return PRUNED, step, seen
    return COMPLETE, step, seen

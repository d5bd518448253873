"""Runs of one shape trained side by side as one stacked model, where that is measured to be faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from mnist_scaling.config import RunConfig, TrialConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.training import loop, regimes, run_end, seeding, shared_run, sharing
from mnist_scaling.training.data import augmentation, splits
from mnist_scaling.training.models.model_size import measure
from mnist_scaling.training.regimes import Lockstep
from mnist_scaling.training.run import device, weights
from mnist_scaling.training.run.run_monitor import Ended, RunMonitor
from mnist_scaling.training.step.acceleration import ACCELERATOR, StackedEngine


def train_models(configs: Sequence[RunConfig], size: int | None = None) -> list[TrainResult]:
    """What ``[train_model(c) for c in configs]`` gives, to the bit, in less time where stacking pays.

    Runs that differ in seed, learning rate, dropout or stage only, of a regime whose batches are known beforehand
    and of a model that can be stacked (training/fast/), are trained as stacked models. Each keeps its own subset,
    order, initial weights and masks; one that diverges ends alone. All others are trained one after another.

    Parameters
    ----------
    configs : sequence of RunConfig
        Any runs; results come in the same order.
    size : int, optional
        Models in a stack, 1 for none; None to measure which is the fastest, once per process and shape.

    Returns
    -------
    list of TrainResult
    """
    groups: dict[RunConfig, list[int]] = {}
    for index, config in enumerate(configs):
        groups.setdefault(_shape(config), []).append(index)
    results: dict[int, TrainResult] = {}
    for shape, members in groups.items():
        found = _train_alike(shape, [configs[i] for i in members], size)
        results |= zip(members, found, strict=True)
    return [results[i] for i in range(len(configs))]


def _train_alike(shape: RunConfig, runs: Sequence[RunConfig], size: int | None) -> list[TrainResult]:
    """Runs of one shape: on a GPU side by side with whatever else it trains, on the CPU in stacks."""
    with shared_run.PREPARING:
        here = device.pick(shape)
        if here.type != "cuda" or not sharing.can_share(shape, here):
            found: list[TrainResult] = []
            per_stack = _stack_size(shape, len(runs), size)
            for start in range(0, len(runs), per_stack):
                chosen = runs[start : start + per_stack]
                found += [loop.train_model(chosen[0])] if len(chosen) == 1 else _train_stack(chosen)
            return found
        device.make_repeatable()
        shared = sharing.shared(here)
    answers = [shared.start(run) for run in runs]
    return [answer.result() for answer in answers]


def _shape(config: RunConfig) -> RunConfig:
    """The config with all that may differ inside a stack set to one value."""
    optim, model = replace(config.optim, lr=1.0), replace(config.model, dropout=0.5 if config.model.dropout else 0.0)
    return replace(config, seed=0, optim=optim, model=model, trial=TrialConfig())


def _stack_size(shape: RunConfig, count: int, wanted: int | None) -> int:
    """Models in a stack of runs of one shape, of which there are so many."""
    on_cpu = device.pick(shape).type == "cpu"
    if ACCELERATOR is None or count == 1 or not on_cpu or not regimes.in_lockstep(shape):
        return 1
    if not ACCELERATOR.can_stack(shape):
        return 1
    torch.set_num_threads(shape.threads)
    return wanted or ACCELERATOR.fastest_stack(shape, count)


class _Member:
    """One model of a stack as its run sees it."""

    def __init__(self, model: nn.Module, part: splits.Part, stack: StackedEngine, place: int) -> None:
        self.model, self.part = model, part
        self._stack, self._place = stack, place

    def mean_loss(self) -> float:
        """Mean training loss of this model since the last look."""
        return self._stack.mean_losses()[self._place]


def _train_stack(configs: Sequence[RunConfig]) -> list[TrainResult]:
    """One stack from start to scores."""
    first = configs[0]
    torch.set_num_threads(first.threads)
    dataset = splits.load(first.data, torch.device("cpu"))
    size = measure(first.model, dataset.image_shape, dataset.classes)
    regime = regimes.build(first, size.training)
    assert isinstance(regime, Lockstep)
    n = regime.n_train(splits.n_train(first.data))
    bases = [splits.training_part(dataset, n, config.data, config.seed) for config in configs]
    augmenters = augmentation.side_by_side(bases, first.data, [config.seed for config in configs])
    parts = [a.part if a else base for a, base in zip(augmenters, bases, strict=True)]
    built = [weights.initial_model(config, dataset.image_shape, dataset.classes) for config in configs]
    streams = [seeding.generator(config.seed, "dropout") for config in configs]
    assert ACCELERATOR is not None
    stack = ACCELERATOR.stack(built, parts, first.optim, [config.model.dropout for config in configs], streams)
    members = [_Member(model, part, stack, i) for i, (model, part) in enumerate(zip(built, parts, strict=True))]
    runs = [
        RunMonitor(config, member, dataset, augmenter)
        for config, member, augmenter in zip(configs, members, augmenters, strict=True)
    ]
    ends = _take_steps(stack, runs, regime)
    return [run_end.finish(run, size, end or regime.outcome(run)) for run, end in zip(runs, ends, strict=True)]


def _take_steps(stack: StackedEngine, runs: Sequence[RunMonitor], regime: Lockstep) -> list[Ended | None]:
    """Every step of all runs; how each ended that diverged. Its model stays in the stack, but counts no more."""
    ends: list[Ended | None] = [None] * len(runs)
    plans = [regime.plan(run.n_train, run.batch_size, run.order()) for run in runs]
    for steps in zip(*plans, strict=True):
        rates = [run.peak_lr * step.factor for run, step in zip(runs, steps, strict=True)]
        stack.step(torch.stack([run.drawn(step.rows) for run, step in zip(runs, steps, strict=True)]), rates)
        for place, (run, step) in enumerate(zip(runs, steps, strict=True)):
            if ends[place] is None:
                try:
                    run.count_steps(1, len(step.rows))
                    if step.is_last:
                        run.check()
                except Ended as end:
                    ends[place] = end
        if all(ends):
            break
    return ends

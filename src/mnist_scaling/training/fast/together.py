"""Runs of one shape trained side by side as one stacked model, where that is measured to be faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import torch
from torch import Tensor, nn

from mnist_scaling.config import OptimConfig, RunConfig, TrialConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.training import data, loop, models, regimes, schedules, seeding
from mnist_scaling.training.engine import Engine
from mnist_scaling.training.fast import small_cnn
from mnist_scaling.training.fast.masks import Dropout
from mnist_scaling.training.fast.stack import Stack, fastest
from mnist_scaling.training.model_size import measure
from mnist_scaling.training.regimes import Lockstep, Outcome
from mnist_scaling.training.session import Ended, Session


def train_models(configs: Sequence[RunConfig], size: int | None = None) -> list[TrainResult]:
    """What ``[train_model(c) for c in configs]`` gives, to the bit, in less time where stacking pays.

    Runs that differ in seed, learning rate, dropout or stage only, of a regime whose batches are known beforehand
    and of a model that `small_cnn` supports, are trained as stacked models. Each keeps its own subset, order,
    initial weights and masks; one that diverges ends alone. All others are trained one after another.

    Parameters
    ----------
    configs : sequence of RunConfig
        Any runs; results come in the same order.
    size : int, optional
        Models in a stack, 1 for none; None to measure which is the fastest, once a process for each shape.

    Returns
    -------
    list of TrainResult
    """
    groups: dict[RunConfig, list[int]] = {}
    for index, config in enumerate(configs):
        groups.setdefault(_shape(config), []).append(index)
    results: dict[int, TrainResult] = {}
    for shape, members in groups.items():
        models_a_stack = 1
        if len(members) > 1 and _stackable(shape):
            models_a_stack = size or _fastest(shape, len(members))
        for start in range(0, len(members), models_a_stack):
            chosen = members[start : start + models_a_stack]
            runs = [configs[i] for i in chosen]
            found = [loop.train_model(runs[0])] if len(runs) == 1 else _train_together(runs)
            results |= zip(chosen, found, strict=True)
    return [results[i] for i in range(len(configs))]


def _shape(config: RunConfig) -> RunConfig:
    """The config with all that may differ inside a stack set to one value."""
    optim, model = replace(config.optim, lr=1.0), replace(config.model, dropout=0.5 if config.model.dropout else 0.0)
    return replace(config, seed=0, optim=optim, model=model, trial=TrialConfig())


def _fastest(shape: RunConfig, count: int) -> int:
    n_train = data.n_train(shape.data)
    optim = OptimConfig(shape.optim.name, batch_size=min(shape.optim.batch_size, n_train))
    torch.set_num_threads(shape.threads)
    return fastest(shape.model, optim, shape.data.name, shape.data.dir, count)


def _stackable(shape: RunConfig) -> bool:
    """Whether runs of this shape can be stacked at all."""
    if not regimes.in_lockstep(shape) or loop.pick_device(shape.device).type != "cpu":
        return False
    dataset = data.load(shape.data.name, shape.data.dir, torch.device("cpu"))
    with torch.device("meta"):
        model = models.build(shape.model, dataset.image_shape, dataset.classes)
    return small_cnn.supports(model, dataset.train)


class _Member(Engine):
    """One model of a stack as its session sees it; the stack takes its steps."""

    def __init__(self, model: nn.Module, part: data.Part) -> None:
        self.model, self.part = model, part
        self.stack: Stack
        self.place = 0

    def step(self, rows: Tensor, rate: float) -> None:
        """Nothing: the stack has done it."""

    def mean_loss(self) -> float:
        """Mean training loss of this model since the last look."""
        return self.stack.mean_losses()[self.place]


class _Taken(Lockstep):
    """A regime whose steps have been taken: says how they ended."""

    def __init__(self, regime: Lockstep) -> None:
        super().__init__(regime.run, regime.flops_per_example)
        self.regime = regime
        self.ended: Ended | None = None

    def train(self, session: Session) -> Outcome:
        """Nothing is left to do but to say it."""
        if self.ended is not None:
            raise self.ended
        return Outcome(session.seen, session.steps, self.regime.flags(session.n_train))


def _train_together(configs: Sequence[RunConfig]) -> list[TrainResult]:
    """One stack from start to scores."""
    first = configs[0]
    torch.set_num_threads(first.threads)
    dataset = data.load(first.data.name, first.data.dir, torch.device("cpu"))
    size = measure(first.model, dataset.image_shape, dataset.classes)
    kinds = [regimes.build(config, size.training) for config in configs]
    regime = kinds[0]
    assert isinstance(regime, Lockstep)
    n = regime.n_train(data.n_train(first.data))
    members = [_member(config, dataset, n) for config in configs]
    streams = [seeding.generator(config.seed, "dropout") for config in configs]
    dropout = Dropout([config.model.dropout for config in configs], streams)
    stack = Stack([m.model for m in members], [m.part for m in members], first.optim, dropout)
    for place, member in enumerate(members):
        member.stack, member.place = stack, place
    sessions = [Session(c, m, dataset, size, regime.n_seen(n)) for c, m in zip(configs, members, strict=True)]
    return [loop.run(s, taken, size) for s, taken in zip(sessions, _take_steps(stack, sessions, regime), strict=True)]


def _member(config: RunConfig, dataset: data.Dataset, n: int) -> _Member:
    part = dataset.train.take(data.subset(dataset.train.labels, n, config.seed))
    with seeding.global_stream(config.seed, "init", torch.device("cpu")):
        return _Member(models.build(config.model, dataset.image_shape, dataset.classes), part)


def _take_steps(stack: Stack, sessions: Sequence[Session], regime: Lockstep) -> list[_Taken]:
    """Every step of all runs, as `Lockstep.train` takes those of one; a run that has diverged is let go."""
    n, batch_size, optim = sessions[0].n_train, sessions[0].batch_size, sessions[0].config.optim
    total = ceil(regime.n_seen(n) / batch_size)
    taken = [_Taken(regime) for _ in sessions]
    orders = [regime.batches(n, batch_size, session.order()) for session in sessions]
    for step, rows in enumerate(zip(*orders, strict=True), start=1):
        progress = (step - 0.5) / total
        factor = schedules.factor(optim.schedule, progress, optim.warmup, optim.decay, optim.decay_shape)
        stack.step(torch.stack(rows), [session.config.optim.lr * factor for session in sessions])
        for session, own, end in zip(sessions, rows, taken, strict=True):
            if end.ended is None:
                try:
                    session.step(own, factor)
                    if step == total:
                        session.check()
                except Ended as ended:
                    end.ended = ended
        if all(end.ended is not None for end in taken):
            break
    return taken

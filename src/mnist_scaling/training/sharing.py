"""Runs that share a GPU: each enters a lane of its shape, takes its steps there, is looked at, and leaves.

A worker process of a sweep has many runs at a time, one per thread. Each thread calls `start` and waits for the answer;
one further thread launches the steps of all lanes, so that lanes of different shapes keep the GPU busy side
by side, and looks at each run where a run alone would be looked at: every few steps, at reports, at points of its
curve, at its end.
"""

from __future__ import annotations

import functools
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import pad

from mnist_scaling.config import OptimConfig, RunConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.training import data, gradient_noise, models, regimes, run_end, schedules, seeding, weights
from mnist_scaling.training.acceleration import ACCELERATOR, Lane
from mnist_scaling.training.model_size import measure
from mnist_scaling.training.observed_run import ObservedRun, Watch
from mnist_scaling.training.regimes import Lockstep
from mnist_scaling.training.run_monitor import CHECK_EVERY, Ended
from mnist_scaling.training.scoring import Report

PREPARING = threading.RLock()
"""Held while a run uses what the runs of a process have in common: torch's global stream of random numbers."""

MOST_PLACES = 32
"""Runs of one shape that are under way at a time; the others wait."""

SMALLEST_ROOM = 16
"""Room for examples in the smallest batch of a lane; others have 4 times, 16 times as much, and so on."""


def can_share(run: RunConfig, device: torch.device) -> bool:
    """Whether a run can be trained in a lane: its batches are known beforehand, and its model is written out.

    One that measures its gradient noise on the way trains alone: a lane looks at its runs every few steps only.
    """
    return (
        ACCELERATOR is not None
        and issubclass(regimes.REGIMES[run.regime.name], Lockstep)
        and run.data.augment == "none"
        and not gradient_noise.per_measurement(run)
        and _places(run, device) > 0
    )


def _places(run: RunConfig, device: torch.device) -> int:
    assert ACCELERATOR is not None
    size = measure(run.model, data.spec(run.data).image_shape, data.spec(run.data).classes)
    return ACCELERATOR.places(run, _room(run), size.training, device)


def _room(run: RunConfig) -> int:
    """Examples per step of the run's lane."""
    room = SMALLEST_ROOM
    while room < min(run.optim.batch_size, data.n_train(run.data)):
        room *= 4
    return room


def _shape(run: RunConfig) -> RunConfig:
    """What runs of one lane have in common; all else is set to one value."""
    model = replace(run.model, dropout=0.5 if run.model.dropout else 0.0)
    optim = run.optim
    constants = OptimConfig(
        name=optim.name, batch_size=_room(run), weight_decay=optim.weight_decay, momentum=optim.momentum,
        nesterov=optim.nesterov, beta2=optim.beta2, clip=optim.clip,
    )  # fmt: skip
    return RunConfig(model=model, optim=constants, data=run.data.whole)


@dataclass(eq=False)
class _Run:
    """One run in a lane, as a `Learner` and with the steps that it has yet to take."""

    config: RunConfig
    report: Report | None
    folder: Path | None
    watch: Watch | None
    answer: Future[TrainResult] = field(default_factory=Future)
    taken: int = 0
    """Steps."""
    until: int = 0
    """The step at which it is looked at next."""
    _sums: list[tuple[float, int]] = field(default_factory=list)

    def prepare(self, device: torch.device) -> None:
        """Everything that does not need the lane."""
        with PREPARING:
            self._prepare(device)
        self.plan = self._plan()
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # a lane's stream reads what was prepared

    def _prepare(self, device: torch.device) -> None:
        config = self.config
        self.dataset = data.load(config.data, device)
        self.size = measure(config.model, self.dataset.image_shape, self.dataset.classes)
        regime = regimes.build(config, self.size.training)
        assert isinstance(regime, Lockstep)
        self.regime = regime
        n = regime.n_train(data.n_train(config.data))
        self.part = data.training_part(self.dataset, n, config.data, config.seed)
        self.model: nn.Module = weights.initial_model(config, self.dataset.image_shape, self.dataset.classes).to(device)
        n_seen = regime.n_seen(n)
        self.session = ObservedRun(config, self, self.dataset, self.size, n_seen, self.report, self.watch)
        self.n_seen = n_seen
        self.total = ceil(n_seen / self.session.batch_size)

    def mean_loss(self) -> float:
        """Mean training loss of the steps since the last call."""
        mean = sum(total for total, _ in self._sums) / sum(count for _, count in self._sums)
        self._sums.clear()
        return mean

    def _plan(self) -> object:
        """The steps as the lane takes them."""
        assert ACCELERATOR is not None
        config, batch, room = self.config, self.session.batch_size, _room(self.config)
        order = torch.cat(list(self.regime.passes(len(self.part), batch, self.session.order())))
        padded = torch.zeros(self.total * batch, dtype=torch.int64)
        rows, labels = torch.empty(2, self.total, room, dtype=torch.int64)
        for known, numbers in ((self.part.rows, rows), (self.part.labels, labels)):
            padded[: self.n_seen] = known.cpu()[order]
            numbers.copy_(pad(padded.view(-1, batch), (0, room - batch)))
        sizes = torch.full((self.total,), batch)
        sizes[-1] = self.n_seen - batch * (self.total - 1)
        optim = config.optim
        found = schedules.factors(optim.schedule, self.total, optim.warmup, optim.decay, optim.decay_shape)
        rates = self.session.peak_lr * torch.tensor(found, dtype=torch.float64)
        # Consecutive keys of a counter-based generator are as good as any; the seed decides where they start.
        keys = (seeding.stream_seed(config.seed, "dropout") >> 1) + torch.arange(self.total)
        return ACCELERATOR.plan(rows, labels, sizes, rates, keys, config.model.dropout, optim)

    def go_on(self) -> tuple[int, int]:
        """From which step on, and to which, it can go before it is looked at."""
        batch, examples = self.session.batch_size, self.n_seen
        until = min(self.total, (self.taken // CHECK_EVERY + 1) * CHECK_EVERY)
        due = (
            number for number in range(self.taken + 1, until)
            if self.session.is_due(number, self.total, number * batch, examples)
        )  # fmt: skip
        self.until = next(due, until)
        return self.taken, self.until

    def take_in(self, summed: float) -> TrainResult | None:
        """Look at the run after its steps; its result once it has ended."""
        self._sums.append((summed, self.until - self.taken))
        examples = min(self.until * self.session.batch_size, self.n_seen)
        end: Ended | None = None
        try:
            self.session.count_steps(self.until - self.taken, examples - self.session.seen)
            self.regime.after(self.session, self.until, self.total)
        except Ended as ended:
            end = ended
        self.taken = self.until
        if end is None and self.taken < self.total:
            return None
        result = run_end.finish(self.session, self.size, end or self.regime.outcome(self.session))
        run_end.leave_weights(self.config, result, self.model, self.dataset, self.folder)
        return result


class _Places:
    """A lane and the runs in it."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.runs: list[_Run | None] = [None] * lane.places
        self.launched: list[tuple[int, _Run]] = []

    @property
    def free(self) -> int | None:
        """A place without a run."""
        return next((place for place, run in enumerate(self.runs) if run is None), None)

    def enter(self, run: _Run) -> None:
        """Give a free place to a run."""
        place = self.free
        assert place is not None
        self.runs[place] = run
        self.lane.enter(place, run.model)

    @property
    def occupied(self) -> bool:
        """Whether any place has a run."""
        return any(run is not None for run in self.runs)

    def launch(self) -> None:
        """Launch steps of the runs that have a place."""
        self.launched = [(place, run) for place, run in enumerate(self.runs) if run is not None]
        self.lane.launch([(place, run.plan, *run.go_on()) for place, run in self.launched])

    def take_in(self) -> None:
        """Look at the runs whose steps have been taken, and give back the places of those that have ended."""
        losses = self.lane.losses()
        with self.lane.here():
            for place, run in self.launched:
                try:
                    result = run.take_in(losses[place])
                except Exception as error:
                    self.runs[place] = None
                    run.answer.set_exception(error)
                else:
                    if result is not None:
                        self.runs[place] = None
                        run.answer.set_result(result)


class Sharing:
    """The runs of this process on one device.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lanes: dict[RunConfig, list[_Places]] = {}
        self._waiting: list[_Run] = []
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(
        self, config: RunConfig, report: Report | None = None, folder: Path | None = None, watch: Watch | None = None
    ) -> Future[TrainResult]:
        """Train one run beside those that other threads have started; parameters and result of `loop.train_model`."""
        run = _Run(config, report, folder, watch)
        run.prepare(self._device)
        with self._change:
            self._waiting.append(run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, daemon=True, name="shared-gpu")
                self._thread.start()
            self._change.notify()
        return run.answer

    def _serve(self) -> None:
        """Launch and take in, until nothing is left to do."""
        under_way: list[_Places] = []
        while True:
            with self._change:
                if not self._waiting and not any(places.occupied for places in self._all()):
                    self._change.wait()
                arrived, self._waiting = self._waiting, []
            try:
                self._turn(arrived, under_way)
            except Exception as error:  # of the device: nothing on it can be relied on
                for run in [*arrived, *(run for places in self._all() for run in places.runs if run is not None)]:
                    if not run.answer.done():
                        run.answer.set_exception(error)
                under_way.clear()
                self._lanes.clear()
                with self._change:  # of the runs that had just arrived, some wait for a place
                    self._waiting = [run for run in self._waiting if not run.answer.done()]

    def _turn(self, arrived: list[_Run], under_way: list[_Places]) -> None:
        """Give arrived runs places, launch what is not under way, and take in what is done."""
        for run in arrived:
            if not self._admit(run):
                with self._change:
                    self._waiting.append(run)
        for places in self._all():
            if places.occupied and places not in under_way:
                places.launch()
                under_way.append(places)
        done = [places for places in under_way if places.lane.is_done()]
        if not done and under_way:
            under_way[0].lane.wait()
            done = under_way[:1]
        for places in done:
            under_way.remove(places)
            places.take_in()

    def _all(self) -> list[_Places]:
        return [places for found in self._lanes.values() for places in found]

    def _admit(self, run: _Run) -> bool:
        """Give a run a place in a lane of its shape, in a new one if all are full; False if it has to wait."""
        lanes = self._lanes.setdefault(_shape(run.config), [])
        places = next((found for found in lanes if found.free is not None), None)
        if places is None:
            if sum(len(found.runs) for found in lanes) >= MOST_PLACES:
                return False
            try:
                places = _Places(self._open(run))
            except torch.OutOfMemoryError:
                if not self._give_up_idle_lanes() and not any(found.occupied for found in self._all()):
                    raise
                return False
            lanes.append(places)
        places.enter(run)
        return True

    def _give_up_idle_lanes(self) -> bool:
        """Free the memory of lanes without a run, if there are any; whether there were."""
        idle = [places for places in self._all() if not places.occupied]
        self._lanes = {shape: [places for places in found if places.occupied] for shape, found in self._lanes.items()}
        return bool(idle)

    def _open(self, run: _Run) -> Lane:
        assert ACCELERATOR is not None
        shape, dataset = _shape(run.config), run.dataset
        count = ACCELERATOR.places(shape, shape.optim.batch_size, run.size.training, self._device)
        with PREPARING:
            model = models.build(shape.model, dataset.image_shape, dataset.classes).to(self._device)
        dropout = shape.model.dropout > 0
        return ACCELERATOR.lane(model, count, dataset.train, shape.optim, shape.optim.batch_size, CHECK_EVERY, dropout)


@functools.cache
def shared(device: torch.device) -> Sharing:
    """The runs of this process on a device; `PREPARING` must be held, because two threads at once would make two."""
    return Sharing(device)

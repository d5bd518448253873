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
from pathlib import Path

import torch

from mnist_scaling.config import RunConfig
from mnist_scaling.study.result import TrainResult
from mnist_scaling.training import models, regimes, shared_run
from mnist_scaling.training.data import splits
from mnist_scaling.training.models.model_size import measure
from mnist_scaling.training.regimes import Lockstep
from mnist_scaling.training.run import gradient_noise
from mnist_scaling.training.run.observed_run import Watch
from mnist_scaling.training.run.run_monitor import CHECK_EVERY
from mnist_scaling.training.run.scoring import Report
from mnist_scaling.training.shared_run import PREPARING, SharedRun
from mnist_scaling.training.step.acceleration import ACCELERATOR, Lane

MOST_PLACES = 32
"""Runs of one shape that are under way at a time; the others wait."""


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
    size = measure(run.model, splits.spec(run.data).image_shape, splits.spec(run.data).classes)
    return ACCELERATOR.places(run, shared_run.room(run), size.training, device)


class _Places:
    """A lane and the runs in it."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.runs: list[SharedRun | None] = [None] * lane.places
        self.launched: list[tuple[int, SharedRun]] = []

    @property
    def free(self) -> int | None:
        """A place without a run."""
        return next((place for place, run in enumerate(self.runs) if run is None), None)

    def enter(self, run: SharedRun) -> None:
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
        self._waiting: list[SharedRun] = []
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(
        self, config: RunConfig, report: Report | None = None, folder: Path | None = None, watch: Watch | None = None
    ) -> Future[TrainResult]:
        """Train one run beside those that other threads have started; parameters and result of `loop.train_model`."""
        run = SharedRun(config, report, folder, watch)
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

    def _turn(self, arrived: list[SharedRun], under_way: list[_Places]) -> None:
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

    def _admit(self, run: SharedRun) -> bool:
        """Give a run a place in a lane of its shape, in a new one if all are full; False if it has to wait."""
        lanes = self._lanes.setdefault(shared_run.shape(run.config), [])
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

    def _open(self, run: SharedRun) -> Lane:
        assert ACCELERATOR is not None
        shape, dataset = shared_run.shape(run.config), run.dataset
        count = ACCELERATOR.places(shape, shape.optim.batch_size, run.size.training, self._device)
        with PREPARING:
            model = models.build(shape.model, dataset.image_shape, dataset.classes).to(self._device)
        dropout = shape.model.dropout > 0
        return ACCELERATOR.lane(model, count, dataset.train, shape.optim, shape.optim.batch_size, CHECK_EVERY, dropout)


@functools.cache
def shared(device: torch.device) -> Sharing:
    """The runs of this process on a device; `PREPARING` must be held, because two threads at once would make two."""
    return Sharing(device)

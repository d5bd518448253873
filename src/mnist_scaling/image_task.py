"""Training as tuning sees it, for the commands that sweep (`train`) or that foresee what runs cost (`ask`, `plan`).

torch takes seconds to import: every method below does so when it is called, so that a mistyped command fails at once.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import platformdirs
from omegaconf import DictConfig

from mnist_scaling import config
from mnist_scaling.config import DataConfig, RunConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study import identity, layout
from mnist_scaling.study.columns import TrainResult
from mnist_scaling.tuning.task import Prepared, Report, Task, Values
from mnist_scaling.tuning.workers import faults

_PLACES = ("data.dir", "data.path", "init_from")
"""Config keys that name a place, which may be another one at a worker; a record has the sweep's."""

_WEIGHTS = "weights"
"""In what travels with a run: the file of the weights that it starts from."""


class ImageTask(Task):
    """Classifiers of images."""

    preload = ("mnist_scaling.training.loop",)
    # Of arrays and of weights to start from the checksum counts, not the place. The device and the threads are not
    # among them: both change the last bits of a loss.
    no_effect = ("data.dir", "data.path", "init_from", "save_weights", "name", "trial.stage")
    structural = ("model.name",)
    checksums, cap, last = identity.CHECKSUMS, identity.CAP, "regime.last"
    command = ("python", "-m", "mnist_scaling.train")
    predicts_seconds = True

    def values(self, cfg: DictConfig) -> dict[str, Any]:
        """A `RunConfig` of the configuration, as plain values."""
        return _plain(config.build(RunConfig, cfg))

    def nodes(self, cfg: DictConfig) -> list[str]:
        """The fields of `RunConfig`."""
        return [f.name for f in fields(RunConfig) if f.name in cfg]

    def checked(self, values: Values) -> dict[str, Any]:
        """Checked by the rules of `RunConfig`."""
        return _plain(config.from_values(values))

    def of_stage(self, values: Values, stage: str) -> dict[str, Any]:
        """A trial must not see the test images."""
        return {**values, "trial.stage": stage}

    def defaults(self, values: Values) -> Values:
        """Those of `RunConfig`, with the keys of the run's own family, whose name is a setting where it is another."""
        own = _plain(RunConfig(model=config.model_config(name := values["model.name"])(name=name)))
        return {**own, "model.name": RunConfig().model.name}

    def train(self, values: Values, report: Report | None, folder: Path) -> TrainResult:
        """One run (`training.loop`)."""
        from mnist_scaling.training.loop import train_model

        return train_model(config.from_values(values), report, folder)

    def cost(self, values: Values) -> float:
        """Predicted seconds of a run on one core (`training.cost`)."""
        from mnist_scaling.training.cost import cost

        return cost(config.from_values(values))

    def counts(self, values: Values) -> Mapping[str, float]:
        """Size, data and FLOPs (`training.cost`)."""
        from mnist_scaling.training.cost import counts

        return counts(config.from_values(values))

    def check(self, values: Values) -> None:
        """Look for the device (`training.cost`)."""
        if values["device"] not in ("auto", "cpu"):
            from mnist_scaling.training.cost import check_device

            check_device(values["device"])

    def prepare(self, runs: Sequence[Values]) -> list[Prepared]:
        """Fetch or check each data set once, and the weights of `init_from`."""
        wholes = [config.from_values(values).data.whole for values in runs]
        known = {data: self.fetch(data) for data in dict.fromkeys(wholes)}
        return [self._prepared(values, known[data]) for values, data in zip(runs, wholes, strict=True)]

    def fetch(self, data: DataConfig) -> dict[str, Any]:
        """Fetch or check the images; what study.json says of them, with the checksum of a file of one's own."""
        from mnist_scaling.training.data import splits

        prepared = splits.prepare(data)
        about = asdict(splits.spec(prepared))
        kept = ("image_shape", "classes", "n_train", "n_validation", "n_test")
        return {"name": data.name, **{key: about[key] for key in kept}, "sha256": prepared.sha256}

    def _prepared(self, values: Values, known: Mapping[str, Any]) -> Prepared:
        bound, note = {} if known["sha256"] is None else {"data.sha256": known["sha256"]}, ""
        if values["init_from"] is not None:
            from mnist_scaling.training import weights
            from mnist_scaling.training.data import splits

            run = config.from_values({**values, **bound})
            about = splits.spec(run.data)
            initial = weights.source(run, about.image_shape, about.classes)
            assert initial is not None
            bound, note = bound | {"init_sha256": initial.sha256}, initial.note
        return Prepared(bound, known, note)

    def pack(self, values: Values, far: bool) -> Mapping[str, Any]:
        """The sweep's absolute paths, and the weights to start from for a worker that may not find them."""
        places = {key: str(Path(values[key]).absolute()) for key in _PLACES if values.get(key) is not None}
        if far and "init_from" in places:
            return {**places, _WEIGHTS: (Path(places["init_from"]) / layout.WEIGHTS).read_bytes()}
        return places

    def unpack(
        self, values: Values, payload: Mapping[str, Any], is_at_home: bool, held: contextlib.ExitStack
    ) -> dict[str, Any]:
        """Where things lie at this worker: at the sweep's own path if they are there, else where they can be put."""
        here = {**values, **{key: place for key, place in payload.items() if key != _WEIGHTS}}
        if not Path(here["data.dir"]).is_dir():
            here["data.dir"] = str(platformdirs.user_cache_path("mnist_scaling") / "data")
        if _WEIGHTS in payload and not (Path(here["init_from"]) / layout.WEIGHTS).is_file():
            folder = tempfile.TemporaryDirectory(prefix="mnist_scaling-", ignore_cleanup_errors=True)
            here["init_from"] = held.enter_context(folder)
            (Path(here["init_from"]) / layout.WEIGHTS).write_bytes(payload[_WEIGHTS])
        if not (is_at_home and Path(here["data.dir"]).is_dir()):
            _fetch_here(self, config.from_values(here).data.whole)
        return here


def _plain(run: RunConfig) -> dict[str, Any]:
    return config.flatten(asdict(run))


@functools.lru_cache(maxsize=16)
def _fetch_here(task: ImageTask, data: DataConfig) -> None:
    """Fetch or check a data set at this worker, once."""
    try:
        task.fetch(data)
    except InputError as error:  # nobody's run is at fault where a node has no data
        # The last cause is what is told, and that one does not name the node.
        raise faults.MachineError(f"on {socket.gethostname()}: {str(error).rstrip('.')}") from None


TASK = ImageTask()

"""A job on a worker that does not share the study's folder: what it needs goes with it, what it leaves comes back.

The worker gives the run a temporary folder, and a storage in memory that holds a copy of its cell's study, so that the
run itself is the same as with a shared folder. The sweep writes the record that comes back and tells the study.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle
import platformdirs

from mnist_scaling.config import DataConfig
from mnist_scaling.errors import InputError
from mnist_scaling.study import files, layout
from mnist_scaling.tuning.stored.study_copy import StudyCopy
from mnist_scaling.tuning.trainer import Trainer
from mnist_scaling.tuning.workers import execution, faults, hydra_job
from mnist_scaling.tuning.workers.job import Job

_PLACES = ("data.dir", "data.path", "init_from")
"""Config keys that name a place, which may be another one at a worker; a record has the sweep's."""


@dataclass(frozen=True)
class RunFiles:
    """What one run left in its folder."""

    record: dict[str, Any]
    others: Mapping[str, bytes]
    """Further files, such as weights, by name."""


@dataclass(frozen=True)
class Answer:
    """How a job ended, as its worker says it."""

    error: str | None = None
    runs: Mapping[str, RunFiles] = field(default_factory=dict)
    """What came back, by the run's folder inside the study's; empty where the worker wrote into that folder itself."""
    apart: str | None = None
    """Why the worker has not run a job that was to use the study's folder."""


@dataclass(frozen=True)
class Token:
    """A file in the study's folder, by which a worker knows that it shares the folder.

    Nothing is configured, so that nobody can be wrong about it, and every worker answers for itself.
    """

    folder: Path
    """The study's, absolute."""
    text: str = field(default_factory=lambda: secrets.token_hex(16))
    only_host: str | None = None
    """The one host whose workers may write to the study's storage, where that is a file."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / layout.TOKEN

    def why_apart(self) -> str | None:
        """Why a job can't use the study's folder in this process; None where it can."""
        here = socket.gethostname()
        try:
            seen = self.path.read_text() == self.text and os.access(self.folder, os.W_OK)
        except (OSError, ValueError):
            seen = False
        if not seen:
            return f"workers such as those on {here} can't write to {self.folder}"
        if self.only_host not in (None, here):
            return f"workers such as those on {here} must not write to a storage that is a file on {self.only_host}"
        return None


@dataclass(frozen=True)
class Luggage:
    """What goes with a job to a worker that has nothing of the study."""

    config: bytes
    """Pickle of the cell's composed config: a worker's own conf/ may be another version's, or lie elsewhere."""
    study: StudyCopy | None
    data: DataConfig
    places: Mapping[str, str]
    """Config keys of `_PLACES` with the sweep's absolute paths."""
    folders: tuple[str, ...]
    """Of the job's runs, inside the study's folder."""
    start: bytes | None = None
    """The file of the weights that the run starts from, where it does not start from scratch."""

    @classmethod
    def of(cls, job: Job, config: bytes) -> Luggage:
        """The luggage of a job."""
        given = {key: job.cell.values.get(key) for key in _PLACES}
        places = {key: str(Path(value).absolute()) for key, value in given.items() if value is not None}
        study = None if job.study_copy is None else job.study_copy()
        folders = (str(job.folder),)
        start = (Path(places["init_from"]) / layout.WEIGHTS).read_bytes() if "init_from" in places else None
        return cls(config, study, job.cell.run.data.whole, places, folders, start)

    def run(self, trainer: Trainer, settings: Mapping[str, Any], overrides: list[str], number: int) -> Answer:
        """Run the job in this process, a worker's.

        Parameters
        ----------
        trainer : Trainer
            The application's.
        settings, overrides, number
            See `hydra_job.run`.
        """
        places = {**self.places, "data.dir": _data_folder(self.places["data.dir"])}
        data = replace(self.data, dir=places["data.dir"], path=places.get("data.path"))
        try:
            trainer.prepare(data)
        except InputError as error:  # nobody's run is at fault where a node has no data
            # The last cause is what is told, and that one does not name the node.
            raise faults.MachineError(f"on {socket.gethostname()}: {str(error).rstrip('.')}") from None
        with tempfile.TemporaryDirectory(prefix="mnist_scaling-", ignore_cleanup_errors=True) as temporary:
            folder = Path(temporary)
            if self.start is not None:
                (folder / layout.WEIGHTS).write_bytes(self.start)
                places["init_from"] = temporary
            here = {**settings, **places, "hydra.sweep.dir": temporary, "hydra.sweeper.storage": None}
            with contextlib.nullcontext() if self.study is None else self.study.held(folder):
                failure = hydra_job.run_composed(cloudpickle.loads(self.config), here, overrides, number)
            found = {name: _left(folder / name) for name in self.folders}
        return Answer(failure, {name: left for name, left in found.items() if left is not None})


def keep(job: Job, answer: Answer, folder: Path) -> None:
    """Write what came back of a job's runs into the study's folder, as the runs themselves would have; the record last.

    Parameters
    ----------
    job : Job
    answer : Answer
    folder : Path
        The study's.
    """
    left = answer.runs.get(str(job.folder))
    if left is None:
        return
    own = folder / job.folder
    for name, content in left.others.items():
        with files.replacing(own / Path(name).name) as file:
            file.write(content)
    places = {key: job.cell.values[key] for key in _PLACES if key in job.cell.values}
    execution.write_record(own, {**left.record, "config": left.record["config"] | places})


def _data_folder(given: str) -> str:
    """Where data lie at this worker: at the sweep's own path where there is such a folder, else in the user's cache."""
    return given if Path(given).is_dir() else str(platformdirs.user_cache_path("mnist_scaling") / "data")


def _left(folder: Path) -> RunFiles | None:
    """What a run has left, once it has left a record; an unfinished run's checkpoint is of use to this worker only."""
    record = files.read_json(folder / layout.RESULT)
    if record is None:
        return None
    del record[files.CHECKSUM]  # it is written anew
    others = (path for path in sorted(folder.iterdir()) if path.name != layout.RESULT and path.is_file())
    return RunFiles(record, {path.name: path.read_bytes() for path in others})

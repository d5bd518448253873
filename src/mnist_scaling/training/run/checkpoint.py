"""The file that lets a killed run go on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnist_scaling.config import RunConfig, defaults_like, flatten
from mnist_scaling.study import files
from mnist_scaling.study.files import DamagedFileError
from mnist_scaling.study.layout import CHECKPOINT
from mnist_scaling.training.run import tensor_file

KIND = "checkpoint"
"""What the file says that it is."""


class Checkpoint:
    """The checkpoint file of one run; whoever keeps the run's record deletes it.

    Parameters
    ----------
    folder : Path
        The run's own.
    config : RunConfig
        The run: a checkpoint of another one is not read.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.path = folder / CHECKPOINT
        self._run = json.dumps(_identity(config), sort_keys=True)
        self._defaults = _identity(defaults_like(config))

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file; a kill at any moment leaves the old one or the new one."""
        tensor_file.write(self.path, KIND, {**content, "run": self._run})

    def read(self) -> dict[str, Any] | None:
        """The file's content; None when there is none or it is another run's.

        A damaged file is set aside with a sentence on stderr, and the run starts afresh.
        """
        try:
            content = tensor_file.read(self.path, KIND)
            if not isinstance(content.get("run"), str):
                raise DamagedFileError(self.path, "it does not say whose it is")
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            files.set_aside(error, "and the run starts afresh")
            return None
        # A key that was added since the file was written is at its default there.
        return content if self._defaults | json.loads(content["run"]) == json.loads(self._run) else None


def _identity(config: RunConfig) -> dict[str, Any]:
    """All of a config that decides a run's bits; not who launched it, and not where its data lie."""
    skipped = (
        "trial.index", "trial.number", "trial.host", "trial.owner", "trial.study", "data.dir", "data.path",
        "init_from", "save_weights",
    )  # fmt: skip
    return {key: value for key, value in flatten(asdict(config)).items() if key not in skipped}

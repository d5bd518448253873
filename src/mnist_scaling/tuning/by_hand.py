"""The command that trains a recorded run once more, by hand.

    python -m mnist_scaling.tuning.by_hand multirun/quickstart/width=8/data_fraction=1/trial-003

It prints one line for a shell. The run is the same bit for bit, but for what its stage decides: a run by hand is not
pruned, and is scored on the test images too.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from mnist_scaling.config import literal
from mnist_scaling.errors import InputError
from mnist_scaling.study import records


def command(folder: Path) -> str:
    """The command of the run in a folder.

    Raises
    ------
    InputError
        When the folder holds no record, or one of another program than our own training.
    """
    record = records.read_run(folder)
    if record is None or "model.name" not in record["config"]:
        raise InputError(
            f"A run's folder must hold a result.json of our own training, but {folder} has none: give a finished run's "
            "folder, or start the other program with the keys in `config` of its result.json."
        )
    config = record["config"]
    keys = [f"{key}={_text(value)}" for key, value in config.items() if not key.startswith(("trial.", "model.name"))]
    # A family's file in conf/model/ declares the keys that only this family has.
    return shlex.join(["python", "-m", "mnist_scaling.train", f"model={config['model.name']}", *keys])


def _text(value: Any) -> str:
    return "[" + ",".join(map(_text, value)) + "]" if isinstance(value, list) else literal(value)


if __name__ == "__main__":
    try:
        print(command(Path(sys.argv[-1])))
    except InputError as error:
        sys.exit(f"Error: {error}")

"""The command that trains a recorded run once more, by hand.

    python -m mnist_scaling.tuning.by_hand multirun/quickstart/width=8/data_fraction=1/trial-003

It prints one line for a shell. The run is the same bit for bit, but for what its stage decides: a run by hand is not
pruned, and is scored on the test images too.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnist_scaling.config import literal
from mnist_scaling.errors import InputError
from mnist_scaling.study import records


def command(config: Mapping[str, Any]) -> str:
    """The command of a run.

    Parameters
    ----------
    config : mapping
        ``config`` of a result.json: dotted config key to value.
    """
    keys = [f"{key}={_text(value)}" for key, value in config.items() if not key.startswith(("trial.", "model.name"))]
    # A family's file in conf/model/ declares the keys that only this family has.
    return shlex.join(["python", "-m", "mnist_scaling.train", f"model={config['model.name']}", *keys])


def _text(value: Any) -> str:
    return "[" + ",".join(map(_text, value)) + "]" if isinstance(value, list) else literal(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the command of a run.

    Raises
    ------
    InputError
        When the folder holds no record.
    """
    parser = argparse.ArgumentParser(description="The command that trains a recorded run once more, by hand.")
    parser.add_argument("folder", type=Path, help="the run's folder, such as multirun/NAME/width=8/trial-003")
    folder = parser.parse_args(arguments).folder
    record = records.read_run(folder)
    if record is None:
        raise InputError(
            f"A run's folder must hold a result.json, but {folder} has none: give a finished run's folder."
        )
    if "model.name" not in record["config"]:
        raise InputError(
            f"The run must be one of our own training, but {folder} was made by another program: start that one with "
            "the keys in `config` of its result.json."
        )
    print(command(record["config"]))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"Error: {error}")

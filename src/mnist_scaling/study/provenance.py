"""How a study was made, for its study.json."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("mnist-scaling", "torch", "numpy", "hydra-core", "optuna", "hydra-optuna-sweeper")
"""What can change a study's numbers."""


def collect(overrides: Sequence[str]) -> dict[str, Any]:
    """The command as a shell takes it, the versions it ran with, and when it was last started.

    Parameters
    ----------
    overrides : sequence of str
        Hydra overrides of the sweep.
    """
    return {
        "command": shlex.join(["python", "-m", "mnist_scaling.train", "-m", *overrides]),
        "versions": versions(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Of Python and of `PACKAGES`, as they are installed here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that was never installed
            continue
    return found

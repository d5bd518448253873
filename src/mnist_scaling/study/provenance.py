"""How a study was made, for its study.json: the command, the versions, the commit."""

from __future__ import annotations

import functools
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "mnist-scaling", "torch", "numpy", "scipy", "pandas", "hydra-core", "omegaconf", "optuna", "hydra-optuna-sweeper",
)  # fmt: skip
"""Packages whose version can change a result."""

COMMAND, VERSIONS, COMMIT, STARTED, DATA = "command", "versions", "commit", "started", "data"
"""Keys of study.json; the last holds what is known of each data set, such as its number of classes."""


def collect(overrides: Sequence[str], command: Sequence[str]) -> dict[str, Any]:
    """The command as a shell takes it, the versions and the commit it ran with, and when it was last started."""
    return {
        COMMAND: shlex.join([*command, "-m", *overrides]),
        **code(),
        STARTED: datetime.now(UTC).isoformat(timespec="seconds"),
    }


def classes(study: Mapping[str, Any]) -> int | None:
    """Number of classes of a study's data, from its study.json; None where it has none, or data sets that differ."""
    found = {facts["classes"] for facts in study.get(DATA, []) if "classes" in facts}
    return found.pop() if len(found) == 1 else None


@functools.cache
def code() -> Mapping[str, Any]:
    """Versions and commit, as this process has them: what a run's record keeps of the program that made it."""
    return {VERSIONS: versions(), COMMIT: commit()}


def made_by(record: Mapping[str, Any]) -> str:
    """The code that made a record, in words; empty where the record does not tell."""
    if VERSIONS not in record:
        return ""
    found = record[VERSIONS]
    mine = f"commit {record[COMMIT]}" if record.get(COMMIT) else f"mnist-scaling {found.get('mnist-scaling')}"
    return f"{mine} with torch {found.get('torch')}"


def versions() -> dict[str, str]:
    """Version of Python and of each of `PACKAGES` that is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that was never installed
            continue
    return found


def commit() -> str | None:
    """The checkout's commit, with a + where files differ from it; None outside a checkout of this project."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return None
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()

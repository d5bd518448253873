"""Shared fixtures: real MNIST, fetched once into the checkout's data/ as the commands do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .preforked import Preforked

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def data_dir() -> str:
    """Folder that holds MNIST, fetched on first use."""
    from mnist_scaling.training.data import sources

    sources.ensure("mnist", ROOT / "data")
    return str(ROOT / "data")


@pytest.fixture(scope="session")
def preforked() -> Iterator[Preforked]:
    """The process whose forks are the tests' commands."""
    process = Preforked()
    yield process
    process.close()


@pytest.fixture
def command(preforked: Preforked, tmp_path: Path) -> Command:
    """Run ``python -m mnist_scaling.<name> …`` as a user would, in an empty folder."""

    def run(*arguments: str, cwd: Path = tmp_path, **environment: str) -> subprocess.CompletedProcess[str]:
        return preforked.run(arguments, cwd, **environment)

    return run

"""Shared fixtures: real MNIST, fetched once into the checkout's data/ as the commands do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .preforked import Preforked

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., subprocess.CompletedProcess[str]]

LONGEST = (
    "test_faults.py", "test_documentation.py", "test_own_problem.py", "test_ask.py", "test_notebooks.py",
    "test_regimes.py", "test_pipeline.py", "test_fit.py", "test_single_run.py", "test_composition.py",
)  # fmt: skip
"""Files that begin first, for workers take whole files: one that begins last is waited for by all the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files of tests/ first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


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

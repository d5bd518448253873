"""Synthetic studies, built once a session; tests that write take a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reporting.builder import Builder


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 widths x 4 fractions, 3 repeats with 3 % seed noise; don't write into it."""
    return Builder(noise=0.03).fitted(tmp_path_factory.mktemp("grid") / "multirun" / "grid")


@pytest.fixture
def copy(grid: Path, tmp_path: Path) -> Path:
    """The same, to spoil."""
    return Path(shutil.copytree(grid, tmp_path / "multirun" / "grid"))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """A fitted study from keyword arguments of `Builder`."""

    def build(**options: object) -> Path:
        return Builder(**options).fitted(tmp_path / "multirun" / "study")  # type: ignore[arg-type]

    return build

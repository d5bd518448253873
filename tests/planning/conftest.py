"""Synthetic studies with a known law, built once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reporting.builder import Builder


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 widths x 4 fractions, 3 repeats with 3 % seed noise; don't write into it."""
    return Builder(noise=0.03).write(tmp_path_factory.mktemp("plan") / "multirun" / "grid")

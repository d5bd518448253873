"""Synthetic studies with a known law, built once a session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mnist_scaling.config.fit_schema import BootstrapConfig, FitConfig
from mnist_scaling.plan import _counts
from mnist_scaling.planning.studied import Studied, studied
from tests.reporting.builder import Builder

QUICK = BootstrapConfig(draws=20)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 widths x 4 fractions, 3 repeats with 3 % seed noise; don't write into it."""
    return Builder(noise=0.03, seed=1).write(tmp_path_factory.mktemp("plan") / "multirun" / "grid")


@pytest.fixture(scope="session")
def of(study: Path) -> Studied:
    """The same, read and fitted, as a study of our own program."""
    return replace(studied(FitConfig(name=str(study), bootstrap=QUICK, laws="additive")), counts=_counts)

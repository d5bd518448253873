"""Test error and loss: the curve through both, and what is said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.figures.other_axes import accuracy
from mnist_scaling.reporting.text import Missing
from tests.reporting.builder import Builder, load


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """16 cells whose error is 0.3 loss^0.9 with a scatter of 2 %, scored on 10,000 images."""
    folder: Path = tmp_path_factory.mktemp("accuracy") / "multirun" / "s"
    found = load(Builder(noise=0.01).fitted(folder))
    return replace(found, cells=with_error(found), record={**found.record, "data": [{"n_test": 10_000}]})


def with_error(found: Study, scatter: float = 0.02):  # type: ignore[no-untyped-def]
    noise = scatter * np.random.default_rng(0).standard_normal(len(found.cells))
    error = 0.3 * found.cells["test_loss"] ** 0.9 * np.exp(noise)
    return found.cells.assign(test_error=error, test_error_se=0.01 * error)


def test_the_curve_is_found(study: Study) -> None:
    found = accuracy(study)
    assert not isinstance(found, Missing)
    power, low, high = map(float, re.findall(r"loss\^(\d\.\d+) \[(\d\.\d+), (\d\.\d+)\]", found.note)[0])
    assert low <= 0.9 <= high
    assert power == pytest.approx(0.9, abs=0.02)
    scatter, binomial = (float(n) for n in re.findall(r"(\d\.\d) %", found.note))
    assert scatter == pytest.approx(2, rel=0.4)
    error = study.cells["test_error"]
    assert binomial == pytest.approx(100 * np.sqrt(np.mean((1 - error) / (error * 10_000))), abs=0.05)
    assert "one smooth curve" in found.note
    np.testing.assert_allclose(found.points["fitted"], found.points["error"], rtol=0.1)


def test_error_that_the_loss_does_not_decide(study: Study) -> None:
    found = accuracy(replace(study, cells=with_error(study, 0.5)))
    assert not isinstance(found, Missing)
    assert "does not decide the error" in found.note


def test_what_is_missing(study: Study) -> None:
    few = accuracy(replace(study, cells=study.cells.head(4)))
    assert isinstance(few, Missing)
    assert "needs 5 cells" in few.reason
    other = accuracy(replace(study, is_study=False))
    assert isinstance(other, Missing)

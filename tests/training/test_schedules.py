from __future__ import annotations

import pytest

from mnist_scaling.training.schedules import factor


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        ("cosine", 0.0, 1.0),
        ("cosine", 0.5, 0.5),
        ("cosine", 1.0, 0.0),
        ("cosine", 1 / 3, 0.75),
        ("linear", 0.25, 0.75),
        ("linear", 1.0, 0.0),
        ("constant", 0.9, 1.0),
    ],
)
def test_known_values_without_warmup(schedule: str, progress: float, expected: float) -> None:
    assert factor(schedule, progress, 0.0) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_warmup_rises_to_one_and_the_rest_starts_there(schedule: str) -> None:
    assert factor(schedule, 0.05, 0.1) == pytest.approx(0.5)
    assert factor(schedule, 0.1, 0.1) == pytest.approx(1.0)
    assert factor(schedule, 0.0999999, 0.1) == pytest.approx(1.0, abs=1e-5)

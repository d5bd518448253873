from __future__ import annotations

import pytest

from mnist_scaling.training.regimes.passes import factor, fall, phase


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
        ("wsd", 0.8, 1.0),
        ("wsd", 0.85, 0.5),  # a quarter of the last fifth: 1 - sqrt(1/4)
        ("wsd", 1.0, 0.0),
    ],
)
def test_known_values_without_warmup(schedule: str, progress: float, expected: float) -> None:
    assert factor(schedule, progress, 0.0) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_warmup_rises_to_one_and_the_rest_starts_there(schedule: str) -> None:
    assert factor(schedule, 0.05, 0.1) == pytest.approx(0.5)
    assert factor(schedule, 0.1, 0.1) == pytest.approx(1.0)
    assert factor(schedule, 0.0999999, 0.1) == pytest.approx(1.0, abs=1e-5)


def test_shapes_of_a_decay() -> None:
    assert [fall(q, "linear") for q in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]
    assert [fall(q, "sqrt") for q in (0.0, 0.25, 1.0)] == [1.0, 0.5, 0.0]
    assert factor("wsd", 0.75, 0.0, decay=0.5, shape="linear") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", ["warmup", "constant", "constant"]),
        ("wsd", ["warmup", "constant", "decay"]),
        ("cosine", ["warmup", "cosine", "cosine"]),
        ("linear", ["warmup", "linear", "linear"]),
    ],
)
def test_a_phase_is_constant_only_where_the_rate_is(schedule: str, expected: list[str]) -> None:
    assert [phase(schedule, progress, 0.1) for progress in (0.05, 0.5, 0.9)] == expected

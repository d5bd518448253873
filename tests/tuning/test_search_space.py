from __future__ import annotations

import re
from typing import Any

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)

from mnist_scaling.errors import InputError
from mnist_scaling.tuning.cell import search_space

LOG = FloatDistribution(1e-4, 1e-1, log=True)


@pytest.mark.parametrize(
    ("spec", "value", "expected"),
    [
        ("tag(log, interval(1e-4, 1e-1))", 1e-2, LOG),
        ("interval(0.0, 0.5)", 0.1, FloatDistribution(0.0, 0.5)),
        ("interval(0, 0.5)", 0.1, FloatDistribution(0.0, 0.5)),
        ("interval(1, 8)", 2, IntDistribution(1, 8)),
        ("interval(1, 8)", 2.0, FloatDistribution(1.0, 8.0)),
        ("tag(log, interval(1, 8))", 2, IntDistribution(1, 8, log=True)),
        ("range(1, 8)", 2, IntDistribution(1, 7)),  # Hydra's range leaves its end out
        ("choice(16, 32)", 16, CategoricalDistribution((16, 32))),
        ("tag(nuisance, choice(a, b))", "a", CategoricalDistribution(("a", "b"))),
    ],
)
def test_hydras_sweeps_as_distributions(spec: str, value: Any, expected: BaseDistribution) -> None:
    assert search_space.distributions({"x": spec, "y": None}, {"x": value}) == {"x": expected}


@pytest.mark.parametrize(
    ("distribution", "value", "edge"),
    [
        (LOG, 1e-4, True),
        (LOG, 1.3e-4, True),  # log(1.3) is 3.8 % of log(1000)
        (LOG, 3e-4, False),
        (LOG, 9e-2, True),
        (FloatDistribution(0.0, 0.5), 0.0, False),  # nothing lies below zero dropout
        (FloatDistribution(0.0, 0.5), 0.49, True),
        (FloatDistribution(0.1, 0.5), 0.11, True),
        (IntDistribution(1, 8), 8, True),
        (CategoricalDistribution((16, 32, 64)), 16, True),
        (CategoricalDistribution((16, 32, 64)), 32, False),
        (CategoricalDistribution(("adam", "sgd")), "adam", False),
        (CategoricalDistribution((True, False)), True, False),
    ],
)
def test_edges(distribution: BaseDistribution, value: Any, edge: bool) -> None:
    assert search_space.on_edge(distribution, value) is edge


def test_the_baseline_is_the_configs_own_setting() -> None:
    space = {"optim.lr": LOG, "optim.batch_size": CategoricalDistribution((16, 32))}
    values = {"optim.lr": 5e-3, "optim.batch_size": 32, "seed": 0}
    assert search_space.baseline(space, values) == {"optim.lr": 5e-3, "optim.batch_size": 32}


@pytest.mark.parametrize("outside", [{"optim.lr": 1.0}, {"optim.batch_size": 48}])
def test_a_setting_outside_the_space_is_no_baseline(outside: dict[str, Any]) -> None:
    space = {"optim.lr": LOG, "optim.batch_size": CategoricalDistribution((16, 32))}
    assert search_space.baseline(space, {"optim.lr": 5e-3, "optim.batch_size": 32} | outside) is None


@pytest.mark.parametrize(
    ("distribution", "value", "wider", "tried"),
    [
        (FloatDistribution(1e-3, 1e-1, log=True), 9.9e-2, (1e-3, 1.0), 0.1 * 10**0.5),
        (FloatDistribution(1e-3, 1e-1, log=True), 1.1e-3, (1e-4, 1e-1), 1e-3 / 10**0.5),
        (IntDistribution(8, 64, log=True), 8, (4, 64), 4),
        (IntDistribution(8, 64, log=True), 64, (8, 128), 128),
    ],
)
def test_a_range_gets_more_room_at_the_end_that_was_reached(
    distribution: object, value: float, wider: tuple[float, float], tried: float
) -> None:
    found = search_space.widened(distribution, value)  # type: ignore[arg-type]
    assert found is not None
    assert (found[0].low, found[0].high) == pytest.approx(wider)  # type: ignore[attr-defined]
    assert found[1] == pytest.approx(tried)
    assert type(found[0]) is type(distribution)
    assert found[0].log  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("distribution", "value"),
    [
        (FloatDistribution(1e-3, 1e-1, log=True), 1e-2),
        (FloatDistribution(0.0, 0.3), 0.3),
        (IntDistribution(1, 8, log=True), 1),
        (CategoricalDistribution((8, 16)), 8),
    ],
)
def test_a_range_that_can_not_be_widened(distribution: object, value: float) -> None:
    assert search_space.widened(distribution, value) is None  # type: ignore[arg-type]


BATCHES = IntDistribution(8, 64, log=True)


@pytest.mark.parametrize(
    ("distribution", "value", "declared", "edge", "limit"),
    [
        (BATCHES, 8, (), True, False),
        (BATCHES, 8, ("low",), False, True),
        (BATCHES, 64, ("low",), True, False),
        (BATCHES, 64, ("low", "high"), False, True),
        (BATCHES, 20, ("low", "high"), False, False),
        (LOG, 1e-4, ("low",), False, True),
        (CategoricalDistribution((16, 32)), 16, ("low",), False, True),
        # by nature
        (FloatDistribution(0.0, 0.5), 0.0, (), False, True),
        (FloatDistribution(0.0, 0.5), 0.5, (), True, False),
        (IntDistribution(1, 64, log=True), 1, (), False, True),
        (IntDistribution(1, 8), 1, (), True, False),
        (CategoricalDistribution((0, 2)), 0, (), False, True),
        (CategoricalDistribution(("a", "b")), "a", (), False, False),
    ],
)
def test_an_end_that_is_a_limit_is_no_edge(
    distribution: BaseDistribution, value: Any, declared: tuple[str, ...], edge: bool, limit: bool
) -> None:
    assert search_space.on_edge(distribution, value, declared) is edge
    assert search_space.at_limit(distribution, value, declared) is limit


def test_limits_are_tags_of_a_range() -> None:
    specs = {
        "a": "tag(log, limit_low, interval(8, 64))",
        "b": "tag(limit_high, limit_low, choice(1, 2))",
        "c": "interval(0, 1)",
        "d": None,
    }
    assert search_space.declared_limits(specs) == {"a": ("low",), "b": ("low", "high")}
    values = {"a": 32, "b": 1, "c": 0.5}
    assert search_space.distributions(specs, values)["a"] == BATCHES, "a limit leaves the range as it is"


def test_a_misspelt_limit_is_refused() -> None:
    with pytest.raises(InputError, match=r"must be one of log, nuisance, limit_low, limit_high, but .* has `limit_lo`"):
        search_space.declared_limits({"x": "tag(limit_lo, interval(8, 64))"})


def test_widening_stops_at_a_limit() -> None:
    assert search_space.widened(BATCHES, 8, ("low",)) is None
    assert search_space.widened(BATCHES, 64, ("low",)) == (IntDistribution(8, 128, log=True), 128)


def test_a_limit_is_part_of_what_a_resume_compares_and_optuna_still_reads_it() -> None:
    space = {"a": BATCHES, "c": LOG}
    free, bound = search_space.describe(space), search_space.describe(space, {"a": ("low",)})
    assert free["c"] == bound["c"]
    assert free["a"] != bound["a"]
    assert json_to_distribution(bound["a"]) == BATCHES


def test_a_range_with_steps_keeps_its_grid() -> None:
    grid = IntDistribution(16, 64, step=16)
    assert search_space.including(grid, 48) == grid
    assert search_space.including(grid, 100) == IntDistribution(16, 112, step=16)
    assert [search_space.clipped(grid, value) for value in (3, 34, 55, 90)] == [16, 32, 48, 64]
    assert search_space.clipped(FloatDistribution(0.0, 0.5, step=0.25), 0.4) == 0.5


@pytest.mark.parametrize(
    ("spec", "fix"), [("interval(7.9,64.9)", "interval(8,64)"), ("tag(log, interval(0.5,64))", "interval(1,64)")]
)
def test_ends_that_a_whole_number_can_not_have_are_refused(spec: str, fix: str) -> None:
    with pytest.raises(InputError, match="must have whole ends, but .* give " + re.escape(fix)):
        search_space.distributions({"x": spec}, {"x": 16})

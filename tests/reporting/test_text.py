from __future__ import annotations

import math

import pytest

from mnist_scaling.fitting.uncertainty.interval import Interval
from mnist_scaling.reporting import text
from mnist_scaling.reporting.documents.json_form import read
from mnist_scaling.reporting.text import NB, formula, power


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3125, "3.13k"),  # half up: 3.12k would be another grid
        (50_000, "50k"),
        (999.9, "1k"),
        (0.5, "0.5"),
        (4266, "4.27k"),
        (1_200_000, "1.2M"),
        (2.5e9, "2.5G"),
        (3e13, "30T"),
        (3e23, f"3.0{NB}×{NB}10²³"),
    ],
)
def test_short_tick_labels(value: float, shown: str) -> None:
    assert text.short(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (-0.5367, "−0.537"), (12.345, "12.3"), (math.nan, "—"), (None, "—"), (1.7e13, f"1.7{NB}×{NB}10¹³")],
)
def test_number(value: float | None, shown: str) -> None:
    assert text.number(value) == shown


def test_an_interval_is_printed_whole_and_never_broken_over_lines() -> None:
    assert text.estimate(Interval(0.28, -0.0312, 0.3)) == f"0.280{NB}[−0.031,{NB}0.300]"
    assert text.estimate(Interval(0.28)) == "0.280"
    assert text.estimate(Interval(1.57e-4, 0, 3e-4)) == f"0.000157{NB}[0,{NB}0.0003]"  # not 0.000 [0, 0.000]
    assert text.estimate(Interval(154.6, 50.763, 772)) == f"155{NB}[50.8,{NB}772]"
    assert text.estimate(Interval(6.994, 1.205, 41000)) == f"6.99{NB}[1.21,{NB}4.1{NB}×{NB}10⁴]"
    assert text.estimate(Interval(2, 1.2, math.inf)) == f"2.000{NB}[1.200,{NB}∞)"
    assert text.estimate(Interval(20, 12.34, math.inf)) == f"20.0{NB}[12.3,{NB}∞)"
    assert text.estimate(Interval(2, -math.inf, 3)) == f"2.000{NB}(−∞,{NB}3.000]"
    assert text.estimate(Interval()) == "—"


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (0.05491, 0.00042, "0.0549 ± 0.0004"),
        (0.000264, 0.0000449, "0.000264 ± 0.000045"),  # not 0.0003 ± 0.0000
        (0.0058, math.nan, "0.00580"),
        (2.5e-8, 1e-9, "2.5e−08 ± 1e−09"),
        (math.nan, math.nan, "—"),
        (-1.5, 0.25, "−1.5000 ± 0.2500"),
    ],
)
def test_a_small_loss_keeps_its_digits_and_those_of_its_error(value: float, error: float, shown: str) -> None:
    assert text.loss(value, error) == shown


def test_an_end_that_a_file_can_not_hold_is_open_in_every_form() -> None:
    """An infinite end is null in JSON."""
    found = read(Interval, {"value": 2.0, "low": 1.2, "high": None})
    assert text.estimate(found) == text.estimate(Interval(2, 1.2, math.inf)) == f"2.000{NB}[1.200,{NB}∞)"
    assert str(power("N", found)) == f"N<sup>2.0</sup>{NB}[1.2,{NB}∞)"


def test_interval_from_json_with_nulls() -> None:
    found = read(Interval, {"value": 0.3, "low": None, "high": None})
    assert found.known
    assert not found.bounded
    assert not read(Interval, {}).known


def test_minus_swaps_the_ends() -> None:
    turned = -Interval(0.3, 0.2, 0.5)
    assert (turned.value, turned.low, turned.high) == (-0.3, -0.5, -0.2)


def test_excludes_needs_both_ends() -> None:
    assert Interval(0.3, 0.2, 0.5).excludes(0)
    assert not Interval(0.3, -0.2, 0.5).excludes(0)
    assert not Interval(0.3).excludes(0)


@pytest.mark.parametrize(
    ("words", "shown"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_listing(words: list[str], shown: str) -> None:
    assert text.listing(words) == shown


@pytest.mark.parametrize(
    ("n", "word", "shown"), [(1, "cell", "1 cell"), (2, "family", "2 families"), (1200, "run", "1,200 runs")]
)
def test_plural(n: int, word: str, shown: str) -> None:
    assert text.plural(n, word) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(40, "40 s"), (366, "6.1 min"), (7200, "2.0 h")])
def test_duration(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_formula_in_html() -> None:
    assert formula("E + A / N^alpha") == "E + A / N<sup>α</sup>"
    assert formula("A * N^-alpha") == "A · N<sup>−α</sup>"
    assert "<script" not in formula("<script>^x")
    assert formula("((Nc / N)^(alpha_N / alpha_D) + Dc / D)^alpha_D").count("<sub>D</sub>") == 2

"""The suite behind the tables of docs/fitting_evidence.md (benchmarks/coverage.py), a small part of it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("coverage_suite")


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("coverage")


@pytest.fixture(scope="module")
def quick(suite: ModuleType) -> list[dict]:
    every = list(suite.conditions())
    numbers = [every.index(c) for c in suite.QUICK]
    return [{"table": k, "condition": n} | suite.one(every[n], (k, n), draws=60) for k in range(3) for n in numbers]


def test_every_condition_of_the_suite_is_there_once(suite: ModuleType) -> None:
    every = list(suite.conditions())
    assert len(set(every)) == len(every) == 9 * 4 * 2 + 9 * 4
    assert {c.truth for c in every} == {*suite.TRUTHS, suite.BROKEN}
    assert set(suite.QUICK) <= set(every)


def test_true_values_are_those_of_the_formula(suite: ModuleType) -> None:
    found = suite.true_values(suite.Condition("multiplicative"))
    assert found["slope_N"] == pytest.approx(0.2995, abs=1e-6)
    assert found["middle_slope_D"] == pytest.approx(0.4347, abs=1e-6)
    assert found["loss"] == pytest.approx(113 * (2 * 20490) ** -0.2995 * (2 * 50_000) ** -0.4347)
    assert "N_exponent" not in found  # the product law has no optimum
    # A * alpha / kappa_N against B * beta / kappa_D: N* ~ C^(beta / (alpha * kappa_D + beta * kappa_N)).
    additive = suite.true_values(suite.Condition("additive"))
    assert additive["N_exponent"] == pytest.approx(0.7306 / (1.148 + 0.7306 * 1.5335), rel=1e-6)
    n, d = 20490.0, 50_000.0
    model, data = 650 * n**-1.148, 72.9 * d**-0.7306
    assert additive["slope_N"] == pytest.approx(1.148 * model / (0.02 + model + data), rel=1e-5)
    broken = suite.true_values(suite.Condition(suite.BROKEN))
    assert broken["slope_D"] == pytest.approx(0.3, abs=0.01)
    assert broken["floor"] == 0


def test_what_reaches_the_reader_on_a_part_of_the_suite(
    suite: ModuleType, tables: ModuleType, quick: list[dict]
) -> None:
    assert sum(r["wrong"] for r in quick) <= 1
    assert sum(r["right"] for r in quick) >= 3
    found = [tables.tally(quick, key) for key in suite.QUANTITIES]
    assert sum(t.held for t in found) / sum(t.exists for t in found) > 0.85  # 0.95, of quantities that hang together
    assert all(t.exists >= 6 for t in found)
    union = [tables.tally(quick, key, "union") for key in suite.QUANTITIES]
    lowest = [tables.tally(quick, key, "lowest AICc") for key in suite.QUANTITIES]
    assert all(u.width >= low.width for u, low in zip(union, lowest, strict=True))
    assert sum(t.held for t in union) >= sum(t.held for t in lowest)


def test_an_optimum_that_does_not_exist_is_not_given(suite: ModuleType, tables: ModuleType, quick: list[dict]) -> None:
    number = list(suite.conditions()).index(suite.Condition("multiplicative", "4x5"))
    product = [r for r in quick if r["condition"] == number]
    for key in ("N_exponent", "loss_exponent", "hull N", "pareto N"):
        assert tables.tally(product, key).exists == 0
    assert tables.tally(product, "N_exponent").given <= 1


def test_a_tally_counts_what_lies_inside(suite: ModuleType, tables: ModuleType) -> None:
    number = list(suite.conditions()).index(suite.Condition("multiplicative"))
    ends = [[0.25, 0.35], [0.31, 0.35], [0.25, 0.29], None]
    records = [{"condition": number, suite.HEADLINE: {"slope_N": e}, "oracle": {"slope_N": [0.29, 0.31]}} for e in ends]
    found = tables.tally(records, "slope_N")
    assert (found.tables, found.given, found.held) == (4, 3, 1)
    assert found.width == pytest.approx(2.0)
    assert np.isnan(tables.tally(records[3:], "slope_N").width)


def test_the_page_is_made_of_the_records_and_put_between_its_marks(
    tables: ModuleType, quick: list[dict], tmp_path: Path
) -> None:
    text = tables.page(quick)
    assert text.startswith("12 tables, 3 of each of 4 conditions.")
    assert "| multiplicative | 3 |" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    tables.write(page, text)
    assert page.read_text() == f"before\n{tables.BEGIN}\n{text}{tables.END}\nafter\n"
    assert tables.BEGIN in (ROOT / "docs" / "fitting_evidence.md").read_text()

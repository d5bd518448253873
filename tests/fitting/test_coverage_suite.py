"""The suite behind the tables of docs/evidence.md (benchmarks/coverage.py), a small part of it."""

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
def records(suite: ModuleType, tables: ModuleType) -> list[dict]:
    """Tables of a law and of two surfaces that are none."""
    truths = ("coupled, gamma = 1.4", "saturates in D", "logarithmic")
    return [tables.one((suite.Condition(truth), k)) for truth in truths for k in range(2)]


def test_true_values_are_those_of_the_formula(suite: ModuleType) -> None:
    product = suite.truth_of(suite.Condition("multiplicative")).values
    assert product["slope N"] == pytest.approx(0.2995, abs=1e-6)
    assert product["middle D"] == pytest.approx(0.4347, abs=1e-6)
    assert "N*" not in product
    # A * alpha / kappa_N against B * beta / kappa_D: N* ~ C^(beta / (alpha * kappa_D + beta * kappa_N)).
    additive = suite.truth_of(suite.Condition("additive"))
    assert additive.values["N*"] == pytest.approx(0.7306 / (1.148 + 0.7306 * 1.5335), rel=2e-3)
    model, data = 650 * 20490.0**-1.148, 72.9 * 50_000.0**-0.7306
    assert additive.values["slope N"] == pytest.approx(1.148 * model / (0.02 + model + data), rel=1e-5)
    # The lowest loss of so many times the compute falls from one to the next.
    ahead = [additive.values[key] for key in ("L*", *(f"loss x {k}" for k in suite.FACTORS))]
    assert ahead == sorted(ahead, reverse=True)


@pytest.mark.parametrize("name", ["written", "drawn"])
def test_smooth_surfaces_fall_in_both(suite: ModuleType, name: str) -> None:
    truths = dict.fromkeys(c.truth for c in suite.conditions(name))
    x, z = np.meshgrid(np.linspace(7.6, 10.5, 12), np.linspace(8.0, 12.0, 12), indexing="ij")
    for truth in list(truths)[:9]:
        y = suite.log_loss(truth, {"N": x.ravel(), "D": z.ravel()}).reshape(x.shape)
        assert np.isfinite(y).all()
        assert (np.diff(y, axis=0) < 0).all(), truth
        assert (np.diff(y, axis=1) < 0).all(), truth


def test_most_intervals_hold(suite: ModuleType, tables: ModuleType, records: list[dict]) -> None:
    found = [tables.tally(records, key) for key in suite.QUANTITIES]
    assert sum(held for _, _, held, _ in found) / sum(given for _, given, _, _ in found) > 0.8
    assert all(given == having for having, given, _, _ in found)


def test_a_tally_counts_what_lies_inside(tables: ModuleType) -> None:
    ends = [[0.25, 0.35], [0.31, 0.35], [0.25, 0.29], None]
    records = [
        {"condition": {"truth": "multiplicative"}, "intervals": {} if e is None else {"slope N": e}} for e in ends
    ]
    assert tables.tally(records, "slope N") == (4, 3, 1, pytest.approx(0.04))
    assert tables.tally(records, "N*")[0] == 0


def test_the_page_is_made_of_the_records_and_put_between_its_marks(
    tables: ModuleType, records: list[dict], tmp_path: Path
) -> None:
    text = tables.page(records)
    assert "**A law is true**" in text
    assert "| saturates in D | 2 |" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    tables.write(page, text)
    assert page.read_text() == f"before\n{tables.BEGIN}\n{text}{tables.END}\nafter\n"
    assert tables.BEGIN in (ROOT / "docs" / "evidence.md").read_text()

"""The figure of differences of exponents: every exponent by its name, and nothing that is none."""

from __future__ import annotations

from typing import Any

import pytest

from mnist_scaling.reporting.documents.comparison_json import Pair
from mnist_scaling.reporting.documents.json_form import read
from mnist_scaling.reporting.figures import two_arms
from mnist_scaling.reporting.figures.scatter import View


def entry(parameter: str, width: float, **more: str) -> dict[str, Any]:
    return {"parameter": parameter, "difference": {"value": 0.0, "low": -width, "high": width}, **more}


def test_exponents_stand_in_the_figure_and_other_parameters_do_not() -> None:
    slope = {"a": {"value": 0.2, "low": 0.1, "high": 0.3}, "difference": {"value": 0.01, "low": -0.5, "high": 0.5}}
    record = {
        "paired": True,
        "margin": 0.03,
        "slopes": {"alpha": slope},
        "exponents": [
            entry("E", 0.1, law="additive"),
            entry("beta", 0.3, law="additive"),
            entry("alpha_N", 0.2, law="kaplan_floor"),
            entry("N_exponent", 0.4, method="hull"),
            entry("alpha", 0.1, law="coupled"),
            *(entry(name, 0.01, law="quadratic") for name in ("c", "n", "nd", "n2")),
        ],
    }
    found = two_arms.differences(read(Pair, record))
    assert isinstance(found, View)
    assert found.points["label"].tolist() == [
        "α, cell by cell", "α, coupled", "α of N, kaplan floor", "β, additive", "N* in C, hull",
    ]  # fmt: skip
    assert found.points["margin"].tolist() == pytest.approx([0.02, *[0.03] * 4])  # a tenth of what is known of arm a

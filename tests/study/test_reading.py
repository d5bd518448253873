"""What a study says of the rows that are fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mnist_scaling.arms.reading import read
from mnist_scaling.config.fit_schema import FitConfig
from mnist_scaling.errors import InputError

KEPT = Path(__file__).parents[1] / "asking" / "kept"


def test_a_study_knows_how_many_examples_there_are() -> None:
    source = replace(read(FitConfig(name=str(KEPT / "quickstart_quick"))), study={"data": [{"n_train": 50_000}]})
    (arm,) = source.rows.arms
    assert source.table(arm)[0].examples == 50_000
    passes = replace(arm, frame=arm.frame.assign(epochs=[*[1] * (len(arm.frame) - 1), 16]))
    assert source.table(passes)[0].examples == 800_000
    assert replace(source, study={}).table(arm)[0].examples is None


def test_cells_go_with_a_table() -> None:
    with pytest.raises(InputError, match="`cells` must go with table"):
        FitConfig(name="mine", cells=["width"])

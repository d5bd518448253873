"""What a study says of the rows that are fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mnist_scaling.arms.reading import read, short_of_data
from mnist_scaling.config.fit_schema import FitConfig
from mnist_scaling.errors import InputError
from mnist_scaling.fitting.ahead import LossAhead

KEPT = Path(__file__).parents[1] / "asking" / "kept"


def test_losses_ahead_that_take_more_data_than_there_is_are_named() -> None:
    source = replace(read(FitConfig(name=str(KEPT / "quickstart_quick"))), study={"data": [{"n_train": 50_000}]})
    ahead = [LossAhead(reach=reach, C=1e9, D=d) for reach, d in ((2.0, 4e4), (8.0, 9e4), (30.0, 2e5))]
    said = short_of_data(source, source.rows.arms[0], ahead)
    begins = "From 8 times the largest compute on, losses ahead take more data than there is (90,000 of 50,000 "
    assert said.startswith(begins)
    assert not short_of_data(source, source.rows.arms[0], ahead[:1])


def test_cells_go_with_a_table() -> None:
    with pytest.raises(InputError, match="`cells` must go with table"):
        FitConfig(name="mine", cells=["width"])

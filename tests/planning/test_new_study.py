"""A study that fits a time becomes an experiment, and a name that is taken is refused before anything is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mnist_scaling import new_study
from mnist_scaling.errors import InputError

PACE = (10.0, 2.0, 24)


@pytest.mark.slow
def test_an_experiment_holds_the_study_that_was_chosen(tmp_path: Path) -> None:
    found = new_study.propose("ten", 10, 2, tmp_path, PACE)
    assert 0.8 * 600 <= found.seconds <= 600
    text = Path(found.path).read_text()
    assert text.startswith("# @package _global_\n")
    sweeper = yaml.safe_load(text)["hydra"]["sweeper"]
    assert (sweeper["n_trials"], sweeper["n_repeats"]) == (found.offer.trials, found.offer.repeats)
    assert [f"{key}={values}" for key, values in sweeper["params"].items()] == list(found.axes)
    sizes, amounts = (str(values).split(",") for values in sweeper["params"].values())
    assert min(len(sizes), len(amounts)) >= 2
    assert len(sizes) * len(amounts) == found.offer.cells
    assert found.command == "python -m mnist_scaling.train -m experiment=ten"
    with pytest.raises(InputError, match="`name` must be new, but there is an experiment"):
        new_study.propose("ten", 10, 2, tmp_path)

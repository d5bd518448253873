"""Each irregularity is found where it was planted, passed where it is not, and says where it does not apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mnist_scaling.config.fit_schema import BootstrapConfig, ColumnsConfig, FitConfig
from mnist_scaling.planning import checks
from mnist_scaling.planning.checks import FAIL, INFO, LONGER, NOT_APPLICABLE, PASS, RANGE, TRIALS, WARNING, Card
from mnist_scaling.planning.studied import Studied, studied

QUICK = BootstrapConfig(draws=20)
N, D = (x.ravel() for x in np.meshgrid([1e3, 3e3, 1e4, 3e4, 1e5], [1e4, 3e4, 1e5, 3e5, 1e6], indexing="ij"))


@pytest.fixture(scope="module")
def sound(study: Path) -> Studied:
    return studied(FitConfig(name=str(study), bootstrap=QUICK, laws="additive"))


def with_columns(of: Studied, **columns: Any) -> Studied:
    """A study whose cells have other values in some columns; what was fitted stays."""
    return replace(of, arm=replace(of.arm, frame=of.arm.frame.assign(**columns)))


def of_table(folder: Path, loss: Any, n: Any = N, d: Any = D, laws: Any = "additive", **more: Any) -> Studied:
    """Anyone's table with this loss, whose noise is known."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"n": n, "d": d, "l": loss * np.exp(0.003 * rng.standard_normal(len(loss)))})
    rows.assign(se=0.003 * rows["l"]).to_csv(folder / "t.csv", index=False)
    columns = ColumnsConfig(N="n", D="d", loss="l", se="se")
    return studied(FitConfig(table=str(folder / "t.csv"), columns=columns, bootstrap=QUICK, laws=laws, **more))


def cards(of: Studied) -> Mapping[str, Card]:
    return {card.code: card for card in checks.cards(of)}


def additive(n: Any = N, d: Any = D) -> Any:
    return 0.05 + 3 * n**-0.3 + 8 * d**-0.4


def test_a_sound_study_passes_and_its_edge_is_found(sound: Studied) -> None:
    found = cards(sound)
    assert found.keys() == {
        "chance_level", "collinear", "floor_not_identified", "forms_disagree", "grid_edge", "leverage",
        "lowest_training_loss", "non_monotone", "search_edge", "seed_outlier", "small_models_bend", "still_falling",
        "too_few_cells", "training_gap", "uncertified",
    }  # fmt: skip
    assert [found[code].status for code in ("chance_level", "collinear", "non_monotone")] == [PASS] * 3
    assert (found["search_edge"].status, found["search_edge"].cells) == (WARNING, (1,))
    assert found["search_edge"].asks == (RANGE, TRIALS)
    assert "lr in 1 cell" in found["search_edge"].cause
    assert found["still_falling"].status == found["lowest_training_loss"].status == NOT_APPLICABLE
    order = [card.status for card in checks.cards(sound)]
    assert order == sorted(order, key=(FAIL, WARNING, INFO, PASS, NOT_APPLICABLE).index)


def test_cells_without_a_certificate_ask_for_trials(sound: Studied) -> None:
    found = cards(with_columns(sound, tuned=["no" if row in (3, 7) else "yes" for row in sound.cells.index]))
    assert (found["uncertified"].status, found["uncertified"].cells) == (WARNING, (3, 7))
    assert found["uncertified"].asks == (TRIALS,)
    assert cards(with_columns(sound, tuned="yes"))["uncertified"].status == PASS
    assert cards(with_columns(sound, tuned="nothing tuned"))["uncertified"].status == NOT_APPLICABLE


def test_a_run_that_ended_at_its_cap_is_to_be_longer(sound: Studied) -> None:
    flags = ["undertrained" if row in (2, 5) else "" for row in sound.cells.index]
    found = cards(with_columns(sound, flags=flags, epochs=4.0, epochs_spent=6.0))["still_falling"]
    assert (found.status, found.cells, found.asks) == (WARNING, (2, 5), (LONGER,))
    assert cards(with_columns(sound, flags="", epochs=4.0, epochs_spent=6.0))["still_falling"].status == PASS


def test_a_training_loss_that_fell_to_the_end_is_told_from_one_at_its_lowest(sound: Studied, tmp_path: Path) -> None:
    falls, flat = [1 / (1 + i) for i in range(8)], [1, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]
    for name, train, expected in (("falls", falls, INFO), ("flat", flat, PASS)):
        folder = tmp_path / name
        folder.mkdir()
        points = {"cell": 0, "seed": 1, "n_seen": range(8), "val_loss": [1, 0.8, 0.7, 0.6, 0.7, 0.8, 0.9, 1]}
        pd.DataFrame({**points, "train_loss": train}).to_csv(folder / "curves.csv", index=False)
        moved = replace(sound, source=replace(sound.source, path=folder / "cells.csv"))
        found = cards(with_columns(moved, epochs=4.0, epochs_spent=8.0, flags=""))["lowest_training_loss"]
        assert (found.status, found.cells) == (expected, (0,) if expected == INFO else ())
        assert f"{train[3] / min(train):.2f} times" in found.cause


@pytest.mark.parametrize(
    ("columns", "status", "said"),
    [
        ({"train_loss": 0.5, "repeat_val_loss": 0.6}, PASS, "1.20 to 1.20 times"),
        ({"train_loss": 0.7, "repeat_val_loss": 0.6}, WARNING, "above the validation loss"),
        ({"train_loss": 0.1, "repeat_val_loss": 0.6}, WARNING, "Dropout was not tuned"),
        ({"train_loss": np.nan, "repeat_val_loss": 0.6}, NOT_APPLICABLE, "No training loss"),
    ],
)
def test_a_training_loss_far_from_the_validation_loss(
    sound: Studied, columns: dict[str, float], status: str, said: str
) -> None:
    found = cards(with_columns(sound, **columns))["training_gap"]
    assert (found.status, said in found.cause) == (status, True)


@pytest.mark.parametrize(("edges", "status"), [("", INFO), ("dropout", WARNING)])
def test_a_gap_that_tuning_has_weighed_is_no_warning(sound: Studied, edges: str, status: str) -> None:
    of = replace(sound, source=replace(sound.source, tuned=(*sound.source.tuned, "dropout")))
    of = with_columns(of, train_loss=0.1, repeat_val_loss=0.6, dropout=0.2, edges=edges, limits="")
    assert cards(of)["training_gap"].status == status


def test_a_bad_cell_is_seen_by_its_neighbours_and_by_what_it_does_to_the_law(tmp_path: Path) -> None:
    loss = additive()
    loss[24] *= 1.5
    found = cards(of_table(tmp_path, loss))
    for code in ("non_monotone", "seed_outlier", "leverage"):
        assert (found[code].status, 24 in found[code].cells) == (WARNING, True), code
        assert found[code].asks == (), "of a table nobody can run more"


@pytest.mark.parametrize(("bend", "status"), [(1.0, PASS), (1.2, WARNING)])
def test_smallest_models_that_bend(tmp_path: Path, bend: float, status: str) -> None:
    loss = additive() * np.where(N.min() == N, bend, 1.0)
    found = cards(of_table(tmp_path, loss))["small_models_bend"]
    assert found.status == status
    assert found.cells == ((0, 1, 2, 3, 4) if status == WARNING else ())
    assert "1,000 parameters" in found.cause


def test_losses_of_a_guess_and_sizes_that_move_with_data(tmp_path: Path) -> None:
    n = np.geomspace(1e3, 1e5, 9)
    loss = np.maximum(3 * (n / 1e3) ** -0.3, 0.3)
    loss[:2] = np.log(10)
    found = cards(of_table(tmp_path, loss, n, 20 * n, "power_N", classes=10))
    assert (found["collinear"].status, found["collinear"].remedy.startswith("Quote")) == (WARNING, True)
    assert (found["chance_level"].status, found["chance_level"].cells) == (WARNING, (0, 1))

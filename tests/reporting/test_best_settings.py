"""The figure of the best settings against size: its data, its words, and where there is none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnist_scaling.reporting.documents.json_form import plain, read
from mnist_scaling.reporting.documents.loading import Study
from mnist_scaling.reporting.documents.tuning_records import SettingsRecord, settings_laws_record
from mnist_scaling.reporting.figures.best_settings import BestSettings, best_settings, draw_best_settings
from mnist_scaling.reporting.text import Missing
from mnist_scaling.settings.setting_laws import CellTrials, KeyLaws, best_values, prior, setting_laws
from tests.fitting.test_setting_laws import KEYS, cells
from tests.reporting.builder import load

AT = {"N": 4e4, "D": 16e3}


def fitted(grid: Path, tried: Sequence[CellTrials]) -> tuple[Study, dict[str, KeyLaws]]:
    """A study whose first nine cells are these, and the laws of their best settings."""
    study = load(grid)
    table = study.cells.iloc[:9].assign(N=[c.sizes["N"] for c in tried], D=[c.sizes["D"] for c in tried])
    written = json.dumps(plain(settings_laws_record(tried, KEYS, 0.95, table.index.tolist(), AT)))
    return replace(told(study, read(SettingsRecord, json.loads(written))), cells=table), setting_laws(tried, KEYS)


def told(study: Study, record: SettingsRecord | None) -> Study:
    """The study with another record of its best settings."""
    return replace(study, fits=replace(study.fits, settings_laws=record))


def test_every_key_stands_against_both_sizes_with_its_law(grid: Path) -> None:
    tried = cells(0.1)
    study, laws = fitted(grid, tried)
    found = best_settings(study)
    assert isinstance(found, BestSettings)
    assert [[p.variable for p in row] for row in found.rows] == [["N", "D", "loss"]] * 2
    for row, (key, log), column in zip(found.rows, KEYS.items(), (0, 1), strict=True):
        one = laws[key]
        for panel in row[:2]:
            np.testing.assert_array_equal(panel.points["value"], best_values(tried, column, log)[0])
            np.testing.assert_array_equal(panel.points["x"], [c.sizes[panel.variable] for c in tried])
            assert panel.other is not None
            assert set(panel.lines["level"]) == {c.sizes[panel.other] for c in tried}
            for _, at in panel.lines.iloc[::37].iterrows():
                here = prior(laws, **{panel.variable: at["x"], panel.other: at["level"]})[key]
                assert (at["value"], at["low"], at["high"]) == pytest.approx((here.value, here.low, here.high))
            assert panel.lines["x"].max() == pytest.approx(panel.target["x"].item())
            assert panel.target["value"].item() == prior(laws, **AT)[key].value
        assert row[0].ends == (one.range["low"], one.range["high"])
        assert row[2].points["x"].tolist() == study.cells.loc[row[2].points.index, "loss"].tolist()
    assert found.rows[0][0].ends == pytest.approx((1e-4, 0.1))


def test_the_note_says_what_a_new_cell_should_need_and_which_key_has_no_law(grid: Path) -> None:
    study, laws = fitted(grid, cells(0.02))
    guess = prior(laws, **AT)["lr"]
    found = best_settings(study)
    assert isinstance(found, BestSettings)
    said = f"N = 40k and D = 16k the laws predict learning rate {guess.value:.3g} [{guess.low:.3g}, {guess.high:.3g}]"
    assert said in found.note
    assert "of little use" not in found.note
    study, _ = fitted(
        grid, [replace(c, high=np.array([0.1, 0.15]), settings=np.minimum(c.settings, [1, 0.15])) for c in cells(0.02)]
    )
    record = study.fits.settings_laws
    assert record is not None
    assert record.predicted is not None
    wide = {key: replace(guess, share_of_range=0.8) for key, guess in record.predicted.settings.items()}
    flat = best_settings(told(study, replace(record, predicted=replace(record.predicted, settings=wide))))
    assert isinstance(flat, BestSettings)
    assert [row[0].key for row in flat.rows] == ["learning rate"]
    assert "(80 % of the range, so of little use)" in flat.note
    assert "no law for dropout (not measured: 9 of 9 best values of dropout lie at an end of the range)" in flat.note


def test_cells_at_an_end_of_their_range_are_arrows(grid: Path) -> None:
    top = np.array([0.015, 0.5])
    cut = [replace(c, high=top, settings=np.minimum(c.settings, top)) for c in cells()]
    study, laws = fitted(grid, cut)
    found = best_settings(study)
    assert isinstance(found, BestSettings)
    beyond = laws["lr"].edges["high"]
    assert beyond == 1
    assert (found.rows[0][0].points["side"] == 1).sum() == beyond
    axes = draw_best_settings(found).axes[0]
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "^") == beyond


def test_there_is_no_figure_without_laws(grid: Path) -> None:
    study, _ = fitted(grid, [replace(c, losses=c.losses * np.nan) for c in cells()])
    found = best_settings(study)
    assert isinstance(found, Missing)
    assert found.reason.startswith("No tuned setting has a law against size: learning rate (0 cells are too few")
    assert best_settings(told(study, SettingsRecord("Nothing was tuned."))) == Missing("Nothing was tuned.")
    assert best_settings(told(study, None)) == Missing("Laws of the best settings are fitted by `fit`: run it.")

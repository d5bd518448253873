"""The table of how best settings move with size, as the page has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mnist_scaling.reporting.documents.tuning_records import SettingsRecord
from mnist_scaling.reporting.pages import report_page
from mnist_scaling.reporting.words.fit_tables import settings_table
from mnist_scaling.settings.setting_laws import setting_laws
from tests.fitting.test_setting_laws import KEYS, cells
from tests.reporting.builder import load


def test_the_page_has_every_law_and_every_refusal(grid: Path) -> None:
    study = load(grid)
    assert study.fits.settings_laws is not None
    assert study.fits.settings_laws.status == "There is no record of what each cell tried."
    assert settings_table(study.fits.settings_laws) is None
    assert "Best settings against size" not in report_page.page(study, [])
    table = cells()
    failed = [replace(c, losses=c.losses * float("nan")) for c in table]
    for source, laws in ((table, 6), (failed, 0)):
        shown = settings_table(SettingsRecord(keys=setting_laws(source, KEYS)))
        assert shown is not None
        texts = [str(row[1]) for row in shown.rows]
        assert sum("[" in text for text in texts) == laws
    assert str(shown.rows[0][0]) == "learning rate"
    assert all("0 cells are too few" in text for text in texts)

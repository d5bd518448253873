"""What a report is about: one arm of a study, some of its rows and columns, or anyone's own table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mnist_scaling import fit, report
from mnist_scaling.config.fit_schema import BootstrapConfig, ColumnsConfig, FitConfig
from mnist_scaling.errors import InputError
from mnist_scaling.report import ReportConfig
from mnist_scaling.reporting.documents.fits_json import SCHEMA
from mnist_scaling.reporting.documents.loading import load_arms
from mnist_scaling.reporting.figures import FIGURES, losses
from mnist_scaling.reporting.figures.style import View
from tests.reporting.builder import Builder, power_law, refit

pytestmark = pytest.mark.slow

AXES = {"optimizer": ("adam", "sgd"), "data_fraction": (0.125, 0.25, 0.5, 1.0), "width": (4, 8, 16, 32)}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose two optimisers follow laws with exponents 0.3 and 0.2 of N."""
    folder = tmp_path_factory.mktemp("arms") / "multirun" / "both"
    Builder(axes=AXES, noise=0.01).write(folder)
    cells = pd.read_csv(folder / "cells.csv")
    sgd = cells["optimizer"] == "sgd"
    slower = power_law(cells["n_params"], cells["n_seen"], 0.2, 0.5) / power_law(cells["n_params"], cells["n_seen"])
    cells.loc[sgd, "test_loss"] *= slower[sgd]
    cells.to_csv(folder / "cells.csv", index=False)
    refit(folder)
    return folder


def slopes(fits: dict[str, Any]) -> dict[str, float]:
    return {arm["name"]: arm["headline"]["slope_N"]["value"] for arm in fits["arms"]}


def test_each_arm_has_its_own_exponent_and_none_is_pooled(study: Path) -> None:
    fits = json.loads((study / "fits.json").read_text())
    found = slopes(fits)
    assert found["optimizer=adam"] == pytest.approx(0.3, abs=0.02)
    assert found["optimizer=sgd"] == pytest.approx(0.2, abs=0.02)
    assert fits["laws"] == {}
    assert fits["selected"] is None
    assert "see `arms`" in fits["headline"]["slope_N"]["why"]
    assert [arm["axes"] for arm in fits["arms"]] == [{"optimizer": "adam"}, {"optimizer": "sgd"}]


def test_an_arm_of_fits_json_is_what_the_arm_alone_gives(study: Path, tmp_path: Path) -> None:
    """Whoever reads schema 1 reads an arm with the same code, and finds the same numbers."""
    arm = json.loads((study / "fits.json").read_text())["arms"][1]
    refit(study, where="optimizer == 'sgd'", out=str(tmp_path))
    alone = json.loads((tmp_path / "fits.json").read_text())
    assert "arms" not in alone
    assert arm["schema"] == alone["schema"] == SCHEMA
    for key in ("laws", "selected", "headline", "frontier", "flags", "cost", "tuning_change"):
        assert arm[key] == alone[key], key
    assert arm["data"]["rows"] == alone["data"]["rows"]


def test_the_terminal_has_a_table_per_arm_and_one_for_all(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refit(study)
    text = capsys.readouterr().out
    assert text.count("Arm optimizer=adam") == text.count("Arm optimizer=sgd") == 1
    assert text.index("Arm optimizer=adam") < text.index("Arm optimizer=sgd") < text.index("Arms side by side")


def test_the_report_has_a_page_per_arm_and_one_for_all(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.parent.parent)
    stale = study / "arm-optimizer=lion.html"
    stale.write_text("<p class='kicker'>Scaling report</p>")
    foreign = study / "arm-notes.html"
    foreign.write_text("<p>My own notes.</p>")
    report.write(ReportConfig(name="both", formats=("svg",), dpi=40))
    assert not stale.exists()
    assert foreign.exists()
    overview = (study / "report.html").read_text()
    pages = re.findall(r'href="(arm-[^"]+)"', overview)
    assert pages == ["arm-optimizer=adam.html", "arm-optimizer=sgd.html"]
    for page, optimizer in zip(pages, AXES["optimizer"], strict=True):
        text = (study / page).read_text()
        assert f"both, optimizer={optimizer}" in text
        assert "16 cells (4 data fractions × 4 widths)" in re.sub(r"<[^>]+>", "", text)
        assert 'href="report.html"' in text
        assert (study / "figures" / f"optimizer={optimizer}" / "loss_vs_parameters.svg").is_file()


def test_an_arm_that_cannot_be_fitted_says_why_and_the_others_are(make: Callable[..., Path]) -> None:
    folder = make(axes=AXES)
    cells = pd.read_csv(folder / "cells.csv")
    cells.loc[cells["optimizer"] == "sgd", "test_loss"] = np.nan
    cells.to_csv(folder / "cells.csv", index=False)
    refit(folder)
    adam, sgd = json.loads((folder / "fits.json").read_text())["arms"]
    assert adam["laws"]
    assert sgd["laws"] == {}
    assert sgd["why"]
    assert [arm.fits.why for arm in load_arms(folder)] == ["", sgd["why"]]


def test_where_all_arms_fail_the_first_reason_is_the_error(make: Callable[..., Path]) -> None:
    folder = make(axes=AXES)
    cells = pd.read_csv(folder / "cells.csv")
    cells[["test_loss", "repeat_val_loss"]] = np.nan
    cells.to_csv(folder / "cells.csv", index=False)
    with pytest.raises(InputError, match="optimizer=adam: "):
        refit(folder)


def test_seeds_are_replicates_and_no_arms(make: Callable[..., Path]) -> None:
    folder = make(axes={"width": (4, 8, 16, 32), "data_fraction": (0.25, 0.5, 1.0)})
    single = pd.read_csv(folder / "cells.csv")
    draws = np.random.default_rng(0).normal(1.0, 0.05, (3, len(single)))
    tables = [single.assign(seed=s, test_loss=single["test_loss"] * draws[s]) for s in range(3)]
    pd.concat(tables, ignore_index=True).to_csv(folder / "cells.csv", index=False)
    record = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(record | {"axes": [*record["axes"], "seed"]}))
    refit(folder)
    fits = json.loads((folder / "fits.json").read_text())
    assert "arms" not in fits
    assert fits["data"]["n"] == 12
    cells = pd.read_csv(folder / "cells.csv")
    one = cells[(cells["width"] == 8) & (cells["data_fraction"] == 0.5)]["test_loss"]
    (arm,) = load_arms(folder)
    row = arm.cells[(arm.cells["width"] == 8) & (arm.cells["data_fraction"] == 0.5)].iloc[0]
    assert row["loss"] == pytest.approx(one.mean())
    assert row["se"] == pytest.approx(one.std(ddof=1) / np.sqrt(3))


def test_a_report_of_anyones_own_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fits.json in a folder of its own: the page shows the fitted columns and rows, and no figure of tuning."""
    monkeypatch.chdir(tmp_path)
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e3, 1e5, 5), np.geomspace(1e4, 1e6, 5)))
    loss = 60 * n**-0.3 * d**-0.4 * np.exp(0.01 * np.random.default_rng(0).standard_normal(25))
    table = pd.DataFrame({"size": n, "tokens": d, "bits ($)": loss, "family": ["cnn", "mlp"] * 12 + ["cnn"]})
    table.to_csv("runs.csv", index=False)
    columns = ColumnsConfig(N="size", D="tokens", loss="bits ($)")
    fit.run(FitConfig(table="runs.csv", columns=columns, out="fits", bootstrap=BootstrapConfig(draws=20)))
    report.write(ReportConfig(fits="fits", formats=("svg",), dpi=40, details=True))
    text = re.sub(r"<[^>]+>", "", (tmp_path / "fits" / "report.html").read_text())
    assert "25 rows of runs.csv; 1,000 to 100,000 size, 10,000 to 1,000,000 tokens." in text
    assert "The lowest bits ($) is" in text
    assert "python -m mnist_scaling.report fits=fits" in text
    drawn = {path.stem for path in (tmp_path / "fits" / "figures").iterdir()}
    assert {"loss_vs_parameters", "loss_vs_data", "hold_out"} <= drawn
    assert "frontier" not in drawn  # the product form has none, and there is no C to read one off
    assert not drawn & {plot.name for plot in FIGURES if plot.needs_trials}
    table["bits ($)"] *= 2
    table.to_csv("runs.csv", index=False)
    with pytest.raises(InputError, match=r"runs\.csv has changed since: run `python -m mnist_scaling\.fit table=runs"):
        report.write(ReportConfig(fits="fits"))
    (tmp_path / "runs.csv").unlink()
    with pytest.raises(InputError, match="is not there any more: put it back"):
        report.write(ReportConfig(fits="fits"))


def test_the_report_shows_the_rows_and_columns_of_the_fit(make: Callable[..., Path]) -> None:
    folder = make(noise=0.02)
    refit(folder, where="data_fraction >= 0.25", columns=ColumnsConfig(N="n_params_hidden"))
    (study,) = load_arms(folder)
    assert len(study.cells) == 12
    assert (study.cells["N"] == study.cells["n_params_hidden"]).all()
    data = losses.losses(study, "N")
    assert isinstance(data, View)
    assert data.names[0].startswith("hidden parameters N")
    assert set(data.points["x"]) == set(study.cells["n_params_hidden"])
    assert data.lines["level"].nunique() == (3 if study.fits.selected else 0)

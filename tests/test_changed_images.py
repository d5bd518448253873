"""A study with noisy labels, augmented images and off-distribution scores as a user runs it, on real MNIST."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_study_of_changed_images_from_the_sweep_to_the_fit(data_dir: str, tmp_path: Path, command: Command) -> None:
    sweep = ("mnist_scaling.train", "-m", "name=changed", "scale=smoke", "hydra/launcher=basic", f"data.dir={data_dir}",
             "hydra.sweeper.n_trials=1", "model.width=4,8", "data.fraction=1,0.25", "data.label_noise=0.2",
             "data.augment=elastic", "data.off_distribution=[rotated,noisy]")  # fmt: skip
    done = command(*sweep)
    assert done.returncode == 0, done.stderr
    study = tmp_path / "multirun" / "changed"
    trials, cells = (pd.read_csv(study / f"{name}.csv") for name in ("trials", "cells"))
    asked = [f"test_{what}_{kind}" for kind in ("rotated", "noisy") for what in ("loss", "error")]
    assert [name for name in trials if "rotated" in name or "noisy" in name or "shifted" in name] == asked
    assert trials[asked].isna().all(axis=1).tolist() == (trials["stage"] == "trial").tolist()
    repeats = trials[trials["stage"] == "repeat"].groupby(["width", "data_fraction"])["test_loss_rotated"]
    rows = cells.set_index(["width", "data_fraction"])
    pd.testing.assert_series_equal(rows["test_loss_rotated"], repeats.mean())
    pd.testing.assert_series_equal(rows["test_loss_rotated_se"], repeats.sem(), check_names=False)
    # Base images and base passes, whatever was drawn of them.
    assert sorted(set(cells["n_train"])) == [512, 2048]
    assert (cells["epochs"] == 1).all()
    settings = json.loads((study / "study.json").read_text())["identity"]["settings"]
    assert {key: settings[key] for key in settings if key.startswith("data.") and "max" not in key} == {
        "data.label_noise": 0.2, "data.augment": "elastic", "data.off_distribution": ["rotated", "noisy"],
    }  # fmt: skip

    before = {path: path.stat().st_mtime_ns for path in study.rglob("result.json")}
    changed = [word.replace("label_noise=0.2", "label_noise=0.3") for word in sweep]
    done = command(*changed)
    assert done.returncode == 1
    assert "data.label_noise was 0.2 and is now 0.3" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in study.rglob("result.json")} == before

    done = command(
        "mnist_scaling.fit", "name=changed", "columns.loss=test_loss_rotated", "bootstrap.draws=20", "details=true"
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((study / "fits.json").read_text())
    best = record["settings_laws"]
    assert set(best["keys"]) == {"lr", "batch_size", "dropout"}
    said = [key["status"] for key in best["keys"].values()]
    assert all(why == "ok" or "lie at an end of the range" in why or "cells are too few" in why for why in said)
    assert "Best settings against size" in done.stdout
    larger = {"N": 4 * cells["n_params"].max(), "D": cells["n_seen"].max()}
    assert best["predicted"] == {"at": larger, "settings": {}}
    fitted = record["settings"]["columns"]
    assert (fitted["loss"], fitted["se"]) == ("test_loss_rotated", "test_loss_rotated_se")

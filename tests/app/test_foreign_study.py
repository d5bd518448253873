"""A study of an application that is not ours, from its command line to a fit, and its rows on other workers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.preforked import Preforked

pytestmark = pytest.mark.slow

APP = Path(__file__).parent / "my_train.py"
SWEEP = (
    "hydra/sweeper=cells", "name=mine", "model.width=8,16,32", "data.n=1000,2000,4000",
    "optim.lr=tag(nuisance,log,interval(1e-4,1e-1))", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_repeats=2",
)  # fmt: skip


def run(preforked: Preforked, folder: Path, *command: str, code: int = 0) -> str:
    done = preforked.run(command, folder)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(preforked: Preforked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("foreign")
    said = run(preforked, found, str(APP), "-m", *SWEEP)
    assert re.search(r"9 cells × \(3 trials \+ 2 repeats.*\) = at most (\d+) runs; 0 done, at most \1 to do", said)
    return found


def test_every_cell_is_tuned_and_repeated(folder: Path) -> None:
    study = folder / "multirun/mine"
    cells = pd.read_csv(study / "cells.csv")
    assert (cells["n_trials"] == 3).all()
    assert (cells["n_repeats"] == 2).all()
    assert cells["accuracy"].between(0.5, 1).all()
    assert {"accuracy_se", "lr", "width", "n", "flops", "flops_6nd"} <= {*cells}
    assert {"n_params_hidden", "epochs", "test_error", "test_error_se", "train_loss"}.isdisjoint(cells)
    assert json.loads((study / "columns.json").read_text()) == {"accuracy": "share that is right"}
    said = (study / "width=8/n=1000/repeat-000/output.txt").read_text()
    assert said == f"writes into {study}/width=8/n=1000/repeat-000 88\n"
    record = json.loads((study / "study.json").read_text())
    assert record["identity"]["program"] == "my_train:main"
    assert record["identity"]["settings"] == {}
    assert (pd.read_csv(study / "trials.csv")["state"] == "PRUNED").any()


def test_a_resume_by_another_launcher_gives_the_same_rows(folder: Path, preforked: Preforked) -> None:
    study = folder / "multirun/mine"
    before = {name: (study / name).read_text() for name in ("trials.csv", "cells.csv")}
    every = sorted(study.rglob("result.json"))
    for path in every[::5]:
        path.unlink()
    left = len(every[::5])
    said = run(preforked, folder, str(APP), "-m", *SWEEP, "hydra/launcher=basic")
    assert re.search(rf"{len(every)} runs; {len(every) - left} done, (at most )?{left} to do", said)
    for name, text in before.items():
        a, b = (pd.read_csv(file).drop(columns="seconds") for file in (study / name, _file(folder, text)))
        pd.testing.assert_frame_equal(a, b)


def _file(folder: Path, text: str) -> Path:
    (folder / "before.csv").write_text(text)
    return folder / "before.csv"


def test_the_study_is_fitted_and_another_configuration_refused(folder: Path, preforked: Preforked) -> None:
    run(preforked, folder, "mnist_scaling.fit", "name=mine", "bootstrap.draws=20")
    fits = json.loads((folder / "multirun/mine/fits.json").read_text())
    slopes = fits["headline"]["slope_N"]["value"], fits["headline"]["slope_D"]["value"]
    assert slopes == pytest.approx((0.15, 0.08), abs=0.03)
    said = run(preforked, folder, str(APP), "-m", *SWEEP, "seed=1", code=1)
    assert "Error: The cells of a study must share all settings but its axes" in said
    assert "seed was 0 and is now 1" in said
    known = json.loads((folder / "multirun/mine/study.json").read_text())["command"]
    assert f"It was made by `{known}`." in said

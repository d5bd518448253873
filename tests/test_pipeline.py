"""The commands as a user runs them, on real MNIST."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from .preforked import Preforked

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]
SMOKE = ("mnist_scaling.train", "-m", "experiment=smoke")


@pytest.fixture(scope="module")
def study(data_dir: str, preforked: Preforked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke study: its working folder."""
    folder = tmp_path_factory.mktemp("study")
    done = preforked.run([*SMOKE, f"data.dir={data_dir}"], folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "tuned 4/4 · repeated 4/4" in done.stdout
    assert "test_loss of the tuned cells" in done.stdout
    return folder


def test_the_tables_hold_every_run(study: Path) -> None:
    cells = pd.read_csv(study / "multirun/smoke/cells.csv")
    trials = pd.read_csv(study / "multirun/smoke/trials.csv")
    assert cells[["width", "data_fraction"]].to_numpy().tolist() == [[4, 1 / 64], [4, 1 / 16], [8, 1 / 64], [8, 1 / 16]]
    assert cells["n_train"].tolist() == [781, 3125] * 2
    assert (cells["n_trials"] == 2).all()
    assert (cells["n_repeats"] == 2).all()
    assert (cells["test_loss"] < 2.3).all()
    assert len(trials) == 16
    assert trials.query("stage == 'trial'")["test_loss"].isna().all()
    assert trials.query("stage == 'repeat'")["test_loss"].notna().all()
    assert (cells["n_params"] == cells["n_params_input"] + cells["n_params_hidden"] + cells["n_params_output"]).all()


def test_a_row_is_a_run_that_anyone_can_repeat(study: Path, data_dir: str, command: Command) -> None:
    """The selected setting by hand, with a repeat's seed, gives the repeat's loss to the last digit."""
    row = pd.read_csv(study / "multirun/smoke/trials.csv").query("stage == 'repeat' and width == 8").iloc[-1]
    done = command(
        "mnist_scaling.train", f"data.dir={data_dir}", "model.width=8", f"data.fraction={row['data_fraction']}",
        f"optim.lr={float(row['lr'])!r}", f"optim.batch_size={row['batch_size']}",
        f"model.dropout={float(row['dropout'])!r}", f"seed={row['seed']}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = Path(done.stdout.split("Record: ")[1].strip())
    assert json.loads(record.read_text())["result"]["test_loss"] == row["test_loss"]


def test_a_rerun_trains_nothing(study: Path, data_dir: str, command: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.rglob("result.json")}
    done = command(*SMOKE, f"data.dir={data_dir}", cwd=study)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in study.rglob("result.json")} == before


def test_fit_and_report_of_the_study(study: Path, command: Command) -> None:
    fitted = command("mnist_scaling.fit", "name=smoke", cwd=study)
    assert fitted.returncode == 0, fitted.stderr
    assert (study / "multirun/smoke/fits.json").is_file()
    reported = command("mnist_scaling.report", "name=smoke", cwd=study)
    assert reported.returncode == 0, reported.stderr
    assert "report.html" in reported.stdout
    assert (study / "multirun/smoke/report.html").stat().st_size > 10_000
    assert {path.name for path in study.iterdir()} == {"multirun"}, "commands leave nothing else behind"
    record = json.loads((study / "multirun/smoke/study.json").read_text())
    assert record["axes"] == ["width", "data_fraction"]
    assert record["command"].startswith("python -m mnist_scaling.train -m experiment=smoke data.dir=")
    assert record["versions"]["torch"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("data.fraction=0",), "`0 < data.fraction <= 1` must hold, but got 0: give"),
        (("data.fraction=1.5",), "`0 < data.fraction <= 1` must hold, but got 1.5: give"),
        (("-m", "data.fraction=0.5,1.5"), "`0 < data.fraction <= 1` must hold, but got 1.5: give"),
        (("model.width=0",), "`model.width >= 1` must hold, but got 0"),
        (("model.width=wide",), "`model.width` must be a whole number, but got 'wide'"),
        (
            ("model.widht=8",),
            "Every key must exist in the configuration, but got `model.widht`: did you mean `model.width`?",
        ),
        (("-m", "model.widht=8,16"), "but got `model.widht`: did you mean `model.width`?"),
        (
            ("-m", "hydra.sweeper.n_trails=8"),
            "but got `hydra.sweeper.n_trails`: did you mean `hydra.sweeper.n_trials`?",
        ),
        (("optim=adagrad",), "`optim` must be one of adam, adamw, nesterov, sgd, but got 'adagrad'"),
        (("-m", "optim=adam,adagrad"), "`optim` must be one of adam, adamw, nesterov, sgd, but got 'adagrad'"),
        (("experiment=nonsense",), "`experiment` must be one of "),
        (
            ("-m", "model.width=interval(4,32)"),
            "An axis of the grid takes a list of values, but got `model.width=interval(4,32)`",
        ),
        (("model.width=8,16",), "A list of values is a sweep, but got `model.width=8,16` for a single run: add `-m`"),
        (
            ("-m", "hydra.sweeper.n_trials=0", "model.width=4,8"),
            "`hydra.sweeper.n_trials` must be a whole number of 1 or more, but got 0",
        ),
        (
            ("-m", "hydra.sweeper.n_trials=many"),
            "`hydra.sweeper.n_trials` must be a whole number of 1 or more, but got many",
        ),
        (("model.width=(",), "An override must be written key=value in Hydra's grammar, but got `model.width=(`"),
        (("+model.wings=2",), "Every key must exist in the configuration, but got `model.wings`"),
        (("+sed=7",), "Every key must exist in the configuration, but got `sed`: did you mean `seed`?"),
        (("-m", "+sed=7,8"), "Every key must exist in the configuration, but got `sed`: did you mean `seed`?"),
        (("lr=0.1",), "but got `lr`: did you mean `optim.lr`?"),
        (("name=null",), "`name` must have a value, but got null: give one, or leave it out"),
        (("-m", "model.width=null,2"), "`model.width` must have a value, but got null"),
        (("-m", "optim.lr=abc"), "`optim.lr` must be a number, but got 'abc'"),
        (("hydra.sweeper.dry_run=true",), "`hydra.sweeper.dry_run` must go with -m, because only a sweep"),
        (("hydra/launcher=joblib",), "`hydra/launcher` must go with -m"),
        (("device=mps",), "finds no mps on this machine: take device=auto or device=cpu"),
        (("-m", "device=mps", "hydra.sweeper.dry_run=true"), "finds no mps on this machine"),
        (("-m", "optim.lr=interval(1e-3,inf)"), "The ends of a range must be finite, but `search_space.optim.lr`"),
        (("-m", "model.width=shuffle(4,8)"), "A sweep's values must keep their order in each resume, but got"),
        (("-m", "data=glob(*rays)"), "`data.path` must be"),
        (("model=5",), "Config group override must be a string"),
        (("curve=5",), "`curve` must hold keys, such as curve.points, but got 5"),
        (("~optim.lr",), "A run must have all of its keys, but `~optim.lr` takes one away"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[str, ...], sentence: str, data_dir: str, command: Command) -> None:
    done = command("mnist_scaling.train", f"data.dir={data_dir}", *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_traceback_is_there_for_those_who_ask(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    done = command("mnist_scaling.train", "data.fraction=0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "InputError: `0 < data.fraction <= 1` must hold" in done.stderr


def test_an_unwritable_multirun_is_explained(tmp_path: Path, data_dir: str, command: Command) -> None:
    (tmp_path / "multirun").write_text("a file where the folder should be")
    for arguments in (("-m", "experiment=smoke"), ()):
        done = command("mnist_scaling.train", f"data.dir={data_dir}", *arguments)
        assert done.returncode != 0
        assert "must be writable" in done.stderr
        assert "multirun" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_damaged_data_file_is_explained(tmp_path: Path, data_dir: str, command: Command) -> None:
    raw = tmp_path / "data/MNIST/raw"
    raw.mkdir(parents=True)
    for path in (Path(data_dir) / "MNIST/raw").glob("*-ubyte"):
        (raw / path.name).write_bytes(path.read_bytes()[:-1] + b"\xff")
    for arguments in (("-m", "experiment=smoke"), ()):
        done = command("mnist_scaling.train", *arguments)
        assert done.returncode != 0
        assert "train-images-idx3-ubyte must have the sha256" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_table_without_a_column_is_explained(study: Path, tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "multirun" / "smoke"
    folder.mkdir(parents=True)
    cells = pd.read_csv(study / "multirun/smoke/cells.csv")
    cells.drop(columns="test_loss").to_csv(folder / "cells.csv", index=False)
    done = command("mnist_scaling.fit", "name=smoke")
    assert done.returncode == 1
    assert "must have the column test_loss" in done.stderr
    assert "Traceback" not in done.stderr

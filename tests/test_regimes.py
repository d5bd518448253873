"""Studies of every regime as a user runs them, small, on real MNIST."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mnist_scaling.arms.reading import read
from mnist_scaling.config import fit_schema
from mnist_scaling.fitting.analysis import Result, analyse
from mnist_scaling.fitting.frontier import isoflop

from .preforked import Preforked

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]


def sweep(experiment: str, data_dir: str) -> tuple[str, ...]:
    """A smoke study in one process: these tests are about regimes, not about launchers."""
    return ("mnist_scaling.train", "-m", f"experiment={experiment}", "scale=smoke", "hydra/launcher=basic",
            f"data.dir={data_dir}")  # fmt: skip


ONCE = ("hydra.sweeper.n_trials=1", "hydra.sweeper.n_repeats=1")
"""For studies of many cells: each setting tried once is enough to see what a regime records."""


def tables(folder: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    study = folder / "multirun" / name
    return pd.read_csv(study / "cells.csv"), pd.read_csv(study / "trials.csv")


def run(preforked: Preforked, folder: Path, experiment: str, data_dir: str, *more: str) -> Path:
    done = preforked.run([*sweep(experiment, data_dir), *more], folder)
    assert done.returncode == 0, done.stderr
    return folder


def fitted(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, arm: str = "", **more: Any) -> Result:
    """What `fit` makes of one arm of a study, in this process: a second instead of four."""
    monkeypatch.chdir(folder)
    config = fit_schema.FitConfig(name=name, bootstrap=fit_schema.BootstrapConfig(draws=20), **more)
    source = read(config)
    (rows,) = [one for one in source.rows.arms if one.name == arm]
    table, _ = source.table(rows)
    return analyse(table, config.options())


@pytest.fixture(scope="module")
def wsd(data_dir: str, preforked: Preforked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working folder of a finished smoke study of experiment=wsd."""
    return run(preforked, tmp_path_factory.mktemp("wsd"), "wsd", data_dir)


def test_isoflop_study(data_dir: str, preforked: Preforked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells, trials = tables(run(preforked, tmp_path, "isoflop", data_dir, *ONCE), "isoflop")
    assert cells[["width", "budget"]].to_numpy().tolist() == [[2, 1e9], [2, 1.6e10], [11, 1e9], [11, 1.6e10]]
    complete = trials[trials["state"] == "COMPLETE"]
    assert (abs(complete["flops"] / (0.2 * complete["budget"]) - 1) < 0.01).all()
    repeated = cells["flags"].fillna("").str.contains("repeated_data")
    assert repeated.tolist() == (cells["epochs"] > 1).tolist() == [True, True, False, True]
    # More of the same budget: what fit makes of rows of equal FLOPs.
    wide = pd.concat([cells.assign(n_params=cells["n_params"] * k, flops=cells["flops"] * c)
                      for k in (1, 2) for c in (1, 3)])  # fmt: skip
    wide.to_csv(tmp_path / "multirun/isoflop/cells.csv", index=False)
    table = fitted(tmp_path, "isoflop", monkeypatch).table
    assert isoflop.curves(table)[1] == "rows of equal C"


def test_wsd_study(wsd: Path, command: Command) -> None:
    cells, trials = tables(wsd, "wsd")
    assert len(cells) == 2 * 6
    assert cells["n_train"].tolist() == cells["n_seen"].tolist() == [64, 128, 256, 512, 1024, 2048] * 2
    assert (cells["epochs"] == 1).all()
    assert (cells["n_trials"] == 2).all()
    assert (cells["n_repeats"] == 2).all()
    assert cells["test_loss"].notna().all()
    whole = trials.groupby("width")["flops"].max()
    assert (trials.query("stage == 'trial'").groupby(["width", "number"])["flops_spent"].sum()
            < 1.3 * whole.reindex([2, 2, 16, 16]).to_numpy()).all()  # fmt: skip
    done = command("mnist_scaling.fit", "name=wsd", "bootstrap.draws=20", cwd=wsd)
    assert done.returncode == 0, done.stderr
    done = command("mnist_scaling.report", "name=wsd", cwd=wsd)
    assert done.returncode == 0, done.stderr


def test_repetition_study(
    data_dir: str, preforked: Preforked, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, _ = tables(run(preforked, tmp_path, "repetition", data_dir, *ONCE), "repetition")
    assert set(cells["passes"]) == {1, 64}
    assert (cells["epochs"] == cells["passes"]).all()
    assert (cells["n_seen"] == cells["n_train"] * cells["passes"]).all()
    assert cells["n_train"].tolist() == [16, 16, 64, 64] * 2
    more = (*ONCE, "regime.epochs=choice(1)", "data.fraction=0.25,1")
    done = command(*sweep("repetition", data_dir), *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells, _ = tables(tmp_path, "repetition")
    assert len(cells) == 12  # new cells join the study
    assert set(cells.query("n_train == 2048")["passes"]) == {1}
    # The law for repeated data is on the list, though two widths are too few for it.
    _, _, why = fitted(tmp_path, "repetition", monkeypatch).refused["repeated"]
    assert why == "not fitted: 2 distinct N in the table, but 3 are needed"


def test_early_stopping_study(
    data_dir: str, preforked: Preforked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, trials = tables(run(preforked, tmp_path, "early_stopping_widths", data_dir), "early_stopping_widths")
    assert cells["regime"].tolist() == ["early_stopping", "single_epoch"] * 2
    stopped, once = (cells[cells["regime"] == name] for name in ("early_stopping", "single_epoch"))
    assert (once["epochs"] == 1).all()
    assert (stopped["epochs"] > 1).all()
    assert (stopped["epochs_spent"] > stopped["epochs"]).all()
    assert (stopped["test_loss"].to_numpy() < once["test_loss"].to_numpy()).all()
    spent = trials.query("stage == 'trial'").groupby(["width", "regime"])["flops_spent"].sum()
    assert cells.set_index(["width", "regime"])["tuning_flops"].to_dict() == spent.to_dict()
    records = list(tmp_path.rglob("result.json"))
    assert max(path.stat().st_size for path in records) < 50_000
    curves = pd.read_csv(tmp_path / "multirun/early_stopping_widths/curves.csv")
    assert set(curves["cell"]) == set(cells.index[cells["regime"] == "early_stopping"])
    assert curves[["val_loss", "train_loss"]].notna().all(axis=None)

"""Runs with branches in the tables: a row a branch, with its own selected setting and its own share of the cost."""

from __future__ import annotations

import json
from math import log10
from pathlib import Path

import pandas as pd
import pytest

from mnist_scaling.config import RunConfig
from mnist_scaling.study import records
from mnist_scaling.study.columns import COMPLETE, DIVERGED, FAILED, PRUNED, TrainResult
from mnist_scaling.tuning.task import Report
from tests.tuning.helpers import InProcess, Study

SHARES = (0.25, 0.5, 1.0)


def branched(run: RunConfig, report: Report | None = None) -> TrainResult:
    """A stand-in for training: small branches want a rate of 1e-2, the largest one 1e-3."""
    found = []
    for share in (s for s in SHARES if s <= run.regime.last):
        n = round(1000 * share)
        loss = n**-0.5 * (1 + (log10(run.optim.lr) + (3 if share == 1 else 2)) ** 2) + 1e-6 * run.seed
        found.append({"branch": share, "n_train": n, "n_seen": n, "epochs": 1.0, "steps": n, "flops": 6 * n,
                      "flops_forward": 2 * n, "flops_output": n, "epochs_spent": 0.5, "flops_spent": 3 * n,
                      "val_loss": loss, "val_error": 0.1})  # fmt: skip
        if run.trial.stage != "trial":
            found[-1] |= {"test_loss": loss, "test_error": 0.1, "train_loss": loss}
    spent = sum(b["flops_spent"] for b in found)
    return TrainResult(COMPLETE, 100, 10, 20, 70, n, n, 1.0, n, 6 * n, 2 * n, n, sum(b["val_loss"] for b in found),
                       flops_spent=spent, branches=tuple(found), curve=((n, 1.0, 1.0, "constant"),))  # fmt: skip


def row(state: str, finished: int, flops_spent: int | None, **more: object) -> dict[str, object]:
    made = [{"branch": s, "n_seen": 10, "val_loss": s, "flops_spent": 100} for s in SHARES[:finished]]
    known = {"stage": "trial", "number": 0, "seed": 0, "state": state, "seconds": 8.0, "error": None, "n_params": 7}
    return known | {"branches": made, "flops_spent": flops_spent, "n_seen": 99, records.WANTED: list(SHARES)} | more


def test_a_run_without_branches_is_one_row() -> None:
    plain = row(COMPLETE, 0, 100) | {records.WANTED: []}
    assert records.branch_rows(plain) == [plain]


@pytest.mark.parametrize("state", [PRUNED, DIVERGED])
def test_branches_finished_before_the_run_ended_count(state: str) -> None:
    first, second, third = records.branch_rows(row(state, 1, 160, val_loss=None))
    assert (first["state"], first["val_loss"], first["n_seen"], first["flops_spent"]) == (COMPLETE, 0.25, 10, 100)
    assert (second["state"], second["branch"], second["flops_spent"], second["n_params"]) == (state, 0.5, 60, 7)
    assert (third["state"], third["branch"], third["flops_spent"]) == (state, 1.0, 0)
    assert not {"val_loss", "n_seen"} & (second.keys() | third.keys())
    assert [one["seconds"] for one in (first, second, third)] == [5.0, 3.0, 0.0]


def test_a_failed_run_fails_every_branch() -> None:
    failed = row(FAILED, 0, None, error="why")
    del failed["branches"], failed["flops_spent"], failed["n_seen"]
    rows = records.branch_rows(failed)
    assert [(one["state"], one["branch"], one["error"]) for one in rows] == [(FAILED, s, "why") for s in SHARES]
    assert sum(one["seconds"] for one in rows) == pytest.approx(8.0)


def test_every_branch_selects_its_own_trial_and_is_repeated_no_further_than_needed(tmp_path: Path) -> None:
    arguments = ("model.width=4,8", "regime=wsd", f"regime.branches={list(SHARES)}", "optim.batch_size=32",
                 "model.dropout=0")  # fmt: skip
    launch = InProcess(branched)
    Study(tmp_path, launch, *arguments, n_trials=8).run()
    cells = pd.read_csv(tmp_path / "cells.csv")
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert cells[["width", "branch"]].to_numpy().tolist() == [[w, s] for w in (4, 8) for s in SHARES]
    assert cells["n_seen"].tolist() == [250, 500, 1000] * 2
    assert (cells["n_trials"] == 8).all()
    assert (cells["n_repeats"] == 2).all()
    for _, cell in cells.iterrows():
        mine = trials[(trials["width"] == cell["width"]) & (trials["branch"] == cell["branch"])]
        tried = mine[mine["stage"] == "trial"]
        assert cell["val_loss"] == tried["val_loss"].min()
        assert cell["lr"] == tried.loc[tried["val_loss"].idxmin(), "lr"]
        assert cell["tuning_flops"] == 8 * cell["flops"] / 2
        own = mine[(mine["stage"] == "repeat") & (mine["lr"] == cell["lr"])]
        assert cell["test_loss"] == pytest.approx(own["test_loss"].mean())
        assert sorted(own["seed"]) == [1, 2]
    # Small and large branches disagree about the rate: two settings, one of them repeated to half the data only.
    ends = {
        (json.loads(path.read_text())["config"]["optim.lr"], json.loads(path.read_text())["config"]["regime.last"])
        for path in tmp_path.glob("width=4/repeat-*/result.json")
    }
    assert sorted(last for _, last in ends) == [0.5, 1.0]
    study = json.loads((tmp_path / "study.json").read_text())
    assert (study["axes"], study["grid"]) == (["width", "branch"], ["width"])
    # A run's curve belongs to the largest of its branches.
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert curves["cell"].tolist() == [1, 1, 2, 2, 4, 4, 5, 5]
    assert curves["flops"].tolist() == [3000, 3000, 6000, 6000] * 2

    launch.batches.clear()
    Study(tmp_path, launch, *arguments, n_trials=8).run()
    assert launch.batches == []  # a rerun finds everything

    # Fewer repeats than before take none away and make none again; more make only those that are missing.
    before = (tmp_path / "trials.csv").read_text()
    for n_repeats, made in ((1, 0), (3, 4)):
        launch.batches.clear()
        Study(tmp_path, launch, *arguments, n_trials=8, n_repeats=n_repeats).run()
        assert sum(map(len, launch.batches)) == made
        assert set(before.splitlines()) <= set((tmp_path / "trials.csv").read_text().splitlines())
    assert (pd.read_csv(tmp_path / "cells.csv")["n_repeats"] == 3).all()


def test_a_regime_without_branches_ignores_the_key(tmp_path: Path) -> None:
    record = {"stage": "trial", "number": 0, "seed": 0, "state": COMPLETE, "seconds": 1.0, "error": None, "origin": "",
              "result": {"val_loss": 1.0}}  # fmt: skip
    for name, wanted in (("single_epoch", []), ("wsd", [0.25, 0.5])):
        config = {"regime.name": name, "regime.branches": [0.25, 0.5, 1.0], "regime.last": 0.5}
        assert records.row(record | {"config": config}, {}, {})[records.WANTED] == wanted

"""What every cell's tuner tried, read back from a study's folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mnist_scaling.study.tables.cell_runs import tuned_trials, untuned_runs, were_tuned


def ranged(name: str, **attributes: object) -> str:
    return json.dumps({"name": name, "attributes": attributes})


LR = ranged("FloatDistribution", low=1e-3, high=1e-1, log=True, step=None)
BATCH = ranged("CategoricalDistribution", choices=[8, 16, 128])
KIND = ranged("CategoricalDistribution", choices=["a", "b"])


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Two cells; one of them was widened."""
    rows = []
    for width in (4, 8):
        folder = tmp_path / f"width={width}"
        folder.mkdir()
        lr = LR if width == 4 else LR.replace("0.1", "0.4")
        space = {"optim.lr": lr, "optim.batch_size": BATCH, "model.kind": KIND}
        (folder / "cell.json").write_text(json.dumps({"keys": {"model.width": width}, "axes": {"width": width},
                                                      "space": space}))  # fmt: skip
        for number in range(3):
            state = "PRUNED" if number == 2 else "COMPLETE"
            rows.append({"width": width, "lr": 0.01 * (1 + number), "batch_size": 16, "kind": "a", "stage": "trial",
                         "state": state, "val_loss": 1 / width + number})  # fmt: skip
        rows.append(rows[-3] | {"stage": "repeat"})
    return tmp_path, pd.DataFrame({"width": [8, 4]}, index=[7, 3]), pd.DataFrame(rows)


def test_finished_trials_and_ranges_of_each_cell(study: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    found = tuned_trials(*study, ["width"])
    assert found.why == ""
    assert found.keys == {"lr": True, "batch_size": True}  # 8 to 128 is more than a decade; words have no vertex
    wide, narrow = found.cells
    np.testing.assert_allclose(wide.losses, [1 / 8, 1 + 1 / 8])
    np.testing.assert_allclose(wide.settings, [[0.01, 16], [0.02, 16]])
    np.testing.assert_allclose([wide.high, narrow.high], [[0.4, 128], [0.1, 128]])
    np.testing.assert_allclose(narrow.low, [1e-3, 8])


def test_the_records_of_cells_may_lie_in_one_file(study: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    """As in multirun/reference/, where tables are kept without runs."""
    folder, cells, trials = study
    whole, records = tuned_trials(folder, cells, trials, ["width"]), {}
    for path in folder.glob("width=*/cell.json"):
        records[path.parent.name] = json.loads(path.read_text())
        path.unlink()
        path.parent.rmdir()
    (folder / "cells.json").write_text(json.dumps(records))
    found = tuned_trials(folder, cells, trials, ["width"])
    assert found.keys == whole.keys
    np.testing.assert_array_equal([c.high for c in found.cells], [c.high for c in whole.cells])


def test_what_is_not_there_is_said(study: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    folder, cells, trials = study
    assert (
        "no record of what each cell tried" in tuned_trials(folder, cells, trials.drop(columns="state"), ["width"]).why
    )
    (folder / "width=8" / "cell.json").unlink()
    assert "start the study's sweep again" in tuned_trials(folder, cells, trials, ["width"]).why
    assert "no record of what each cell tried" in tuned_trials(folder / "none", cells, trials, ["width"]).why
    without = trials.drop(columns=["lr", "batch_size"])
    assert tuned_trials(folder, cells.loc[[3]], without, ["width"]).why.startswith("No key with a numeric range")


def test_the_untuned_loss_is_the_mean_over_repeats_of_the_control() -> None:
    """Where it was repeated; else that of its one trial. Repeats of the selected setting are no part of it."""
    head = {"state": "COMPLETE", "batch_size": 16}
    rows = [
        {"width": width, "stage": stage, "number": number, "seed": seed, "origin": origin, "lr": lr, "val_loss": loss}
        for width, stage, number, seed, origin, lr, loss in [
            (4, "trial", 0, 0, "control", 0.01, 1.0), (4, "trial", 1, 0, "sampler", 0.02, 0.5),
            (4, "repeat", 0, 1, None, 0.02, 0.6), (4, "repeat", 1, 2, None, 0.02, 0.7),
            (4, "repeat", 2, 1, None, 0.01, 1.2), (4, "repeat", 3, 2, None, 0.01, 1.4),
            (8, "trial", 0, 0, "control", 0.01, 0.9), (8, "repeat", 0, 1, None, 0.03, 0.4),
        ]
    ]  # fmt: skip
    trials = pd.DataFrame([head | row for row in rows])
    cells = pd.DataFrame({"width": [8, 4]}, index=[7, 3])
    found = untuned_runs(cells, trials, ["width"], ["lr", "batch_size"])
    assert found.losses.to_dict() == {7: 0.9, 3: pytest.approx(1.3)}
    assert found.runs == [{}, {1: 1.2, 2: 1.4}]
    assert found.setting == {"lr": 0.01, "batch_size": 16}


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([12, None], True),
        ([1, 1], False),
        (["12", "?"], True),
        (["twelve"] * 2, None),
        ([None] * 2, None),
        (None, None),
    ],
)
def test_whether_a_table_was_tuned_is_read_off_numbers_of_trials(
    trials: list[object] | None, said: bool | None
) -> None:
    table = pd.DataFrame({"loss": [1.0, 2.0]} | ({} if trials is None else {"n_trials": trials}))
    assert were_tuned(table) is said
